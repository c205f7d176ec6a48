"""Views, captions and what the explorer makes of them, without a browser."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from ris_lib.show import Layer, Row, View, explorer
from ris_lib.show.captions import caption, place

MAPS = np.linspace(0, 1, 2 * 3 * 4, dtype=np.float32).reshape(2, 3, 4)


def picture(height=48, width=64):
    return np.full((height, width, 3), 200, np.uint8)


def box(height=48, width=64):
    target = np.zeros((height, width), bool)
    target[12:36, 16:32] = True
    return target


def row(**changes):
    given = {"title": "Words", "items": ["red", "ball"], "layers": {"stage 1": Layer(MAPS)}, "reading": "share"}
    return Row(**(given | changes))


def view(*rows, sentence="red ball"):
    return View(sentence, np.full((6, 8), 0.25), rows)


def data_of(shown):
    """What the script gets: the JSON between its call and its end."""
    page = shown._repr_html_()
    return json.loads(
        re.search(r'risExplorer\(document\.getElementById\("[\w-]+"\),(.*)\);\}\)\(\);</script>', page)[1]
    )


def decoded(sprite):
    """A sprite's darkness as numbers in [0, 1], ``(n, h, w)``."""
    image = Image.open(io.BytesIO(base64.b64decode(sprite["png"]))).convert("RGBA")
    alpha = np.asarray(image)[..., 3].reshape(-1, sprite["h"], sprite["w"])
    assert not np.asarray(image)[..., :3].any()
    return alpha / 255


def test_bright_where_the_map_is_large_dark_where_it_is_zero():
    sprite = data_of(explorer(picture(), [view(row(reading="mask"))]))["views"][0][0]["rows"][0]["layers"][0]["maps"]
    darkness = decoded(sprite)
    assert darkness.shape == MAPS.shape
    np.testing.assert_allclose(darkness, 0.78 * (1 - MAPS), atol=0.78 / 64 + 0.003)


@pytest.mark.parametrize(
    ("reading", "brightest"), [("share", [11 / 23, 1.0]), ("spread", [1.0, 1.0]), ("mask", [11 / 23, 1.0])]
)
def test_shares_are_drawn_on_one_scale_and_spreads_each_on_its_own(reading, brightest):
    sprite = data_of(explorer(picture(), [view(row(reading=reading))]))["views"][0][0]["rows"][0]["layers"][0]["maps"]
    light = 1 - decoded(sprite) / 0.78
    np.testing.assert_allclose(light.max(axis=(1, 2)), brightest, atol=1 / 64 + 0.005)


def test_outlines_lie_around_the_target():
    shown = data_of(explorer(picture(), [view()], [box()]))
    outline = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown["targets"][0]))).convert("RGBA"))
    drawn = outline[..., 3] > 0
    assert drawn.any()
    assert not (drawn & box()).any()
    rows, columns = np.nonzero(drawn)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (11, 36, 15, 32)


def test_layers_scores_bars_and_captions_reach_the_page():
    bars = [[("red", 0.9), ("ball", 0.1)], [("red", 0.2), ("ball", 0.8)]]
    queries = row(
        title="Queries", reading="mask", score="weight", layers={"all": Layer(MAPS, np.array([0.25, 0.75]), bars)}
    )
    hidden = row(title="Hidden", layers={"text only": Layer(bars=bars), "with image": Layer(bars=bars)})
    shown = data_of(explorer(picture(), {"a": [view(queries, hidden)], "b": [view()]}, [box()]))
    assert shown["models"] == ["a", "b"]
    first, second = shown["views"][0][0]["rows"]
    assert first["layers"][0]["scores"] == [0.25, 0.75]
    assert first["layers"][0]["bars"][1] == [["red", 0.2], ["ball", 0.8]]
    assert first["layers"][0]["captions"][0].startswith("red, weight 0.25: its mask is empty")
    assert [layer["name"] for layer in second["layers"]] == ["text only", "with image"]
    assert second["layers"][1]["captions"] == [
        "“red”, with image. Highest: red, 0.90.",
        "“ball”, with image. Highest: ball, 0.80.",
    ]
    assert second["layers"][0]["maps"] is None
    assert shown["views"][1][0]["rows"] == []


def test_text_from_outside_cannot_leave_its_place():
    evil = "</script><script>alert(1)</script>"
    page = explorer(picture(), [view(sentence=evil)], alt='"><b>')._repr_html_()
    assert page.count("</script>") == 1
    assert '"><b>' not in page
    assert data_of(explorer(picture(), [view(sentence=evil)]))["sentences"] == [evil]


def test_the_same_content_gives_the_same_page_and_other_content_another_id():
    first, again, other = (explorer(picture(), [view(sentence=text)])._repr_html_() for text in ("a", "a", "b"))
    assert first == again
    assert re.search(r'id="([\w-]+)"', first)[1] != re.search(r'id="([\w-]+)"', other)[1]


def test_save_writes_a_page(tmp_path):
    explorer(picture(), [view()]).save(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: row(layers={"stage 1": Layer(MAPS[:1])}), "row 'Words', layer 'stage 1' has 1 maps for 2 items"),
        (lambda: row(layers={"stage 1": Layer(MAPS, scores=np.ones(3))}), "has 3 scores for 2 items"),
        (lambda: row(layers={"stage 1": Layer()}), "neither maps nor bars"),
        (lambda: row(layers={"stage 1": Layer(MAPS * 3 - 1)}), r"maps lie in \[-1, 2\]; expected \[0, 1\]"),
        (
            lambda: row(layers={"stage 1": Layer(MAPS[0])}),
            r"an array \(3, 4\); expected an array \(items, height, width\)",
        ),
        (lambda: row(layers={"stage 1": Layer(MAPS * np.nan)}), r"maps lie in \[nan, nan\]"),
        (lambda: row(reading="sum"), "reading='sum'; expected one of share, spread, mask"),
        (lambda: row(layers={}), "2 items and 0 layers"),
        (lambda: explorer(picture(), []), "no view to show"),
        (lambda: explorer(picture(), {"a": [view()], "b": [view(sentence="other")]}), "b was asked .*ask all models"),
        (lambda: explorer(picture(), [view()], [box(), box()]), "2 targets came for 1 sentences"),
        (lambda: explorer(picture(), [view()], [box(48, 63)]), "target has 48 x 63 pixels"),
        (lambda: explorer(picture() / 255, [view()]), "expected an array .* of uint8"),
    ],
)
def test_what_would_be_drawn_wrongly_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_places_have_names():
    names = {place((y, x)) for y in (0.0, 0.5, 0.99) for x in (0.0, 0.5, 0.99)}
    assert len(names) == 9
    assert "in the centre" in names
    assert place((0.99, 0.5)) == "at the lower centre"


def test_a_caption_compares_with_the_target_or_leaves_it_out():
    target = box()
    assert caption("query 1", target.astype(float), "mask", target) == (
        "query 1: its mask covers 12 % of the picture. IoU with the target: 1.00."
    )
    assert caption("query 1", target.astype(float), "mask", None) == "query 1: its mask covers 12 % of the picture."
    uniform = np.full((3, 3), 1 / 9)
    assert "12 % of it lies on the target, which covers 12 % of the picture" in caption("x", uniform, "spread", target)
    assert "Takes 11 % of the pixels on the target, 11 % of the others" in caption("x", uniform, "share", target)
    assert caption("x", uniform, "share", np.ones_like(target)).endswith("at the upper left.")
    nearly = np.array([[0.5001, 0.5002]])
    assert caption("x", nearly, "share", None) == "x: 0.5001 to 0.5002, strongest at the middle right."
