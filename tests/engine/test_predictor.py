import copy

import numpy as np
import pytest
import torch
from PIL import Image

from ris_lib.engine import Predictor
from ris_lib.models import create_model


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return create_model("baseline_tiny", preprocess={"size": [32, 32]}).eval()


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


def test_masks_have_the_size_of_the_picture(model, picture):
    prediction = Predictor(model, device="cpu")(picture, ["the red ball", "left person"])
    assert prediction.masks.shape == prediction.probabilities.shape == (2, 40, 60)
    assert (prediction.masks.dtype, prediction.probabilities.dtype) == (np.bool_, np.float32)
    assert prediction.scores.shape == (2,)
    assert prediction.probabilities.min() >= 0
    assert prediction.probabilities.max() <= 1
    assert (prediction.masks == (prediction.probabilities > model.config.threshold)).all()
    assert prediction.sentences == ("the red ball", "left person")


def test_scores_by_hand(left_half):
    prediction = Predictor(left_half, device="cpu")(np.zeros((32, 32, 3), np.uint8), "ball")
    assert prediction.masks[0, :, :16].all()
    assert not prediction.masks[0, :, 16:].any()
    assert prediction.scores[0] == pytest.approx(1.0)
    left_half.config = type(left_half.config).from_dict(left_half.config.to_dict() | {"threshold": 0.999999999})
    empty = Predictor(left_half, device="cpu")(np.zeros((32, 32, 3), np.uint8), "ball")
    assert (empty.masks.sum(), empty.scores[0]) == (0, 0)


def test_a_path_a_pil_picture_and_an_array_are_the_same(model, picture, tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(picture).save(path)
    predict = Predictor(model, device="cpu")
    answers = [predict(source, "ball").probabilities for source in (picture, path, str(path), Image.open(path))]
    assert all(np.array_equal(answers[0], other) for other in answers[1:])


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "RGBA", "I;16"])
def test_any_mode(model, mode):
    image = Image.new(mode, (30, 20))
    assert Predictor(model, device="cpu")(image, "ball").masks.shape == (1, 20, 30)


def test_a_picture_is_turned_as_its_tag_says(model, picture, tmp_path):
    path = tmp_path / "phone.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(picture).save(path, exif=exif)
    assert Predictor(model, device="cpu")(path, "ball").masks.shape == (1, 60, 40)


def test_the_picture_is_encoded_once_and_the_mode_stays(picture):
    torch.manual_seed(0)
    model = create_model("baseline_tiny", preprocess={"size": [32, 32]}).train()
    sizes = []
    stem = model.encoder.image_tower.stem
    model.encoder.image_tower.stem = lambda images: (sizes.append(len(images)), stem(images))[1]
    predict = Predictor(model, device="cpu")
    first = predict(picture, ["ball", "the red ball", "left person"])
    assert sizes == [1]
    assert model.training
    assert np.array_equal(first.probabilities, predict(picture, ["ball", "the red ball", "left person"]).probabilities)


def test_a_sentence_does_not_depend_on_its_neighbours(model, picture):
    predict = Predictor(model, device="cpu")
    together = predict(picture, ["ball", "the red ball on the left of the big tree"])
    np.testing.assert_allclose(together.probabilities[:1], predict(picture, "ball").probabilities, atol=1e-5)


def test_unknown_words_are_named(model, picture):
    with pytest.warns(UserWarning, match="'the purple zeppelin ball': the model does not know 'zeppelin'"):
        prediction = Predictor(model, device="cpu")(picture, ["ball", "the purple zeppelin ball"])
    assert prediction.unknown == ((), ("zeppelin",))


def test_a_sentence_that_is_cut_is_named(model, picture):
    with pytest.warns(UserWarning, match="only the first 20 tokens were read"):
        Predictor(model, device="cpu")(picture, "ball " * 21)


@pytest.mark.parametrize(
    ("sentences", "message"),
    [
        ("", "is empty; say what to find"),
        (["ball", "  "], "is empty; say what to find"),
        ("xyzzy", "'xyzzy' has no word that this vocabulary knows"),
        ([], "expected a list of at least one"),
        ([3], "expected a list of at least one"),
    ],
)
def test_bad_sentences(model, picture, sentences, message):
    with pytest.raises(ValueError, match=message):
        Predictor(model, device="cpu")(picture, sentences)


def test_weights_that_are_no_numbers_are_refused(model, picture):
    broken = copy.deepcopy(model)
    next(broken.parameters()).data.fill_(float("nan"))
    with pytest.raises(ValueError, match="the model's answer is not a number; its weights are damaged"):
        Predictor(broken, device="cpu")(picture, "ball")


def test_bad_pictures_and_devices(model, tmp_path):
    with pytest.raises(FileNotFoundError, match="no picture at"):
        Predictor(model, device="cpu")(tmp_path / "none.jpg", "ball")
    (tmp_path / "text.jpg").write_text("no picture")
    with pytest.raises(ValueError, match="cannot be read"):
        Predictor(model, device="cpu")(tmp_path / "text.jpg", "ball")
    with pytest.raises(ValueError, match="unknown device"):
        Predictor(model, device="gpu")


def test_from_run(complete_run, picture):
    assert Predictor.from_run(complete_run, "cpu")(picture, "left person").masks.shape == (1, 40, 60)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        Predictor.from_run(complete_run / "none")
