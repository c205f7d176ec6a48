"""Marks in code that colour nothing are left out; the others, and every letter, stay."""

import html
import re

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from book._ext.lean_code import UNCOLOURED, lean

CODE = 'def mean(x: list) -> float:\n    """The <mean>."""\n    return sum(x) / len(x) if x else 0.5  # of "all"\n'


def test_letters_stay_and_marks_that_colour_nothing_go():
    full = highlight(CODE, PythonLexer(), HtmlFormatter())
    made = lean(full)

    assert html.unescape(re.sub("<[^>]*>", "", made)) == html.unescape(re.sub("<[^>]*>", "", full))
    classes = re.compile(r'<span class="(\w+)">')
    assert set(classes.findall(full)) - set(classes.findall(made)) >= {"n", "p", "w", "o"}
    assert set(classes.findall(made)) == set(classes.findall(full)) - set(UNCOLOURED)


def test_marks_outside_of_code_stay():
    signature = '<span class="n"><span class="pre">words</span></span>'

    assert lean(signature) == signature
