"""The playground: a picture, a sentence of your own, the models of your choice, and the explorer of what they answer.

It needs a live notebook (JupyterLab, Colab); the static page has the explorer alone. Only what ipywidgets 7 and 8 share
is used. Source: our decision.
"""

from __future__ import annotations

import html
import warnings
from collections.abc import Mapping
from io import BytesIO
from typing import Any

import ipywidgets as widgets
import numpy as np
from IPython import get_ipython
from IPython.display import clear_output, display
from PIL import Image

from ris_lib.data import read_picture
from ris_lib.data.scenes import SPLITS, draw, make_scene
from ris_lib.show.explorer import Explorer, explorer

#: Longest side of a picture as it is shown; models see the picture at the size that they were made for.
_SIDE = 384


class Playground:
    """Widgets around the explorer; a notebook shows it as the last line of a cell.

    Args:
        predictors: What has an ``explain(picture, sentences)`` as ``ris_lib.engine.Predictor`` has: one, or by name.
        split: Which drawn scenes can be picked.
        number: The scene that is there at first.

    Attributes:
        scene: Number of the drawn scene.
        upload: A picture of one's own, which takes the scene's place.
        suggestions: Sentences that the scene comes with.
        sentence: What is asked; a new ``value`` asks.
        chosen: Who is asked.
        says: What went wrong, or what a model did not know.
        answer: The explorer that is shown, or None.
        widget: All of them, laid out.

    Raises:
        ValueError: There is no predictor, no such split, or no such scene.

    Example:
        >>> from ris_lib.show.views import View
        >>> class Everything:
        ...     def explain(self, picture, sentences):
        ...         return [View(sentence, np.ones((2, 2))) for sentence in sentences]
        >>> play = Playground(Everything())
        >>> play.sentence.value = "all of it"
        >>> play.answer.sentences
        ['all of it']
    """

    def __init__(self, predictors: Mapping[str, Any] | Any, split: str = "val", number: int = 0):
        self.predictors = dict(predictors) if isinstance(predictors, Mapping) else {"model": predictors}
        if not self.predictors:
            raise ValueError("there is no model to ask; give at least one predictor.")
        if split not in SPLITS:
            raise ValueError(f"split={split!r}; expected one of {', '.join(SPLITS)}.")
        if not 0 <= number < SPLITS[split]:
            raise ValueError(f"number={number}; {split} has the scenes 0 to {SPLITS[split] - 1}.")
        names = list(self.predictors)
        self.split, self.targets, self.answer = split, {}, None
        self.scene = widgets.BoundedIntText(number, min=0, max=SPLITS[split] - 1, description="Scene")
        self.upload = widgets.FileUpload(accept="image/*", multiple=False, description="Own picture")
        wide = widgets.Layout(width=f"{_SIDE}px")
        self.suggestions = widgets.Dropdown(description="Try", layout=wide)
        self.sentence = widgets.Text(
            placeholder="words for one object, then Enter", description="Sentence", continuous_update=False, layout=wide
        )
        self.chosen = widgets.SelectMultiple(options=names, value=names, description="Models", rows=min(len(names), 7))
        self.says, self.output = widgets.HTML(), widgets.Output()
        self._take_scene()
        self.scene.observe(lambda change: self._take_scene(), "value")
        self.upload.observe(lambda change: self._take_upload(), "value")
        self.suggestions.observe(lambda change: self._take_suggestion(), "value")
        for widget in (self.sentence, self.chosen):
            widget.observe(lambda change: self.ask(), "value")
        models = [self.chosen] if len(names) > 1 else []
        self.widget = widgets.VBox(
            [widgets.HBox([self.scene, self.upload]), self.suggestions, self.sentence, *models, self.says, self.output]
        )

    def _ipython_display_(self) -> None:
        display(self.widget)

    def ask(self) -> None:
        """Ask the chosen models; what goes wrong is said in ``says``."""
        sentence = self.sentence.value.strip()
        self.answer, notes = None, []
        if sentence and self.chosen.value:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                try:
                    self.answer = self._explorer(sentence)
                except ValueError as reason:  # a sentence or a picture that a model refuses
                    notes.append(str(reason))
            notes += sorted({str(warning.message) for warning in caught if warning.category is UserWarning})
        elif sentence:
            notes.append("No model is chosen.")
        self._show(notes)

    def _explorer(self, sentence: str) -> Explorer:
        views = {name: self.predictors[name].explain(self.picture, [sentence]) for name in self.chosen.value}
        target = self.targets.get(sentence.lower())
        alt = f"The picture that is asked for “{sentence}”"
        return explorer(self.picture, views, None if target is None else [target], alt)

    def _show(self, notes: list[str]) -> None:
        self.says.value = "".join(f'<p role="alert">{html.escape(note)}</p>' for note in notes)
        if get_ipython() is None:  # no notebook, nothing to draw in
            return
        with self.output:
            clear_output(wait=True)
            display(self.answer if self.answer is not None else Image.fromarray(self.picture))

    def _take_scene(self) -> None:
        """Draw the scene, and offer its sentences."""
        scene = make_scene(self.split, self.scene.value)
        self.picture, ids = draw(scene, size=_SIDE)
        self.targets = {each.sentence: ids == each.target + 1 for each in scene.expressions}
        self._begin(["", *self.targets])

    def _take_upload(self) -> None:
        """Read the file that was uploaded."""
        files = self.upload.value
        if not files:
            return
        content = (next(iter(files.values())) if isinstance(files, dict) else files[0])["content"]  # ipywidgets 7, 8
        try:
            picture = read_picture(Image.open(BytesIO(bytes(content))))
        except (ValueError, OSError) as reason:
            self.says.value = (
                f'<p role="alert">This file is no picture that can be read: {html.escape(str(reason))}</p>'
            )
            return
        small = Image.fromarray(picture)
        small.thumbnail((_SIDE, _SIDE))
        self.picture, self.targets = np.asarray(small), {}
        self._begin([])

    def _begin(self, suggestions: list[str]) -> None:
        """A new picture: nothing is asked yet."""
        self.suggestions.options = suggestions
        if self.sentence.value:
            self.sentence.value = ""  # asks, and so shows the picture alone
        else:
            self.ask()

    def _take_suggestion(self) -> None:
        if self.suggestions.value:
            self.sentence.value = self.suggestions.value
