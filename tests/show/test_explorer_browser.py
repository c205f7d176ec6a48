"""The explorer in a browser: mouse, keyboard, touch; light, dark; three widths; from a file."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from ris_lib.show import Layer, Row, View, explorer
from tests.browser import ground, needed, wcag_faults

pytestmark = pytest.mark.slow

SIDE = 96
SENTENCES = ["red ball", "blue cup on the left"]
BARS = [[("red", 0.9), ("ball", 0.1)], [("red", 0.2), ("ball", 0.8)]]

GUESSES = [[("blue", 0.04), ("red", 0.9), ("cup", 0.003), ("ball", 0.05)], [("cup", 0.4), ("ball", 0.6)]]


def disc(y, x, radius=14):
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return (rows - y) ** 2 + (columns - x) ** 2 <= radius**2


TARGETS = [disc(30, 64), disc(70, 24)]


def views(strength):
    """Words that each look at a quarter, queries that are right or wrong, a sentence each."""
    found = []
    for sentence, target in zip(SENTENCES, TARGETS):
        words = sentence.split()
        maps = np.zeros((len(words), 4, 4), np.float32)
        for k in range(len(words)):
            maps[k, k % 4, k % 4] = strength
        other = TARGETS[0] if target is TARGETS[1] else TARGETS[1]
        masks = np.stack([target, other]).astype(np.float32)
        rows = [
            Row("Words", words, {"stage 1": Layer(maps), "stage 2": Layer(maps[:, ::-1])}, "share", "Bright: read."),
            Row(
                "Queries",
                ["query 1", "query 2"],
                {"all": Layer(masks, np.array([0.8, 0.2]), BARS)},
                "mask",
                score="weight",
            ),
            Row("Hidden words", ["word 1", "word 2"], {"all": Layer(bars=GUESSES)}),
        ]
        found.append(View(sentence, target.astype(np.float32), rows))
    return found


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "explorer.html"
    picture = np.full((SIDE, SIDE, 3), 210, np.uint8)
    explorer(picture, {"first": views(0.9), "second": views(0.5)}, TARGETS, alt="Two discs").save(path)
    return path.as_uri()


chromium = pytest.fixture(scope="module")(needed)


@pytest.fixture
def opened(chromium, address):
    """Opens the page; after the test there must have been no error on it."""
    contexts, errors = [], []

    def visit(width=900, **options):
        context = chromium.new_context(viewport={"width": width, "height": 1000}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda line: errors.append(line.text) if line.type in ("error", "warning") else None)
        page.goto(address)
        page.wait_for_selector(".ris-items button")
        page.wait_for_timeout(100)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert errors == []


def button(page, name):
    return page.get_by_role("button", name=name, exact=True)


def caption(page):
    return page.locator(".ris-caption").inner_text()


def stage(page):
    """The picture with what lies on it, as grey values, ``(SIDE, SIDE)``."""
    page.wait_for_timeout(100)
    shot = Image.open(io.BytesIO(page.locator(".ris-stage").screenshot())).convert("L").resize((SIDE, SIDE))
    grey = np.asarray(shot, dtype=float)
    grey[[0, -1]], grey[:, [0, -1]] = grey[1, 1], grey[1, 1]  # the edge may hold a part of the page
    return grey


def test_a_page_opens_with_the_answer(opened):
    page = opened()
    assert caption(page) == "The answer to “red ball”: its mask covers 7 % of the picture. IoU with the target: 1.00."
    grey = stage(page)
    assert grey[disc(30, 64, 10)].min() > 200
    assert grey[~disc(30, 64, 18)].max() < 60


def test_mouse_hover_shows_and_leaving_brings_back(opened):
    page = opened()
    before = caption(page)
    button(page, "red").hover()
    assert caption(page).startswith("“red”, stage 1: 0.00 to 0.90, strongest at the upper left.")
    grey = stage(page)
    assert grey[:16, :16].mean() > 3 * grey[60:, 60:].mean()
    page.mouse.move(5, 990)
    assert caption(page) == before


def test_a_click_pins_and_a_second_click_lets_go(opened):
    page = opened()
    button(page, "ball").click()
    page.mouse.move(5, 990)
    assert caption(page).startswith("“ball”, stage 1")
    assert button(page, "ball").get_attribute("aria-pressed") == "true"
    button(page, "ball").click()
    page.mouse.move(5, 990)
    assert caption(page).startswith("The answer")


def test_another_sentence_moves_the_masks(opened):
    page = opened()
    button(page, "Queries").click()
    page.get_by_role("button", name="query 1").click()
    first = stage(page)
    button(page, SENTENCES[1]).click()
    page.mouse.move(5, 990)
    second = stage(page)
    assert caption(page).startswith("query 1, weight 0.80: its mask covers 7 %")
    assert first[disc(30, 64, 10)].min() > 200 > 60 > second[disc(30, 64, 8)].max()
    assert second[disc(70, 24, 10)].min() > 200 > 60 > first[disc(70, 24, 8)].max()


def test_another_model_keeps_what_is_looked_at(opened):
    page = opened()
    button(page, "stage 2").click()
    button(page, "ball").click()
    button(page, "second").click()
    page.mouse.move(5, 990)
    assert button(page, "stage 2").get_attribute("aria-pressed") == "true"
    assert caption(page).startswith("“ball”, stage 2: 0.00 to 0.50, strongest")


def test_bars_stand_beside_the_query_that_reads_the_words(opened):
    page = opened()
    assert page.locator(".ris-bars").is_hidden()
    button(page, "Queries").click()
    page.get_by_role("button", name="query 2").hover()
    assert page.locator(".ris-bars").inner_text().split() == ["red", "0.20", "ball", "0.80"]
    widths = [box["width"] for box in (bar.bounding_box() for bar in page.locator(".ris-bars i").all())]
    assert widths[1] == pytest.approx(4 * widths[0], rel=0.05)


def test_buttons_do_not_leave_the_mouse_that_points_at_them(opened):
    page = opened(320)
    button(page, "Queries").click()
    query = page.get_by_role("button", name="query 2")
    before = query.bounding_box()
    query.hover()
    assert page.locator(".ris-bars").is_visible()
    assert query.bounding_box() == before
    page.mouse.move(1, 1)
    assert page.locator(".ris-bars").is_hidden()
    assert query.bounding_box() == before
    page.emulate_media(media="print")
    assert page.locator(".ris-bars").bounding_box() is None, "a gap on paper"


def test_keyboard_alone_reaches_everything(opened):
    page = opened()
    focused = "document.activeElement.textContent"
    page.keyboard.press("Tab")
    assert page.evaluate(focused) == "first"
    page.keyboard.press("ArrowRight")
    assert page.evaluate(focused) == "second"
    assert button(page, "second").get_attribute("aria-pressed") == "true"
    page.keyboard.press("Tab")
    page.keyboard.press("End")
    assert page.evaluate(focused) == SENTENCES[1]
    assert "blue cup" in caption(page)
    for _ in range(5):  # overlay, outline, rows, layers, items
        page.keyboard.press("Tab")
    assert page.evaluate(focused) == "answer"
    page.keyboard.press("ArrowRight")
    assert caption(page).startswith("“blue”, stage 1")
    page.keyboard.press("ArrowDown")
    assert caption(page).startswith("“blue”, stage 2")
    assert page.evaluate(focused) == "blue"
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    assert caption(page).startswith("“left”, stage 2")
    page.keyboard.press("Escape")
    assert caption(page).startswith("The answer")
    assert page.evaluate(focused) == "answer"


def test_a_tap_shows_and_stays(opened):
    page = opened(390, has_touch=True, is_mobile=True)
    button(page, "red").tap()
    assert caption(page).startswith("“red”, stage 1")
    button(page, "ball").tap()
    assert caption(page).startswith("“ball”, stage 1")


def test_overlay_strength_and_outline_can_be_changed(opened):
    page = opened()
    slider, outline = page.get_by_role("slider"), page.get_by_role("checkbox")
    slider.fill("0")
    outline.uncheck()
    assert stage(page).min() > 200
    outline.check()
    blue = stage(page) < 150
    assert blue.any()
    assert not blue[disc(30, 64, 12)].any()
    slider.fill("100")
    assert stage(page)[80:, :40].max() < 60


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 600, 1200])
def test_the_overlay_lies_on_the_picture(opened, width, scheme):
    page = opened(width, color_scheme=scheme)
    assert (ground(page, ".ris-explorer") < 0.2) == (scheme == "dark")
    boxes = [
        page.locator(f".ris-stage {part}").bounding_box() for part in ("img.ris-picture", "canvas", ".ris-outline")
    ]
    assert boxes[0]["width"] >= min(96, width - 60)
    for box in boxes[1:]:
        assert box == pytest.approx(boxes[0], abs=0.5)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    grey = stage(page)
    assert grey[disc(30, 64, 10)].min() > 200
    assert grey[~disc(30, 64, 18)].max() < 60


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nobody_is_shut_out(opened, scheme):
    page = opened(color_scheme=scheme)
    button(page, "Queries").click()
    page.get_by_role("button", name="query 1").click()
    assert wcag_faults(page) == []


MM = 96 / 25.4  # in pixels of CSS
SEEN = "(all) => all.filter((x) => x.checkVisibility()).map((x) => x.textContent)"
STATE = """() => [document.activeElement.textContent,
    ...[...document.querySelectorAll('[aria-pressed=true]')].map((x) => x.textContent),
    ...[...document.querySelectorAll('canvas')].flatMap((x) => [x.width, x.height, x.toDataURL()])]"""


def test_paper_gets_the_picture_and_its_maps_without_the_tools(opened):
    page = opened()
    assert page.locator(".ris-tools").is_visible()
    page.emulate_media(media="print")
    assert page.locator(".ris-tools").is_hidden()
    assert page.locator(".ris-items canvas").count() == 3
    assert all(tile.is_visible() for tile in page.locator(".ris-items canvas").all())
    assert page.locator(".ris-explorer").evaluate("(x) => getComputedStyle(x).breakInside") == "avoid"


def test_paper_gets_of_each_group_what_is_pressed(opened):
    page = opened()
    button(page, "stage 2").click()
    choices, chosen = page.locator(".ris-pick button"), ["first", SENTENCES[0], "Words", "stage 2"]
    assert choices.count() == len(choices.evaluate_all(SEEN)) > len(chosen)
    page.emulate_media(media="print")
    assert choices.evaluate_all(SEEN) == chosen
    after = "(all) => all.filter((x) => x.checkVisibility()).map((x) => getComputedStyle(x, '::after').content)"
    counts = [re.findall(r"\d of \d", content) for content in choices.evaluate_all(after)]
    assert counts == [["1 of 2"], ["1 of 2"], ["1 of 3"], ["2 of 2"]]
    page.emulate_media(media="screen")
    assert choices.count() == len(choices.evaluate_all(SEEN))
    assert set(choices.evaluate_all(after)) == {"none"}


def test_paper_is_filled_and_light(opened):
    page = opened(1000)
    page.add_style_tag(content=":root { --pst-color-background: #000; --pst-color-text-base: #fff; }")  # a dark page
    figure, picture = page.locator(".ris-explorer"), page.locator(".ris-stage")
    beside, tiles = page.locator(".ris-caption"), page.locator(".ris-items canvas")
    assert figure.bounding_box()["width"] < 800
    assert tiles.nth(1).bounding_box()["width"] < 20 * MM
    page.emulate_media(media="print")
    assert figure.bounding_box()["width"] == page.locator("body").bounding_box()["width"] > 900
    assert picture.bounding_box()["width"] == pytest.approx(60 * MM, abs=1)
    assert beside.bounding_box()["y"] < picture.bounding_box()["y"] + 5 * MM
    for tile in tiles.all():
        assert 30 * MM <= tile.bounding_box()["width"] < 45 * MM
        assert tile.bounding_box()["y"] > picture.bounding_box()["y"] + picture.bounding_box()["height"]
    look = "(all) => [...new Set(all.map((x) => getComputedStyle(x)).map((x) => `${x.color} ${x.backgroundColor}`))]"
    assert page.locator(".ris-explorer button").evaluate_all(look) == ["rgb(26, 26, 26) rgba(0, 0, 0, 0)"]
    assert figure.evaluate_all(look) == ["rgb(26, 26, 26) rgb(255, 255, 255)"]


def test_paper_says_which_outline_is_the_target(opened):
    page = opened()
    after = "(x) => getComputedStyle(x, '::after').content"
    assert page.locator(".ris-caption").evaluate(after) == "none"
    page.emulate_media(media="print")
    assert "the target" in page.locator(".ris-caption").evaluate(after)
    page.emulate_media(media="screen")
    page.get_by_role("checkbox").uncheck()
    page.emulate_media(media="print")
    assert page.locator(".ris-caption").evaluate(after) == "none"


def test_paper_gets_scores_by_name_and_guesses_where_there_are_no_maps(opened):
    page = opened()
    button(page, "Queries").click()
    page.emulate_media(media="print")
    named = "(x) => getComputedStyle(x, '::before').content"
    assert "weight" in page.locator(".ris-score").first.evaluate(named)
    page.emulate_media(media="screen")
    button(page, "Hidden words").click()
    items = page.locator(".ris-items")
    assert items.inner_text().split("\n") == ["answer", "word 1", "word 2"]
    page.emulate_media(media="print")
    guesses = ["word 1: red 0.90, ball 0.05, blue 0.04", "word 2: ball 0.60, cup 0.40"]
    assert [text for text in items.inner_text().split("\n") if text] == guesses
    assert page.locator(".ris-items canvas").is_hidden(), "the answer is printed above"


def test_maps_are_finer_while_a_page_is_printed_and_afterwards_all_is_as_it_was(opened):
    page = opened()
    page.locator(".ris-pick button").first.focus()
    page.keyboard.press("ArrowRight")
    button(page, "ball").click()
    before = page.evaluate(STATE)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    widths = "(all) => all.map((x) => x.width)"
    assert page.locator(".ris-items canvas").evaluate_all(widths) == [384] * 3
    painted = "(x) => x.getContext('2d').getImageData(350, 350, 1, 1).data[3]"
    assert page.locator(".ris-items canvas").first.evaluate(painted) == 255
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(STATE) == before
    assert page.locator(".ris-items canvas").evaluate_all(widths) == [128] * 3


def test_an_explorer_that_was_taken_away_is_let_go(opened):
    page = opened()
    page.evaluate("() => { window.tile = document.querySelector('.ris-items canvas'); }")
    page.locator(".ris-explorer").evaluate("(x) => { window.figure = x; x.remove(); }")
    page.evaluate("dispatchEvent(new Event('beforeprint')); dispatchEvent(new Event('afterprint'))")
    page.evaluate("document.body.append(window.figure); dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate("window.tile.width") == 128, "it still listens, and so stays in memory"


def test_without_scripts_the_captions_are_text(chromium, address):
    page = chromium.new_page(java_script_enabled=False)
    page.goto(address)
    assert "The answer to “blue cup on the left”" in page.locator("noscript").inner_text()
    page.close()
