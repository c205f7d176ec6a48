"""Lecture slides: what becomes one, and that it fits."""

from urllib.parse import quote

import pytest
from bs4 import BeautifulSoup

from book import _slides
from book._slides import CHOOSE, deck
from book._slides_code import divide, from_scratch
from book._slides_parts import slides
from book._slides_words import LETTERS, OPENING, Words, lead
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
<div class="cell_output"><table><tr><td>1</td></tr><tr><td>2</td></tr><tr><td>3</td></tr></table></div></div>
</section></section>
<section><h2>Summary</h2><ul><li>one</li></ul></section>
<section><h2>Exercises</h2><section><h3>Exercise 1 · Try</h3><p>Is it so? Say why.</p>
<div class="math">no</div></section></section>
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
        "From scratch · Version 1",
        "From scratch · Version 1",
        "Summary",
        "Exercises",
    ]
    bodies = [slide.body for slide in made]
    assert bodies[0] == "<p>After this chapter you can do it.</p>"
    assert bodies[1].startswith("<p>First. Look for <math><mi>n</mi></math> <em>dots</em>.</p><img")
    assert bodies[2].startswith('<div class="math">'), "its words were said on the slide before"
    assert "def f(x):" in bodies[3]
    assert '<td class="short">1</td>' in bodies[4]
    assert "<strong>Exercise 1 · Try</strong><br>Is it so? Say why." in bodies[6]
    assert not any("answer" in body or "no<" in body or "print" in body for body in bodies)


def made_of(section, heading="The idea"):
    """The slides of a section without the first, which is the chapter's."""
    page = f"<article><section><h1>1</h1><p>x</p><section><h2>{heading}</h2>{section}</section></section></article>"
    return list(slides(BeautifulSoup(page, "html.parser").article))[1:]


def cell(*, code="", output=""):
    code, output = (f'<div class="cell_{name}">{body}</div>' for name, body in (("input", code), ("output", output)))
    return f'<div class="cell">{code}{output}</div>'


ROWS = "<tr><td>1</td></tr>" * 3
PICTURE = cell(output='<img alt="Two dots. They are red." src="x">')


def test_formulas_of_one_heading_share_a_slide():
    formula = '<p>So {0}:</p><div class="math">{0}</div>'
    made = made_of("".join(formula.format(number) for number in range(4)))
    assert [slide.kind for slide in made] == ["math", "math"]
    assert made[0].body.endswith('<p>So 2:</p><div class="math">2</div>')
    assert made[1].body == '<p>So 3:</p><div class="math">3</div>'


def test_a_sentence_goes_on_below_its_formula():
    made = made_of(f'<p>So</p><div class="math">1,</div><p>where it ends. Look here.</p>{PICTURE}')
    assert made[0].body == '<p>So</p><div class="math">1,</div><p>where it ends.</p>'
    assert made[1].body.startswith("<p>Look here.</p><img")
    (alone,) = made_of('<div class="math">1.</div><p>Another sentence.</p>')
    assert alone.body == '<div class="math">1.</div>'


def test_three_formulas_in_a_row_are_three_lines():
    gap = '<mspace width="2em"></mspace>'
    (three,) = made_of(f'<div class="math"><math>a{gap}b{gap}c</math></div>')
    assert three.body.count("</math>") == 3
    (two,) = made_of(f'<div class="math"><math>a{gap}b</math></div>')
    assert two.body.count("</math>") == 1


def test_a_list_has_a_slide_with_the_words_before_it():
    (items, picture) = made_of(f"<p>Four measures:</p><ul><li><p>first</p></li><li><p>last</p></li></ul>{PICTURE}")
    assert items.body == "<p>Four measures:</p><ul><li><p>first</p></li><li><p>last</p></li></ul>"
    assert "last" not in picture.body
    (_, later) = made_of(f"<p>Words.</p>{PICTURE}{cell()}<ul><li>one</li></ul>")
    assert later.body == "<ul><li>one</li></ul>", "the words were the picture's"


