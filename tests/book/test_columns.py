"""Printed columns are told from printed sentences."""

import pytest

from book._ext.columns import mark

PAGE = '<div class="output stream highlight-myst-ansi"><div class="highlight"><pre>{}</pre></div></div>'


@pytest.mark.parametrize(
    ("printed", "columns"),
    [
        ("<span></span>name   IoU\nlavt   0.91\n", True),
        ("<span></span>name<span>  </span>IoU\nlavt<span>  </span>0.91\n", True),
        ("─────\na\n─────", True),
        ("one line   with blanks\nand another", False),
        ("    indented\n    twice", False),
        ("a &amp; b\nc &amp; d", False),
    ],
)
def test_two_lines_with_columns_are_a_table(printed, columns):
    page = {"body": PAGE.format(printed)}
    mark(None, "page", "page.html", page, None)
    assert ('<pre class="ris-columns">' in page["body"]) == columns
    assert printed in page["body"]


def test_other_boxes_are_left_alone():
    page = {"body": '<div class="highlight"><pre>a   b\nc   d</pre></div>'}
    before = dict(page)
    mark(None, "page", "page.html", page, None)
    assert page == before
