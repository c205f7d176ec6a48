"""Lecture slides: what becomes one, and that it fits."""

import pytest
from bs4 import BeautifulSoup

from book import _slides
from book._slides import LETTERS, deck, lead, slides
from tests.book.test_built_book import SITE, built  # noqa: F401  (a fixture)
from tests.browser import needed

chromium = pytest.fixture(scope="module")(needed)

PAGE = """<html><body><article><section><h1>1 · A chapter<a class="headerlink">#</a></h1>
<p>After this chapter you can
do it.</p>
<section><h2>The problem<a class="headerlink">#</a></h2>
<p>First. Look for <math><mi>n</mi></math> <em>dots</em>.</p>
<div class="cell"><div class="cell_input"><pre>draw()</pre></div>
<div class="cell_output"><img alt="dots" src="dots.png"></div></div>
<div class="math"><math><mi>x</mi></math></div>
<details><p>hidden</p><div class="math">answer</div></details></section>
<section><h2>From scratch</h2><section><h3>Version 1</h3><p>Here it is.</p>
<div class="cell"><div class="cell_input"><pre>def f(x):
    return x</pre></div><div class="cell_input"><pre>print(f(1))</pre></div>
<div class="cell_output"><table><tr><td>1</td></tr></table></div></div></section></section>
<section><h2>Summary</h2><ul><li>one</li></ul></section>
<section><h2>Exercises</h2><h3>Exercise 1 · Try</h3><div class="math">no</div></section>
<section><h2>References</h2><div class="math">no</div></section>
</section></article></body></html>"""


@pytest.fixture
def page(tmp_path):
    (tmp_path / "dots.png").write_bytes(b"dots")
    path = tmp_path / "one.html"
    path.write_text(PAGE, encoding="utf-8")
    return path


def test_what_becomes_a_slide():
    made = list(slides(BeautifulSoup(PAGE, "html.parser").article))
    assert [slide.heading for slide in made] == [
        "1 · A chapter",
        "The problem",
        "The problem",
        "From scratch: Version 1",
        "From scratch: Version 1",
        "Summary",
        "Exercises",
    ]
    bodies = [slide.body for slide in made]
    assert bodies[0] == "<p>After this chapter you can do it.</p>"
    assert bodies[1].startswith("<p>First. Look for <math><mi>n</mi></math> <em>dots</em>.</p><img")
    assert bodies[2].startswith('<div class="math">'), "its words were said on the slide before"
    assert "def f(x):" in bodies[3]
    assert "<td>1</td>" in bodies[4]
    assert "Exercise 1 · Try" in bodies[6]
    assert not any("answer" in body or "no<" in body or "print" in body for body in bodies)


def test_formulas_of_one_heading_share_a_slide():
    formula = '<p>So {0}:</p><div class="math">{0}</div>'
    page = PAGE.replace("<details>", "".join(formula.format(number) for number in range(3)) + "<details>", 1)
    made = list(slides(BeautifulSoup(page, "html.parser").article))
    assert [slide.formulas for slide in made] == [0, 0, 3, 1, 0, 0, 0, 0]
    assert made[2].body.endswith('<p>So 1:</p><div class="math">1</div>')
    assert made[3].body == '<p>So 2:</p><div class="math">2</div>'


def test_a_lead_is_made_of_whole_sentences():
    long = "A sentence. " * 40 + "The last one, which counts."
    assert lead(long).endswith("A sentence. The last one, which counts.")
    assert len(lead(long)) <= LETTERS
    assert lead("x" * 500) == "x" * 500


def test_a_deck_is_one_file(page):
    shown = deck(page)
    assert 'src="data:image/png;base64,ZG90cw=="' in shown
    assert "1 / 7" in shown
    assert shown.count("<section") == 7


def test_without_a_book_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(_slides, "ROOT", tmp_path)
    with pytest.raises(SystemExit, match="make book"):
        _slides.main()


@pytest.mark.book
def test_slides_of_every_chapter_fit(chromium, built, tmp_path):  # noqa: F811
    pages = sorted((SITE / "chapters").glob("*.html"))
    assert len(pages) >= 18
    sheet = chromium.new_page(viewport={"width": 1280, "height": 720})
    for path in pages:
        file = tmp_path / path.name
        file.write_text(deck(path), encoding="utf-8")
        sheet.goto(file.as_uri())
        count = sheet.evaluate("document.querySelectorAll('section').length")
        assert count >= 8, f"{path.stem} has {count} slides"
        outside = sheet.evaluate(
            """() => [...document.querySelectorAll("section")].map((slide, number) => {
                const box = slide.getBoundingClientRect(), body = slide.querySelector(".body");
                const parts = [...slide.querySelectorAll(".body > *, .body math")];
                const right = Math.max(...parts.map((part) => part.getBoundingClientRect().right));
                return [number + 1, body.getBoundingClientRect().bottom - box.bottom, right - box.right];
            }).filter(([, below, beside]) => below > 0 || beside > 0)"""
        )
        assert outside == [], f"{path.stem}: slide, pixels below and beside"
    sheet.close()


@pytest.mark.book
def test_keys_turn_the_pages_and_explorers_work(chromium, built, tmp_path):  # noqa: F811
    file = tmp_path / "deck.html"
    file.write_text(deck(SITE / "chapters" / "11_query_kernels.html"), encoding="utf-8")
    sheet = chromium.new_page(viewport={"width": 1280, "height": 720})
    sheet.goto(file.as_uri())
    for key, slide in (("ArrowRight", 1), ("PageDown", 2), ("ArrowLeft", 1)):
        sheet.keyboard.press(key)
        sheet.wait_for_function(
            f"Math.abs(document.querySelectorAll('section')[{slide}].getBoundingClientRect().top) < 5"
        )
    view = sheet.locator("figure.ris-explorer").first
    before = view.locator("figcaption").inner_text()
    view.get_by_role("button", name="the red mug").click()
    assert "the red mug" in view.locator("figcaption").inner_text() != before
    sheet.close()
