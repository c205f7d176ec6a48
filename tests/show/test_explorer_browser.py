"""The explorer in a browser: mouse, keyboard, touch; light, dark; three widths; from a file."""

import io

import numpy as np
import pytest
from PIL import Image

from ris_lib.show import Layer, Row, View, explorer
from tests.browser import needed, wcag_faults

pytestmark = pytest.mark.slow

SIDE = 96
SENTENCES = ["red ball", "blue cup on the left"]
BARS = [[("red", 0.9), ("ball", 0.1)], [("red", 0.2), ("ball", 0.8)]]


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


def test_paper_gets_the_picture_and_its_maps_without_the_tools(opened):
    page = opened()
    page.emulate_media(media="print")
    assert page.locator(".ris-tools").is_hidden()
    assert page.locator(".ris-items canvas").count() == 3
    assert all(tile.is_visible() for tile in page.locator(".ris-items canvas").all())


def test_without_scripts_the_captions_are_text(chromium, address):
    page = chromium.new_page(java_script_enabled=False)
    page.goto(address)
    assert "The answer to “blue cup on the left”" in page.locator("noscript").inner_text()
    page.close()
