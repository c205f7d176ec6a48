"""The explorer: a picture, its sentences, and every map that led to a mask, to be walked through without a kernel.

Hover, focus or tap a word, a query or a step: its map appears over the picture, a caption says in words what is seen.
The view is one piece of HTML with everything inside it, so the same object works on the book's pages, in JupyterLab and
in Colab, and in a file of its own; on paper it is the picture with its row of maps. Source: our decision.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ris_lib.show.captions import caption
from ris_lib.show.overlay import check_mask, check_picture, contour_width, ring
from ris_lib.show.palette import rgb
from ris_lib.show.views import Layer, Row, View

#: Grey values of a map; more are not told apart once the map is enlarged.
_LEVELS = 33
#: How much light is lost where a map is zero.
_DIM = 0.78
_PNG = "data:image/png;base64,"
#: A page of its own is as light or dark as its reader likes; elsewhere the page around decides, and paper is light.
_SCHEME = "@media screen{:root{color-scheme:light dark;--pst-color-background:Canvas;--pst-color-text-base:CanvasText}}"


class Explorer:
    """An interactive view; notebooks show it as it is.

    Args:
        picture: ``(H, W, 3)`` uint8, RGB.
        views: By model, a view for each sentence.
        targets: ``(H, W)`` bool for each sentence, or None.
        alt: What is to be seen on the picture.

    Raises:
        ValueError: As for ``explorer``.
    """

    def __init__(
        self,
        picture: np.ndarray,
        views: Mapping[str, Sequence[View]],
        targets: Sequence[np.ndarray] | None = None,
        alt: str = "",
    ):
        check_picture(picture)
        self.sentences = _sentences(views)
        if targets is not None:
            if len(targets) != len(self.sentences):
                raise ValueError(f"{len(targets)} targets came for {len(self.sentences)} sentences; give one for each.")
            for target in targets:
                check_mask(target, picture, "target")
        self.picture, self.views, self.targets = picture, dict(views), targets
        self.alt = alt or "A picture; its sentences are the buttons above it."

    def _repr_html_(self) -> str:
        shown = self._data()
        data = json.dumps(shown, separators=(",", ":"), ensure_ascii=False).replace("</", "<\\/")
        answers = " ".join(view["caption"] for views in shown["views"] for view in views)
        jpeg = _base64(Image.fromarray(self.picture), "JPEG", quality=85, optimize=True)
        name = "ris-" + hashlib.sha256((data + jpeg).encode()).hexdigest()[:12]
        page = (
            f'<figure class="ris-explorer" id="{name}">'
            + "".join(_pick(part, what) for part, what in (("models", "Model"), ("sentences", "Sentence")))
            + '<div class="ris-main"><div class="ris-stage">'
            f'<img class="ris-picture dark-light" alt="{html.escape(self.alt, quote=True)}" '
            f'width="{self.picture.shape[1]}" height="{self.picture.shape[0]}" src="data:image/jpeg;base64,{jpeg}">'
            '<canvas aria-hidden="true"></canvas><span class="ris-outline" hidden></span></div>'
            '<div class="ris-side"><figcaption class="ris-caption" aria-live="polite"></figcaption>'
            '<div class="ris-bars" hidden></div><div class="ris-tools" hidden>'
            '<label>Overlay <input type="range" min="0" max="100" value="100"></label>'
            '<label><input type="checkbox" checked> Outline of the target</label></div></div></div>'
            + "".join(_pick(part, what) for part, what in (("rows", "Look at"), ("layers", "Layer")))
            + '<p class="ris-note" hidden></p><div class="ris-items" role="toolbar"></div>'
            f"<noscript>{html.escape(f'This view needs scripts. {answers}')}</noscript></figure>"
        )
        script = files("ris_lib.show").joinpath("explorer.js").read_text(encoding="utf-8")
        style = files("ris_lib.show").joinpath("explorer.css").read_text(encoding="utf-8")
        call = f'(function(){{{script}\nrisExplorer(document.getElementById("{name}"),{data});}})();'
        return f"<style>{style}</style>{page}<script>{call}</script>"

    def save(self, path: str | Path) -> None:
        """Write a page of its own, which a browser opens without a server.

        Args:
            path: Name of the file, ``.html``.
        """
        head = (
            '<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        )
        page = f"{head}<title>Explorer</title><style>{_SCHEME}</style><body>{self._repr_html_()}</body></html>"
        Path(path).write_text(page, encoding="utf-8")

    def _data(self) -> dict[str, Any]:
        """What the script reads: numbers and strings only."""
        targets = self.targets or [None] * len(self.sentences)
        return {
            "png": _PNG,
            "width": self.picture.shape[1],
            "height": self.picture.shape[0],
            "models": list(self.views),
            "sentences": self.sentences,
            "targets": None if self.targets is None else [_outline(target) for target in self.targets],
            "views": [[_view(view, target) for view, target in zip(views, targets)] for views in self.views.values()],
        }


def explorer(
    picture: np.ndarray,
    views: Mapping[str, Sequence[View]] | Sequence[View],
    targets: Sequence[np.ndarray] | None = None,
    alt: str = "",
) -> Explorer:
    """Walk through what led to a mask.

    Args:
        picture: ``(H, W, 3)`` uint8, RGB, as it shall be shown; maps may be coarser.
        views: One view for each sentence, as ``Predictor.explain`` gives them; or several models' views by name.
        targets: The right object of each sentence, ``(H, W)`` bool; captions then compare with it. None if unknown.
        alt: What is to be seen on the picture, for those who cannot see it.

    Raises:
        ValueError: There is no view, models were asked different sentences, or picture and targets do not fit.

    Example:
        >>> import numpy as np
        >>> from ris_lib.show.views import View
        >>> picture, mask = np.full((48, 64, 3), 200, np.uint8), np.zeros((12, 16))
        >>> mask[3:6, 4:9] = 0.9
        >>> view = explorer(picture, [View("the red ball", mask)])
        >>> view.sentences, "ris-explorer" in view._repr_html_()
        (['the red ball'], True)
    """
    named = views if isinstance(views, Mapping) else {"model": views}
    return Explorer(picture, named, targets, alt)


def _sentences(views: Mapping[str, Sequence[View]]) -> list[str]:
    """The sentences, which must be the same for all models."""
    asked = {name: [view.sentence for view in some] for name, some in views.items()}
    if not asked or not all(asked.values()):
        raise ValueError("there is no view to show; give at least one model and one sentence.")
    first = next(iter(asked.values()))
    for name, sentences in asked.items():
        if sentences != first:
            raise ValueError(f"{name} was asked {sentences}, another model {first}; ask all models the same sentences.")
    return first


def _pick(part: str, what: str) -> str:
    """A labelled place for buttons of which one is pressed."""
    return (
        f'<div class="ris-pick ris-{part}" hidden><span class="ris-what" aria-hidden="true">{what}</span>'
        f'<div class="ris-buttons" role="toolbar" aria-label="{what}"></div></div>'
    )


def _view(view: View, target: np.ndarray | None) -> dict[str, Any]:
    mask = np.asarray(view.mask, dtype=np.float32)
    return {
        "mask": _sprite(mask[None]),
        "caption": caption(f"The answer to “{view.sentence}”", mask, "mask", target),
        "rows": [_row(row, target) for row in view.rows],
    }


def _row(row: Row, target: np.ndarray | None) -> dict[str, Any]:
    return {
        "title": row.title,
        "items": list(row.items),
        "note": row.note,
        "score": row.score,
        "layers": [_layer(row, name, layer, target) for name, layer in row.layers.items()],
    }


def _layer(row: Row, name: str, layer: Layer, target: np.ndarray | None) -> dict[str, Any]:
    texts = []
    for index, label in enumerate(row.items):
        score = "" if layer.scores is None else f", {row.score} {float(layer.scores[index]):.2f}"
        named = f"“{label}”" if row.reading != "mask" else label
        where = f", {name}" if len(row.layers) > 1 else ""
        if layer.maps is not None:
            texts.append(caption(f"{named}{where}{score}", layer.maps[index], row.reading, target))
        elif layer.bars is not None:
            best = max(layer.bars[index], key=lambda pair: pair[1], default=None)
            texts.append(f"{named}{where}{score}." + (f" Highest: {best[0]}, {best[1]:.2f}." if best else ""))
    return {
        "name": name,
        "maps": None if layer.maps is None else _sprite(_scaled(layer.maps, row.reading)),
        "scores": None if layer.scores is None else [round(float(score), 3) for score in layer.scores],
        "bars": layer.bars and [[(label, round(float(value), 3)) for label, value in bars] for bars in layer.bars],
        "captions": texts,
    }


def _scaled(maps: np.ndarray, reading: str) -> np.ndarray:
    """Maps as they are drawn: a layer's shares from its lowest to its highest, spreads each against its own highest."""
    if reading == "mask":
        return maps
    if reading == "share":
        return (maps - maps.min()) / max(float(np.ptp(maps)), 1e-9)
    return maps / np.maximum(maps.max(axis=(1, 2), keepdims=True), 1e-9)


def _sprite(maps: np.ndarray) -> dict[str, Any]:
    """Maps one below the other as a PNG of darkness: black, and the more transparent the larger the value."""
    count, height, width = maps.shape
    values = np.rint(np.clip(maps, 0, 1) * (_LEVELS - 1)).astype(np.uint8).reshape(count * height, width)
    picture = Image.fromarray(values, "P")
    picture.putpalette([0] * (3 * _LEVELS))
    alpha = bytes(round(255 * _DIM * (1 - level / (_LEVELS - 1))) for level in range(_LEVELS))
    return {"w": width, "h": height, "png": _base64(picture, "PNG", optimize=True, transparency=alpha)}


def _outline(target: np.ndarray) -> str:
    """The contour of a target, transparent elsewhere."""
    picture = Image.fromarray(ring(target, 0, contour_width(target.shape)).astype(np.uint8), "P")
    picture.putpalette([0, 0, 0, *rgb("target")])
    return _base64(picture, "PNG", optimize=True, transparency=bytes([0, 255]))


def _base64(picture: Image.Image, kind: str, **options: Any) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return base64.b64encode(buffer.getvalue()).decode()
