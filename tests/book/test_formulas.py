"""Formulas become MathML, and what cannot be converted is not silent."""

import importlib.util

import pytest
from docutils import nodes
from docutils.utils.math import MathError

from tests.book.template import ROOT

_spec = importlib.util.spec_from_file_location("mathml", ROOT / "book" / "_ext" / "mathml.py")
mathml = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(mathml)


class Page:
    """What a Sphinx translator is to the functions under test."""

    def __init__(self):
        self.body = []

    def starttag(self, node, tag, **options):
        return f'<{tag} class="{options["CLASS"]}">'


def test_inline_formula():
    page = Page()
    with pytest.raises(nodes.SkipNode):
        mathml.visit_math(page, nodes.math(text=r"\frac{I}{U}"))
    assert page.body[0].startswith("<math")
    assert "<mfrac>" in page.body[0]


@pytest.mark.parametrize(
    "code", [r"a = b \\ c = d", r"\begin{align}a &= b \\ c &= d\end{align}", r"\begin{equation*}a\end{equation*}"]
)
def test_block_formula(code):
    page = Page()
    with pytest.raises(nodes.SkipNode):
        mathml.visit_math_block(page, nodes.math_block(text=code))
    written = "".join(page.body)
    assert 'display="block"' in written
    assert written.endswith("</div>\n")


def test_unknown_command_warns_and_shows_its_code(monkeypatch):
    warnings = []
    monkeypatch.setattr(mathml.LOGGER, "warning", lambda text, *values, location: warnings.append(text % values))
    page = Page()
    mathml.write(page, nodes.math(text=r"\nonsense{<x>}"), block=False)
    assert page.body == [r"<code>\nonsense{&lt;x&gt;}</code>"]
    assert len(warnings) == 1
    assert "nonsense" in warnings[0]
    with pytest.raises(MathError):
        mathml.convert(r"\nonsense", block=False)
