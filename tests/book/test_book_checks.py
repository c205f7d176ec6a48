"""The checks themselves: each finds its fault on a made-up page or notebook, and is silent on a good one."""

import copy
from pathlib import Path

import pytest
from PIL import Image

from tests.book import pages, sources
from tests.book.template import setup

GOOD = """<!DOCTYPE html><html lang="en"><head><title>A page</title>
<link rel="stylesheet" href="_static/book.css"><script src="_static/x.js"></script></head>
<body><article><h1 id="top">A page</h1><a href="#top">up</a> <a href="other.html#deep">on</a>
<a href="https://example.org">out</a><img src="_images/a.png" alt="A red ball left of a house">
<code>{doc}`a page`</code><div class="cell_output"><div class="output stream">1</div></div></article></body></html>"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "_static").mkdir()
    (tmp_path / "_images").mkdir()
    (tmp_path / "_static" / "book.css").write_text("")
    (tmp_path / "_static" / "x.js").write_text("")
    (tmp_path / "other.html").write_text('<html><p id="deep">x</p></html>')
    Image.new("RGB", (700, 4)).save(tmp_path / "_images" / "a.png")
    return tmp_path


def complaints(site: Path, page: str) -> list[str]:
    path = site / f"page{abs(hash(page))}.html"
    path.write_text(page, encoding="utf-8")
    found = pages.broken_links(path, site)
    for check in (
        pages.images_without_words,
        pages.failures,
        pages.foreign_scripts,
        pages.raw_markup,
        pages.structure,
        pages.weight,
        pages.explorer_weight,
        pages.unnamed,
    ):
        found += check(path)
    return found


def test_a_good_page_passes(site):
    assert complaints(site, GOOD) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("other.html#deep", "missing.html", "missing.html does not exist"),
        ("other.html#deep", "other.html#no", "no such anchor"),
        ('href="#top"', 'href="#bottom"', "no such anchor"),
        ("other.html#deep", "../../other.html", "leads out of the site"),
        ("_images/a.png", "_images/b.png", "b.png does not exist"),
        ("A red ball left of a house", "", "has no alt text"),
        ("A red ball left of a house", "_images/a.png", "is a file name"),
        ("A red ball left of a house", "a", "is a file name"),
        ("output stream", "output stderr", "output on stderr: 1"),
        ("output stream", "output traceback", "a traceback: 1"),
        ("_static/x.js", "https://example.org/x.js", "is loaded from outside"),
        ("_static/book.css", "//example.org/x.css", "is loaded from outside"),
        ("<code>{doc}`a page`</code>", "{doc}`a page`", "raw markup on the page: {doc}`a page`"),
        ("<title>A page</title>", "", "no title"),
        (' lang="en"', "", "names no language"),
        ('<h1 id="top">A page</h1>', '<h2 id="top">A page</h2>', "has 0 headings"),
        ("<code>", "<h1>Again</h1><code>", "has 2 headings"),
        ("<code>", "x" * 1_000_000 + "<code>", "at most 1000000"),
    ],
)
def test_each_fault_of_a_page_is_found(site, old, new, message):
    assert old in GOOD
    found = complaints(site, GOOD.replace(old, new))
    assert any(message in complaint for complaint in found), found


def test_a_wide_picture_is_found(site):
    Image.new("RGB", (900, 4)).save(site / "_images" / "a.png")
    assert complaints(site, GOOD) == ["a.png is 900 pixels wide; at most 720"]


PROMISE = "After this chapter all is clear, in a minute."


def markdown(number: int, *lines: str) -> dict:
    return {"cell_type": "markdown", "id": f"m{number}", "metadata": {}, "source": ["\n".join(lines)]}


@pytest.fixture
def chapter() -> dict:
    drawing = {
        "cell_type": "code",
        "execution_count": None,
        "id": "drawing",
        "metadata": {"mystnb": {"image": {"alt": "A red ball left of a house"}}},
        "outputs": [],
        "source": ["figure = 1\n", "show_samples([sample])"],
    }
    return {
        "cells": [
            markdown(0, "# A chapter", PROMISE, "word " * 2400, "## The problem on one picture"),
            setup.setup_cell(),
            drawing,
            markdown(1, "## From scratch", "## Looking inside", "## Experiment: two runs"),
            markdown(2, "## What can go wrong", "## Summary", "## Exercises"),
            *(
                markdown(0, "<details><summary>Solution</summary>a = 1</details>")
                | {"id": f"exercise-{number}{part}", "cell_type": kind}
                for number in (1, 2, 3)
                for part, kind in (("", "markdown"), ("-answer", "code"), ("-check", "code"), ("-solution", "markdown"))
            ),
            markdown(3, "## References"),
        ],
        "metadata": copy.deepcopy(setup.METADATA),
    }


def faults(notebook: dict) -> list[str]:
    found = sources.setup_differs(notebook, setup.setup_cell(), setup.METADATA)
    checks = (sources.leftovers, sources.length, sources.sections, sources.exercises, sources.pictures_without_words)
    for check in checks:
        found += check(notebook)
    return found


def test_a_good_chapter_passes(chapter):
    assert faults(chapter) == []


def _output(notebook):
    notebook["cells"][2]["outputs"] = [{"output_type": "stream"}]


def _count(notebook):
    notebook["cells"][2]["execution_count"] = 3


def _same_id(notebook):
    notebook["cells"][3]["id"] = "m0"


def _no_setup(notebook):
    del notebook["cells"][1]


def _second_setup(notebook):
    notebook["cells"].append(setup.setup_cell())


def _changed_setup(notebook):
    notebook["cells"][1]["source"][-1] += "\nprint(1)"


def _untagged_setup(notebook):
    notebook["cells"][1]["metadata"] = {}


def _no_gpu(notebook):
    del notebook["metadata"]["accelerator"]


def _short(notebook):
    notebook["cells"][0]["source"] = ["# A chapter\n", "word " * 1000]


def _long(notebook):
    notebook["cells"][0]["source"] = ["# A chapter\n", "word " * 4000]


def _no_exercises(notebook):
    notebook["cells"][4]["source"] = ["## What can go wrong\n## Summary"]


def _no_promise(notebook):
    notebook["cells"][0]["source"][0] = notebook["cells"][0]["source"][0].replace("After this chapter", "Here")


def _no_experiment(notebook):
    notebook["cells"][3]["source"] = ["## From scratch\n## Looking inside"]


def _no_picture_of_the_problem(notebook):
    notebook["cells"].insert(2, markdown(9, "## Another section"))


def _two_exercises(notebook):
    notebook["cells"] = [cell for cell in notebook["cells"] if not cell["id"].startswith("exercise-3")]


def _no_check(notebook):
    notebook["cells"] = [cell for cell in notebook["cells"] if cell["id"] != "exercise-2-check"]


def _open_solution(notebook):
    (cell,) = (cell for cell in notebook["cells"] if cell["id"] == "exercise-2-solution")
    cell["source"] = ["a = 1"]


def _two_titles(notebook):
    notebook["cells"][3]["source"].append("\n# Another")


def _no_alt(notebook):
    notebook["cells"][2]["metadata"] = {}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_output, "cell 2 holds output"),
        (_count, "cell 2 holds output"),
        (_same_id, "two have the same"),
        (_no_setup, "not the set-up cell"),
        (_second_setup, "not the set-up cell"),
        (_changed_setup, "differs from the template"),
        (_untagged_setup, "differs from the template"),
        (_no_gpu, "metadata.accelerator is None"),
        (_short, "words of prose"),
        (_long, "words of prose"),
        (_no_exercises, "What can go wrong, Summary, References; expected"),
        (_no_promise, "says nothing of 'After this chapter'"),
        (_no_experiment, "no heading 'Experiment'"),
        (_no_picture_of_the_problem, "the first section has no picture"),
        (_two_exercises, "2 exercises"),
        (_no_check, "exercise 2 needs the cells"),
        (_open_solution, "the solution of exercise 2 is not folded"),
        (_two_titles, "2 titles"),
        (_no_alt, "cell 2 draws a figure"),
    ],
)
def test_each_fault_of_a_chapter_is_found(chapter, spoil, message):
    spoil(chapter)
    found = faults(chapter)
    assert any(message in complaint for complaint in found), found


def test_prose_leaves_out_code_formulas_tables_and_solutions():
    cell = markdown(
        0,
        "kept $a + b$ kept",
        "```python",
        "code = 1",
        "```",
        "````{solution} label",
        "hidden",
        "```python",
        "hidden = 1",
        "```",
        "hidden",
        "````",
        ":::{note}",
        "kept",
        ":::",
        "| cell |",
        "$$",
        "x = y",
        "$$",
        "{cite:p}`key`",
    )
    words = sources.prose({"cells": [cell]}).split()
    assert words.count("kept") == 3
    assert not {"hidden", "code", "cell", "x"} & set(words)


def test_a_new_chapter_is_as_ruff_and_nbstripout_want_it(chapter):
    new = setup.chapter("3 · Image encoders")
    assert setup.refresh(new) == new
    assert len(setup.SOURCE.splitlines()) <= 15
    with pytest.raises(ValueError, match="0 cells have the id 'setup'"):
        setup.refresh({"cells": [], "metadata": {}})


def test_a_heavy_explorer_is_found_and_its_own_picture_is_no_file(site):
    picture = '<img alt="two discs on grey" src="data:image/jpeg;base64,' + "A" * 500 + '">'
    view = '<style></style><figure class="ris-explorer" id="v">' + picture + "</figure><script>{}</script>"
    light, heavy = (GOOD.replace("</article>", view.format("x" * size) + "</article>") for size in (10, 150_000))
    assert light != GOOD
    assert complaints(site, light) == []
    assert any("v has 150" in complaint for complaint in complaints(site, heavy))


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("<details><summary><i></i></summary>x</details>", "neither text nor aria-label"),
        ('<div role="list"><div class="citation" id="a1" role="doc-biblioentry">x</div></div>', "a1 lies in a list"),
    ],
)
def test_what_has_no_name_is_found(site, part, message):
    assert any(message in complaint for complaint in complaints(site, GOOD.replace("</article>", part + "</article>")))
