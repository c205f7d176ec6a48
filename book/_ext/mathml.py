"""Formulas as MathML: they are part of the page, need no script and no network, and screen readers read them.

Source: docutils turns LaTeX into MathML by itself; Sphinx only has to be told. A command that docutils does not know is a
warning, and so stops the build.
"""

from __future__ import annotations

import html
import re
from xml.etree import ElementTree

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

LOGGER = logging.getLogger(__name__)
_ENVIRONMENT = re.compile(
    r"\s*\\begin\{(align|equation|gather)\*?\}(.*)\\end\{\1\*?\}\s*", flags=re.DOTALL
)
#: Names of signs that HTML has and XML lacks.
_ENTITY = re.compile(r"&(?!(lt|gt|amp|quot);)[A-Za-z]+;")
#: A formula within a line and what must not be torn from it.
_FORMULA_AND_SIGN = re.compile(
    r"<math xmlns=\"[^\"]*\">(?:(?!</math>).)*</math>[,.;:?!)\]’”]+", flags=re.DOTALL
)
_MATHML = "http://www.w3.org/1998/Math/MathML"
_ACCENTS, _BRACE, _FENCES = frozenset("ˆˉ¯˜~˙¨ˇ˘→"), "⏟", frozenset("{}‖⟨⟩⌈⌉⌊⌋")
_OPEN, _CLOSED, _SIGNS, _APPLIED = frozenset("([{,"), frozenset(")]}"), "−+", "\u2061"
#: Elements whose children stand in a row.
_ROWS = {"math", "mrow", "msqrt", "mstyle", "mtd"}
_THIN = "0.167em"
ElementTree.register_namespace("", _MATHML)


def mended(formula: str) -> str:
    """MathML as LaTeX means it, where docutils sees it otherwise.

    An index stands beside an accented letter, not below it; the words of a brace stand below it, not beside; braces grow
    with what they hold only where ``\\left`` asks for it; the point of .5 belongs to the number, and the sign of (0, -3)
    too; a function keeps its distance.
    """
    root = ElementTree.fromstring(
        _ENTITY.sub(lambda name: html.unescape(name[0]), formula)
    )
    for node in list(root.iter()):
        kind, parts = node.tag.rpartition("}")[2], list(node)
        if kind == "munderover" and _sign(parts[2]) in _ACCENTS:
            accented = ElementTree.Element(f"{{{_MATHML}}}mover", accent="true")
            accented.extend([parts[0], parts[2]])
            node.tag = f"{{{_MATHML}}}msub"
            node[:] = [accented, parts[1]]
        elif kind == "msub" and len(parts[0]) == 2 and _sign(parts[0][1]) == _BRACE:
            node.tag = f"{{{_MATHML}}}munder"
        # the ends of a row are those of \left and \right
        for part in parts[1:-1] if kind == "mrow" else parts:
            if _sign(part) in _FENCES and not part.attrib:
                part.set("stretchy", "false")
        if kind in _ROWS:
            space(node)
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)


def space(row: ElementTree.Element) -> None:
    """Put the distances in a row right: those of points, of signs and of functions."""
    before, parts = None, []
    for part in row:
        sign, earlier = _sign(part), None if before is None else _sign(before)
        base = _base(part)
        if earlier == "." and base.tag.endswith("}mn"):
            base.text = f".{base.text}"
            parts.pop()
        elif sign is not None and sign in _SIGNS and earlier in _OPEN:
            part.set("form", "prefix")
        elif _sign(base) == "|":
            base.attrib |= {"lspace": "0", "rspace": "0"}
        elif earlier == _APPLIED and sign not in _OPEN:
            before.set("rspace", _THIN)
        elif (before is not None and not _is_gap(before) and not _is_gap(part)) and (
            (_is_name(part) and (earlier is None or earlier in _CLOSED))
            or (_is_name(before) and sign is None)
        ):
            parts.append(ElementTree.Element(f"{{{_MATHML}}}mspace", width=_THIN))
        parts.append(part)
        before = part
    row[:] = parts


def _is_gap(node: ElementTree.Element) -> bool:
    return node.tag.endswith("}mspace")


def _base(node: ElementTree.Element) -> ElementTree.Element:
    """What an index or an exponent stands at."""
    return node[0] if node.tag.endswith(("msub", "msup")) else node


def _is_name(node: ElementTree.Element) -> bool:
    """Whether this is a function, such as log, perhaps with an index."""
    base = _base(node)
    return base.tag.endswith("}mi") and len(base.text or "") > 1


def _sign(node: ElementTree.Element) -> str | None:
    """The sign of an operator."""
    return node.text if node.tag == f"{{{_MATHML}}}mo" else None


def convert(code: str, block: bool) -> str:
    """LaTeX to MathML.

    Args:
        code: A formula, alone or in one of the environments align, equation, gather.
        block: Whether it stands on lines of its own.

    Raises:
        MathError: It holds a command that docutils does not know.
    """
    whole = _ENVIRONMENT.fullmatch(code)
    return mended(tex2mathml(whole[2] if whole else code, as_block=block))


def write(translator, node: nodes.Element, block: bool) -> None:
    """Put a formula on the page; where it cannot be converted, its code and a warning."""
    try:
        translator.body.append(convert(node.astext(), block))
    except MathError as error:
        LOGGER.warning("no MathML for %r: %s", node.astext(), error, location=node)
        translator.body.append(f"<code>{html.escape(node.astext())}</code>")


def visit_math(translator, node: nodes.math) -> None:
    """Write a formula within a line."""
    write(translator, node, block=False)
    raise nodes.SkipNode


def visit_math_block(translator, node: nodes.math_block) -> None:
    """Write a formula of its own, with its number where it has one."""
    translator.body.append(
        translator.starttag(node, "div", CLASS="math notranslate nohighlight")
    )
    if node.get("number"):
        translator.body.append(
            f'<span class="eqno">({get_node_equation_number(translator, node)})</span>'
        )
    write(translator, node, block=True)
    translator.body.append("</div>\n")
    raise nodes.SkipNode


def keep_signs(
    app: Sphinx, page: str, template: str, context: dict, doctree: object
) -> None:
    """Let no line begin with the comma or the full stop behind a formula. Sphinx calls this for each page."""
    if context.get("body"):
        context["body"] = _FORMULA_AND_SIGN.sub(
            r'<span class="ris-together">\g<0></span>', context["body"]
        )


def leave(translator, node: nodes.Element) -> None:
    """Nothing is open any more."""


def setup(app: Sphinx) -> dict:
    """Tell Sphinx of the renderer; ``html_math_renderer: mathml`` chooses it."""
    app.connect("html-page-context", keep_signs)
    app.add_html_math_renderer("mathml", (visit_math, leave), (visit_math_block, leave))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
