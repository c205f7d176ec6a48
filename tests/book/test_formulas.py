"""Formulas become MathML, and what cannot be converted is not silent."""

import importlib.util
import re

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


def plain(code: str) -> str:
    """MathML without its outer element and blanks between elements."""
    return re.sub(r">\s+<", "><", mathml.convert(code, block=False)).split(">", 1)[1].removesuffix("</math>")


def test_an_index_stands_beside_a_letter_with_an_accent():
    accented = '<mover accent="true"><mi>l</mi><mo stretchy="false">ˆ</mo></mover>'
    assert plain(r"\hat l") == accented
    assert plain(r"\hat l_j") == f"<msub>{accented}<mi>j</mi></msub>"
    assert plain(r"\bar x_k^2").startswith('<msup><msub><mover accent="true"><mi>x</mi>')
    assert plain(r"\sum_{k=1}^n").startswith("<munderover>")


def test_names_that_xml_lacks():
    assert plain(r"\log x") == '<mi>log</mi><mo rspace="0.167em">\u2061</mo><mi>x</mi>'
    assert plain(r"\text{a < b & c}") == "<mtext>a &lt; b &amp; c</mtext>"


def test_the_point_belongs_to_the_number():
    assert plain(r"\tau = .1") == "<mi>τ</mi><mo>=</mo><mn>.1</mn>"
    assert plain(r".20^2") == "<msup><mn>.20</mn><mn>2</mn></msup>"
    assert plain(r"\sqrt{.5 / 4}").startswith("<msqrt><mn>.5</mn>")
    assert plain(r"a. b") == "<mi>a</mi><mo>.</mo><mi>b</mi>"


def test_a_sign_behind_a_bracket_or_a_comma_belongs_to_its_number():
    assert plain(r"(0, -3)").count('<mo form="prefix">−</mo>') == 1
    assert 'form="prefix"' not in plain(r"(a - 3)")


def test_a_function_keeps_its_distance():
    gap = '<mspace width="0.167em"></mspace>'
    assert plain(r"y \log p").startswith(f"<mi>y</mi>{gap}<mi>log</mi>")
    assert gap not in plain(r"-\log p")
    assert plain(r"W \operatorname{softmax}_i(z)").startswith(f"<mi>W</mi>{gap}<msub>")
    assert plain(r"\log_2 x").endswith(f"</msub>{gap}<mi>x</mi>")
    assert "rspace" not in plain(r"\log(p)")
    assert gap not in plain(r"a b_i + \log_2(p)")
    assert gap not in plain(r"a\,\mathrm{mIoU}")


def test_bars_stand_close():
    assert plain(r"a |g|^2").count('lspace="0" rspace="0"') == 2


def test_no_line_begins_with_the_sign_behind_a_formula():
    formula = mathml.convert("a", block=False)
    page = {"body": f"<p>Let {formula}, and {formula} too.</p>"}
    mathml.keep_signs(None, "page", "page.html", page, None)
    assert page["body"] == f'<p>Let <span class="ris-together">{formula},</span> and {formula} too.</p>'


def test_words_stand_below_their_brace():
    assert plain(r"\underbrace{a}_{b}") == "<munder><munder><mi>a</mi><mo>⏟</mo></munder><mi>b</mi></munder>"


def test_braces_grow_where_it_is_asked_for():
    assert plain(r"\{0\}") == '<mo stretchy="false">{</mo><mn>0</mn><mo stretchy="false">}</mo>'
    assert plain(r"\left\{0\right\}") == "<mrow><mo>{</mo><mn>0</mn><mo>}</mo></mrow>"


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