def test_words_of_a_picture():
    table = cell(output=f"<table>{ROWS}</table>")
    shared = made_of(f"<p>Look at both.</p>{table}{PICTURE}{PICTURE}")
    assert [slide.body.startswith("<p>Look at both.</p>") for slide in shared] == [True, True, False]
    assert shared[2].body.startswith("<p>Two dots.</p><img"), "without words the first of its description"


def test_a_table_says_something_and_keeps_short_cells_whole():
    assert made_of(cell(output="<table><tr><th>a</th></tr><tr><td>1</td></tr></table>")) == []
    cells = "<td>+0.007 [+0.005, +0.009]</td><td>words, a long row of them</td>"
    (table,) = made_of(cell(output=f"<table>{ROWS}<tr>{cells}</tr></table>"))
    assert table.body.count('class="short"') == 4
    assert "<td>words" in table.body
    assert made_of(cell(output=f"<table>{ROWS * 10}</table>")) == []


def test_what_is_printed_beside_a_picture_is_shown_if_it_is_short():
    picture = '<img alt="dots" src="x">'
    (short,) = made_of(cell(output=f"<pre>a &lt; b</pre>{picture}"))
    assert short.body.startswith("<pre>a &lt; b</pre><img")
    lines = "line\n" * 9
    (long,) = made_of(cell(output=f"<pre>{lines}</pre>{picture}"))
    assert "line" not in long.body


CLASS = (
    'class Long(nn.Module):\n    """It is long."""\n\n    def __init__(self):\n'
    + "        self.a = 1\n" * 9
    + "\n    # what it does\n    def forward(self):\n"
    + "        self.a += 1\n" * 20
)


def test_code_is_what_is_written_from_scratch():
    short = "def f(x):\n    return x"
    assert (
        from_scratch(short, "From scratch, 1") == from_scratch(f"import math\n{short}\nf(1)", "From scratch") == short
    )
    assert from_scratch(short, "The whole model") == ""
    assert from_scratch(f"{short}\n" + "print(f(1))\n" * 9, "From scratch") == "", "it serves a check"
    assert from_scratch(CLASS, "The whole model") == CLASS.strip()
    assert from_scratch(CLASS, "Experiment: from scratch or not") == ""
    assert from_scratch("def mean_v1(x):\n    return x", "Words") != ""
    assert from_scratch("%pip install x\ndef mean_v1(x):\n    return x", "Words") == ""


def test_code_is_divided_between_methods_then_between_statements():
    parts = divide(f"def f(x):\n    return x\n\n{CLASS}".strip(), room=20, first=20)
    assert [part.splitlines()[0] for part in parts] == [
        "def f(x):",
        "    # what it does",
        "        self.a += 1",
    ]
    assert max(part.count("\n") + 1 for part in parts) <= 20
    assert [line for part in parts for line in part.splitlines() if line.strip()][2:] == [
        line for line in CLASS.splitlines() if line
    ]
    assert divide("a = 1\nb = 2", room=2, first=2) == ["a = 1\nb = 2"]
    assert divide("a = 1\nb = 2", room=2, first=1) == ["a = 1", "b = 2"]


def test_long_code_is_numbered_and_its_words_come_once():
    made = made_of(f"<p>A class.</p>{cell(code=f'<pre>{CLASS}</pre>')}", "From scratch")
    assert [slide.heading for slide in made] == ["From scratch (1 of 2)", "From scratch (2 of 2)"]
    assert made[0].body.startswith('<p>A class.</p><pre class="code">class Long')
    assert made[1].body.startswith('<pre class="code">    # what it does')


def test_a_lead_is_made_of_whole_sentences():
    long = "A sentence. " * 40 + "The last one, which counts."
    assert lead(long).endswith("A sentence. The last one, which counts.")
    assert len(lead(long)) <= LETTERS
    assert lead("x" * 500) == "x" * 500


def test_a_lead_does_not_begin_in_the_middle_of_a_thought():
    first = "Two runs differ in one number" + " and in nothing else" * 12 + "."
    assert lead(f"Before. {first} They are drawn below.") == f"{first} They are drawn below."
    assert lead(f"{first} Dots are drawn below.") == "Dots are drawn below."
    assert lead(f"{first * 2} They are drawn below.") == "They are drawn below.", "there is an end to it"


