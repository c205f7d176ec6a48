"""What the book adds to the theme's pages for those who do not see them; `test_pages_in_browser` sees the result."""

import pytest
from bs4 import BeautifulSoup

from book._ext.accessible import named_toggles, nested
from tests.browser import needed, wcag_faults

chromium = pytest.fixture(scope="module")(needed)

CODE = """<!doctype html><html lang="en"><title>Code</title><style>
pre {{ color: #000; background: #fff; }} .k {{ color: #505; }} .faint {{ color: #ccc; }} .hll {{ background: #636; }}
</style><main><h1>Code</h1><div class="highlight"><pre><span></span><span class="k">def</span> f
</pre></div><div class="highlight"><pre><span class="k">def</span> g {}</pre></div></main></html>"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("piece", "faults"),
    [
        ('<span class="k">return</span>', 0),
        ('<span class="faint">0.5</span>', 1),
        ('<span class="faint"></span><span class="faint" hidden>0.5</span><span class="faint">0.5</span>', 1),
        ('<span class="faint"><span class="k">not</span></span><span class="faint">0.5</span>', 1),
        ('<span class="faint">5</span> <span class="faint">0.5</span>', 1),
        ('<span class="hll"><span class="k">return</span></span>', 1),
    ],
    ids=[
        "as before",
        "faint",
        "faint behind what is not seen",
        "faint behind what has no words",
        "faint behind a single letter",
        "on another ground",
    ],
)
def test_contrast_of_code_is_measured_for_every_look(chromium, piece, faults):
    page = chromium.new_page()
    page.set_content(CODE.format(piece))
    found = wcag_faults(page)
    assert [line.split(":")[0] for line in found] == ["color-contrast"] * faults
    page.close()


def test_a_list_within_a_list_lies_in_the_item_before_it():
    made = nested("<h1>All</h1><ul><li>a</li><ul><li>b</li><ul><li>c</li></ul></ul><li>d</li></ul>")

    assert made == "<h1>All</h1><ul><li>a<ul><li>b<ul><li>c</li></ul></li></ul></li><li>d</li></ul>"


def test_a_list_that_is_as_it_should_be_stays():
    body = "<ul><li>a<ul><li>b</li></ul></li><li>c</li></ul>"

    assert nested(body) == body


def test_an_arrow_says_what_it_opens():
    contents = BeautifulSoup(
        "<ul><li><a href='1.html'> Encoders </a><details><summary></summary></details></li></ul>", "html.parser"
    )

    assert named_toggles(contents).summary["aria-label"] == "Pages below Encoders"
