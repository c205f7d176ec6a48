"""The playground without a notebook: what its widgets do. `test_playground_browser.py` drives it in JupyterLab."""

import io
import warnings

import numpy as np
import pytest
from PIL import Image

from ris_lib.data.scenes import make_scene
from ris_lib.show.playground import Playground
from ris_lib.show.views import View


class Asked:
    """A predictor that remembers, and knows two words."""

    def __init__(self):
        self.calls = []

    def explain(self, picture, sentences):
        self.calls.append((picture.shape, sentences))
        if sentences == ["xyzzy"]:
            raise ValueError("sentence 'xyzzy' has no known word <b>.")
        if "foo" in sentences[0]:
            warnings.warn("the model does not know 'foo'.", UserWarning, stacklevel=2)
        return [View(sentence, np.full((4, 4), 0.75)) for sentence in sentences]


@pytest.fixture
def play():
    return Playground({"one": Asked(), "two": Asked()}, number=3)


def uploaded(size=(900, 300), kind="PNG"):
    buffer = io.BytesIO()
    Image.new("RGB", size, (10, 200, 30)).save(buffer, kind)
    return buffer.getvalue()


def test_a_sentence_is_put_to_the_chosen_models(play):
    assert play.answer is None
    play.sentence.value = "the red cup"
    assert list(play.answer.views) == ["one", "two"]
    assert play.predictors["one"].calls == [((384, 384, 3), ["the red cup"])]
    play.chosen.value = ("two",)
    assert list(play.answer.views) == ["two"]
    play.chosen.value = ()
    assert play.answer is None
    assert "No model is chosen" in play.says.value


def test_the_scenes_own_sentences_bring_their_target(play):
    expression = make_scene("val", 3).expressions[0]
    play.suggestions.value = expression.sentence
    assert play.sentence.value == expression.sentence
    [target] = play.answer.targets
    assert 0 < target.mean() < 0.5
    play.sentence.value = "something else"
    assert play.answer.targets is None


def test_another_scene_asks_nothing_yet(play):
    play.sentence.value = "the red cup"
    before = play.picture
    play.scene.value = 4
    assert play.answer is None
    assert play.sentence.value == ""
    assert (play.picture != before).any()
    assert play.suggestions.options[1] == make_scene("val", 4).expressions[0].sentence


@pytest.mark.parametrize("files", [lambda c: ({"content": memoryview(c)},), lambda c: {"a.png": {"content": c}}])
def test_a_picture_of_ones_own_in_ipywidgets_7_and_8(play, files):
    class Upload:
        value = files(uploaded())

    play.upload = Upload()
    play._take_upload()
    assert play.picture.shape == (128, 384, 3)
    play.sentence.value = "the red cup"
    assert play.answer.picture.shape == (128, 384, 3)
    assert play.answer.targets is None


def test_a_file_that_is_no_picture_is_said_and_changes_nothing(play):
    class Upload:
        value = ({"content": b"GIF89a<script>"},)

    before = play.picture
    play.upload = Upload()
    play._take_upload()
    assert "no picture that can be read" in play.says.value
    assert play.picture is before


def test_what_a_model_refuses_or_does_not_know_is_said(play):
    play.sentence.value = "xyzzy"
    assert play.answer is None
    assert "no known word &lt;b&gt;" in play.says.value
    play.sentence.value = "the foo cup"
    assert play.answer is not None
    assert play.says.value.count("does not know") == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Playground({}), "no model to ask"),
        (lambda: Playground(Asked(), split="vall"), "split='vall'; expected one of train, val"),
        (lambda: Playground(Asked(), number=400), "number=400; val has the scenes 0 to 399"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
