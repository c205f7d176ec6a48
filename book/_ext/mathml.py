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
_MATHML = "http://www.w3.org/1998/Math/MathML"
_ACCENTS, _BRACE, _FENCES = frozenset("ˆˉ¯˜~˙¨ˇ˘→"), "⏟", frozenset("{}‖⟨⟩⌈⌉⌊⌋")
ElementTree.register_namespace("", _MATHML)


def mended(formula: str) -> str:
    """MathML as LaTeX means it, in three things that docutils sees otherwise.

    An index stands beside an accented letter, not below it; the words of a brace stand below it, not beside; and braces
    grow with what they hold only where ``\\left`` asks for it.
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
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)


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


def leave(translator, node: nodes.Element) -> None:
    """Nothing is open any more."""


def setup(app: Sphinx) -> dict:
    """Tell Sphinx of the renderer; ``html_math_renderer: mathml`` chooses it."""
    app.add_html_math_renderer("mathml", (visit_math, leave), (visit_math_block, leave))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
