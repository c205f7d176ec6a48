"""Formulas as MathML: they are part of the page, need no script and no network, and screen readers read them.

Source: docutils turns LaTeX into MathML by itself; Sphinx only has to be told. A command that docutils does not know is a
warning, and so stops the build.
"""

from __future__ import annotations

import html
import re

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


def convert(code: str, block: bool) -> str:
    """LaTeX to MathML.

    Args:
        code: A formula, alone or in one of the environments align, equation, gather.
        block: Whether it stands on lines of its own.

    Raises:
        MathError: It holds a command that docutils does not know.
    """
    whole = _ENVIRONMENT.fullmatch(code)
    return tex2mathml(whole[2] if whole else code, as_block=block)


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
