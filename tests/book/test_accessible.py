"""What the book adds to the theme's pages for those who do not see them; `test_pages_in_browser` sees the result."""

from bs4 import BeautifulSoup

from book._ext.accessible import named_toggles, nested


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