def test_a_lead_does_not_speak_of_the_page():
    assert lead("Which is it? The next cell says it.") == "Which is it?"
    assert lead("The next cell says it.") == "The next cell says it."
    assert lead("Before you run, guess.") == "Before you look, guess."


def test_words_that_lean_bring_the_paragraph_before_along():
    made = made_of(f"<p>Two <em>dots</em>.</p><p>They are <em>red</em>.</p>{PICTURE}")
    assert made[0].body.startswith("<p>Two <em>dots</em>. They are <em>red</em>.</p>")
    made = made_of(f"<p>Two dots.</p><p>Look.</p>{PICTURE}")
    assert made[0].body.startswith("<p>Look.</p>")


def test_an_opening_fits():
    words = Words("Is it so? " + "It is. " * 60)
    assert words.opening().text.startswith("Is it so? It is.")
    assert OPENING - 10 < len(words.opening().text) <= OPENING


def test_a_deck_is_one_file(page):
    shown = deck(page)
    assert 'src="data:image/png;base64,ZG90cw=="' in shown
    assert "1 / 7" in shown
    assert shown.count("<section") == 7


def test_without_a_book_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(_slides, "ROOT", tmp_path)
    with pytest.raises(SystemExit, match="make book"):
        _slides.main()


def test_pictures_formulas_and_explorers_in_a_browser(chromium, tmp_path):
    """A portrait stands beside its words; a wide formula alone is made smaller; an explorer shows its second item."""

    def picture(width, height):
        drawn = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"/>'
        return cell(output=f'<img alt="x" src="data:image/svg+xml,{quote(drawn)}">')

    items = "<div class='ris-items'><button>1</button><button onclick='this.textContent = `chosen`'>2</button></div>"
    explorer = cell(output=f'<figure class="ris-explorer">{items}</figure>')
    wide = f'<div class="math"><math><mi>{"w" * 120}</mi></math></div>'
    page = tmp_path / "page.html"
    page.write_text(
        "<article><section><h1>1</h1><p>x</p><section><h2>A</h2>"
        f"<p>Tall.</p>{picture(200, 400)}<p>Wide.</p>{picture(400, 200)}{wide}{explorer}</section></section></article>",
        encoding="utf-8",
    )
    (tmp_path / "deck.html").write_text(deck(page), encoding="utf-8")
    sheet = chromium.new_page(viewport={"width": 1280, "height": 720})
    sheet.goto((tmp_path / "deck.html").as_uri())
    sheet.evaluate(CHOOSE)
    tall, flat = sheet.locator(".body > img").all()
    assert tall.bounding_box()["x"] > 300
    assert tall.bounding_box()["height"] > 500
    assert flat.bounding_box()["x"] == 64
    size = "part => parseFloat(getComputedStyle(part).fontSize)"
    assert sheet.locator("div.math").evaluate(size) < 20
    assert sheet.locator(".body:has(> div.math)").evaluate(size) == 25
    assert sheet.locator(".ris-items button").all_inner_texts() == ["1", "chosen"]
    sheet.close()


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
                const box = slide.getBoundingClientRect();
                const parts = [...slide.querySelectorAll("h2, .body, .body > *, .body math, .body table")];
                const ends = parts.map((part) => part.getBoundingClientRect());
                const last = (side) => Math.max(...ends.map((end) => end[side])) - box[side];
                return [number + 1, last("bottom"), last("right")];
            }).filter(([, below, beside]) => below > 0 || beside > 0)"""
        )
        assert outside == [], f"{path.stem}: slide, pixels below and beside"
        small = sheet.evaluate(
            """() => [...document.querySelectorAll(".body > :is(p, ul, ol, pre.code)")]
                .map((part) => [parseFloat(getComputedStyle(part).fontSize), part.textContent])
                .filter(([size]) => size < 17)"""
        )
        assert small == [], f"{path.stem}: letters of so many pixels"
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
