"""The search of the built book: what explains a word stands above its entry in the reference."""

from pathlib import Path

import pytest

from tests.browser import needed

SITE = Path(__file__).parents[2] / "_build" / "html"

pytestmark = pytest.mark.book
browser = pytest.fixture(scope="module")(needed)


def found(browser, query: str) -> list[str]:
    """The addresses that a search names, in its order."""
    page = browser.new_page()
    page.goto(f"{(SITE / 'search.html').as_uri()}?q={query}")
    page.wait_for_function("document.querySelector('#search-results p')?.innerText.includes('found')")
    links = page.locator("#search-results li a").evaluate_all("links => links.map(link => link.href)")
    page.close()
    return [link.removeprefix(f"{SITE.as_uri()}/") for link in links]


@pytest.mark.parametrize(
    ("query", "explained_in"),
    [
        ("VLBA", "chapters/07_both_ways"),
        ("PWAM", "chapters/06_words_meet_pixels"),
        ("oIoU", "chapters/01_task_and_scores"),
    ],
)
def test_the_chapter_that_explains_a_word_stands_above_the_reference(browser, query, explained_in):
    links = found(browser, query)
    chapter = next(place for place, link in enumerate(links) if link.startswith(explained_in))
    reference = next(place for place, link in enumerate(links) if link.startswith("reference/"))
    assert chapter < min(3, reference), links[:6]


def test_a_class_is_found_by_its_name(browser):
    links = found(browser, "ReferringSegmenter")
    assert any("#ris_lib.models" in link for link in links[:5]), links[:6]
