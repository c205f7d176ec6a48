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


@pytest.mark.parametrize("query", ["padding", "dynamic kernel"])
def test_the_glossary_stands_first(browser, query):
    assert found(browser, query)[0] == f"glossary.html#term-{query.replace(' ', '-')}"


@pytest.mark.parametrize(
    ("query", "chapter"),
    [
        ("VLBA", "07_both_ways"),
        ("PWAM", "06_words_meet_pixels"),
        ("oIoU", "01_task_and_scores"),
        ("vocabulary", "04_text_encoders"),
    ],
)
def test_a_chapter_with_the_word_in_a_heading_stands_above_the_reference(browser, query, chapter):
    assert found(browser, query)[0].startswith(f"chapters/{chapter}.html")


def test_a_class_is_found_by_its_name(browser):
    assert found(browser, "ReferringSegmenter")[0].endswith("#ris_lib.models.segmenter.ReferringSegmenter")
