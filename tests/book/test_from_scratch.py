"""What the chapters build by hand equals the library, on numbers that the chapters do not use.

Each class is taken out of its notebook (the notebook does not run), gets the weights of the library's class, random and
far from their start so that no gate is closed, and other sizes than on the page. Outputs and gradients are compared, in
double precision where the page's code allows it.
"""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch import nn

from ris_lib import create_model
from ris_lib.attention import MultiHeadAttention
from ris_lib.contract import Dims, Encoded, FeatureMap, MaskOutput, ModelState, PixelFeatures, Reads
from ris_lib.decoders import DetailMerge
from ris_lib.encoders.swin import SwinImage
from ris_lib.encoders.tiny_image import PixelAttention
from ris_lib.encoders.tiny_text import TinyText
from ris_lib.engine import Predictor
from ris_lib.fusion import CAM, FUSIONS, PWAM, VLBA, WPA, LateFusion
from ris_lib.heads import (
    HEADS,
    CentreEmbedding,
    FixedKernel,
    MaskedQuery,
    SentenceKernel,
    SentenceMaskAlignment,
    VisionLanguageAligner,
)
from ris_lib.heads.centre_generator import CentreGenerator
from ris_lib.heads.query_generator import QueryGenerator
from ris_lib.metrics import Accumulator, gain_over_seeds, gain_over_sentences
from ris_lib.objectives import (
    OBJECTIVES,
    CrossModalAlignment,
    InstanceContrast,
    MaskGrounding,
    PixelContrast,
    Segmentation,
)
from tests.book.from_notebook import comparisons, from_notebook
from tests.book.template import ROOT, built_in
from tests.tiny_batches import make_batch

#: Parts whose chapter is not written yet.
PLANNED: set[str] = set()


#: The cell in which the chapter of each class compares the page's numbers with the library's.
COMPARED_IN = {
    "SwinImage": "swin-check-code",
    "PixelAttention": "tiny-code",
    "TinyText": "tower-check",
    "MultiHeadAttention": "tower-check",
    "LateFusion": "fusion-check",
    "PWAM": "pwam-check",
    "WPA": "wpa-check",
    "CAM": "cam-check",
    "VLBA": "block-check",
    "DetailMerge": "decoder-check",
    "FixedKernel": "head-code",
    "CentreEmbedding": "head-check",
    "CentreGenerator": "head-check",  # its states are among what is compared
    "MaskGenerator": "generator-check",
    "SentenceMaskAlignment": "head-check",
    "SentenceKernel": "sentence-check",
    "QueryGenerator": "generator-check",
    "VisionLanguageAligner": "head-check",
    "MaskedQuery": "query-check",
    "Segmentation": "loss-check",
    "InstanceContrast": "instance-check-code",
    "PixelContrast": "pixel-check-code",
    "CrossModalAlignment": "cal-check",
    "MaskGrounding": "grounding-check",
    "Accumulator": "library-equal",
    "StagedEncoder": "equal-code",
    "ReferringSegmenter": "equal-code",
    "Gain": "library-check",
    "Predictor": "library-code",
}

TOLERANCE = {torch.float64: {}, torch.float32: {"rtol": 1e-4, "atol": 1e-4}}

#: The page's code turns masks and weights to 32 bits by name.
single_precision = pytest.mark.parametrize("precision", [torch.float32], ids=["single"], indirect=True)


@pytest.fixture(autouse=True)
def precision(request):
    torch.set_default_dtype(getattr(request, "param", torch.float64))
    torch.manual_seed(7)
    yield
    torch.set_default_dtype(torch.float32)


def stirred(module: nn.Module) -> nn.Module:
    """Random weights everywhere, also where a start is zero or one."""
    with torch.no_grad():
        for parameter in module.parameters():
            nn.init.normal_(parameter, std=0.4)
    return module


def with_weights_of(ours: nn.Module, theirs: nn.Module) -> nn.Module:
    ours.load_state_dict(stirred(theirs).state_dict())
    return ours


def assert_same(ours, theirs, *inputs):
    """Two lists of outputs, and their gradients with respect to the inputs, are equal."""
    for our, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(our, their, **TOLERANCE[our.dtype])
    gradients = [
        torch.autograd.grad(sum(x.square().sum() for x in outputs if x.requires_grad), inputs, retain_graph=True)
        for outputs in (ours, theirs)
    ]
    for our, their in zip(*gradients, strict=True):
        assert our.abs().max() > 0
        torch.testing.assert_close(our, their, **TOLERANCE[our.dtype])


def pixels_and_words(pixel_dim, word_dim, size=(5, 4)):
    """Pixels, words and a mask of three sentences, the last of one word."""
    pixels = torch.randn(3, size[0] * size[1], pixel_dim, requires_grad=True)
    words = torch.randn(3, 6, word_dim, requires_grad=True)
    return pixels, words, torch.arange(6) < torch.tensor([6, 4, 1])[:, None]


def test_every_part_of_the_library_has_a_chapter_that_builds_it():
    parts = {part.__name__ for table in (FUSIONS, HEADS, OBJECTIVES) for part in table.values()}
    built = {name.rsplit(".", 1)[1] for name in built_in.BUILT_IN}
    assert parts - built == PLANNED


def page_of(chapter: str) -> str:
    return (ROOT / "book" / "chapters" / f"{chapter}.ipynb").read_text(encoding="utf-8")


@pytest.mark.parametrize(("name", "chapter"), built_in.BUILT_IN.items())
def test_the_chapter_points_to_the_reference_of_what_it_builds(name, chapter):
    assert f"{{py:class}}`~{name}`" in page_of(chapter)


@pytest.mark.parametrize(("name", "chapter"), built_in.BUILT_IN.items())
def test_the_chapter_compares_what_it_builds_with_the_library(name, chapter):
    cell = COMPARED_IN[name.rsplit(".", 1)[1]]
    assert comparisons(json.loads(page_of(chapter)), cell) > 0, f"the cell {cell} of {chapter} compares nothing"


def test_what_is_no_comparison_is_not_counted():
    def count(*lines):
        return comparisons({"cells": [{"id": "one", "cell_type": "code", "source": list(lines)}]}, "one")

    assert count("torch.testing.assert_close(a, b)\n", "assert a == b\n", "assert torch.equal(a, b)") == 3
    assert count("print(a == b)\n", "assert a\n", "pass  # torch.testing.assert_close(a, b)") == 0
    with pytest.raises(ValueError, match="no cell of code 'two'; the page has one"):
        comparisons({"cells": [{"id": "one", "cell_type": "code", "source": []}]}, "two")


def test_late_fusion():
    page = from_notebook("05_first_model", "LateFusion")
    theirs = LateFusion(12, 10, layers=2)
    ours = with_weights_of(page.LateFusion(12, 10, layers=2), theirs)
    pixels, words, mask = pixels_and_words(12, 10)
    fused = theirs(pixels, (5, 4), words, mask)
    assert_same([ours(pixels, (5, 4), words, mask)], [fused.pyramid], pixels, words)


@pytest.mark.parametrize("gated", [True, False])
def test_pwam(gated):
    page = from_notebook("06_words_meet_pixels", "PWAMFromScratch")
    theirs = PWAM(10, 7)
    ours = page.PWAMFromScratch(10, 7, gated=gated)
    weights = {name: x for name, x in stirred(theirs).state_dict().items() if gated or not name.startswith("gate")}
    ours.load_state_dict(weights)
    pixels, words, mask = pixels_and_words(10, 7)
    fused = theirs(pixels, (5, 4), words, mask)
    new_pixels, new_words, decoder_map = ours(pixels, words, mask)
    assert_same([decoder_map], [fused.pyramid], pixels, words)
    assert new_words is words
    if gated:
        assert_same([new_pixels], [fused.pixels], pixels, words)
    else:
        assert torch.equal(new_pixels, pixels)


def test_wpa():
    page = from_notebook("06_words_meet_pixels", "WPAFromScratch")
    theirs = WPA(24, 10, width=16, head_dim=8)
    ours = with_weights_of(page.WPAFromScratch(24, 10, 16, 2), theirs)
    pixels, words, mask = pixels_and_words(24, 10)
    fused = theirs(pixels, (5, 4), words, mask)
    assert_same(ours(pixels, words, mask), [fused.pixels, fused.words, fused.pyramid], pixels, words)


def test_detail_merge():
    page = from_notebook("05_first_model", "DetailMerge")
    theirs = DetailMerge(8, 16, 24)
    ours = with_weights_of(page.DetailMerge(8, 16, 24), theirs)
    finest = torch.randn(3, 8, 5, 6, requires_grad=True)
    detail = torch.randn(2, 16, 10, 12, requires_grad=True)
    index = torch.tensor([0, 1, 1])
    encoded = Encoded([], None, None, None, None, index, detail=FeatureMap(detail, 2))
    merged = theirs(PixelFeatures(finest, 4), encoded)
    assert_same([ours(finest, detail, index)], [merged.finest], finest, detail)


def test_fixed_kernel():
    page = from_notebook("05_first_model", "fixed_kernel")
    theirs = FixedKernel(6, 4, 4, (), None)
    ours = page.fixed_kernel(6)
    torch.testing.assert_close(ours.bias, theirs.kernel.bias)
    ours.load_state_dict(stirred(theirs).kernel.state_dict())
    finest = torch.randn(2, 6, 3, 5, requires_grad=True)
    state = theirs(PixelFeatures(finest, 4), None)
    assert_same([ours(finest)], [state.logits], finest)


@single_precision
@pytest.mark.parametrize("variant", ["mixture", "linear"])
def test_sentence_mask_alignment(variant):
    page = from_notebook("10_proposals", "SentenceMaskAlignmentFromScratch")
    sizes = {"queries": 3, "layers": 1, "heads": 2, "width": 12, "feed_forward": 20, "variant": variant}
    theirs = SentenceMaskAlignment(6, 7, 7, (5, 4), None, **sizes)
    ours = with_weights_of(page.SentenceMaskAlignmentFromScratch(6, 7, (5, 4), **sizes), theirs)
    finest = torch.randn(3, 6, 8, 10, requires_grad=True)
    memory = [torch.randn(3, channels, *size, requires_grad=True) for channels, size in ((5, (2, 3)), (4, (4, 5)))]
    _, words, mask = pixels_and_words(6, 7)
    index = torch.where(mask, torch.arange(6), -1)
    encoded = Encoded([], words, words.mean(dim=1), mask, index, torch.arange(3))
    output = theirs(PixelFeatures(finest, 4, memory=memory), encoded, explain=True)
    logits, proposals, log_weights = ours(finest, memory, words, index)
    expected = [output.logits, output.query_logits, output.explanation["query_scores"]]
    for our, their in zip([logits, proposals, log_weights.exp()], expected, strict=True):
        torch.testing.assert_close(our, their, rtol=1e-4, atol=1e-4)
    assert_same([logits], [output.logits], finest, *memory, words)


@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_sentence_kernel(kernel, scaled):
    page = from_notebook("11_query_kernels", "SentenceKernelFromScratch", "convolve_v1")
    theirs = SentenceKernel(6, 4, 7, (), None, kernel=kernel, scaled=scaled)
    ours = page.SentenceKernelFromScratch(6, 7, kernel, scaled)
    torch.testing.assert_close(ours.make_kernel.bias[-1], theirs.make_kernel.bias[-1])  # the start of the bias
    ours.load_state_dict(stirred(theirs).state_dict())
    finest = torch.randn(3, 6, 8, 10, requires_grad=True)
    sentence = torch.randn(3, 7, requires_grad=True)
    output = theirs(PixelFeatures(finest, 4), Encoded([], None, sentence, None, None, torch.arange(3)))
    logits, made = ours(finest, sentence)
    assert_same([logits], [output.logits], finest, sentence)
    torch.testing.assert_close(made[:, 0, :, kernel // 2, kernel // 2], output.centre)
    torch.testing.assert_close(page.convolve_v1(finest, made, ours.make_kernel(sentence)[:, -1:]), logits)


def heard_words(width):
    """Words, which of them are content (the first token is special, and so is the padding), and the encoded text."""
    _, words, mask = pixels_and_words(6, width)
    mask = mask | (torch.arange(6) < 2)  # a start token and a word at least
    index = torch.where(mask, torch.arange(6) - 1, -1)
    encoded = Encoded([], words, words.mean(dim=1), mask, index, torch.arange(len(words)))
    return words, index >= 0, encoded


@single_precision
def test_query_generator():
    page = from_notebook("11_query_kernels", "QueryGeneratorFromScratch", "query_v1")
    theirs = QueryGenerator(5, 7, queries=3, width=16)
    ours = with_weights_of(page.QueryGeneratorFromScratch(5, 7, queries=3, width=16), theirs)
    context = torch.randn(3, 5, 4, 6, requires_grad=True)
    words, content, _ = heard_words(7)
    got, expected = (layer(context, words, content, *more) for layer, more in ((ours, ()), (theirs, (True,))))
    assert_same(got, expected, context, words)
    one = page.query_v1(ours, 2, context[1], words[1], content[1])
    torch.testing.assert_close(one, got[0][1, 2], rtol=1e-4, atol=1e-4)


@single_precision
@pytest.mark.parametrize("queries", [1, 3])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("scores", ["softmax", "uniform"])
@pytest.mark.parametrize("mix", ["logit", "prob"])
def test_vision_language_aligner(mix, scores, kernel, queries):
    page = from_notebook("11_query_kernels", "VisionLanguageAlignerFromScratch")
    sizes = {"queries": queries, "width": 16, "kernel": kernel, "scores": scores, "mix": mix}
    theirs = VisionLanguageAligner(6, 7, 7, (), 5, **sizes)
    ours = page.VisionLanguageAlignerFromScratch(6, 7, 5, **sizes)
    for start in ("weight", "bias"):  # the start of the masks' bias
        our, their = (getattr(head.kernels, start)[-1] for head in (ours, theirs))
        torch.testing.assert_close(our, their)
    ours.load_state_dict(stirred(theirs).state_dict())
    finest = torch.randn(3, 6, 8, 10, requires_grad=True)
    context = torch.randn(3, 5, 4, 6, requires_grad=True)
    words, content, encoded = heard_words(7)
    output = theirs(PixelFeatures(finest, 4, context=context), encoded, explain=True)
    logits, masks, weights, attention = ours(finest, context, words, content)
    explained = output.explanation
    torch.testing.assert_close(weights, explained["query_scores"], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(attention, explained["query_word_attention"], rtol=1e-4, atol=1e-4)
    assert_same([logits, masks], [output.logits, output.query_logits], finest, context, words)


def test_segmentation():
    page = from_notebook("05_first_model", "bce_v1", "bce_v2", "dice")
    batch = make_batch(size=(32, 32))
    logits = torch.randn(3, 1, 32, 32, requires_grad=True)
    terms = Segmentation(None)(ModelState(None, None, MaskOutput(logits), None), batch)
    target = batch.masks.double()
    expected = [term.sum / term.count for term in terms.values()]
    assert list(terms) == ["bce", "dice"]
    for bce in (page.bce_v1, page.bce_v2):
        assert_same([bce(logits[:, 0], target), page.dice(logits[:, 0], target)], expected, logits)


def contrast_inputs(channels=6, size=(16, 16)):
    """What a contrastive loss reads: features, centres, a batch with two sentences of one object and a stranger."""
    batch = make_batch(size=(64, 64), index=(0, 0, 1, 2))
    batch.referent_id = torch.tensor([4, 4, 9, 2])
    batch.masks[1] = batch.masks[0]
    pixels = torch.randn(4, channels, *size, requires_grad=True)
    centre = torch.randn(4, channels, requires_grad=True)
    words = torch.randn(4, 5, 7, requires_grad=True)
    dims = Dims((1,) * 4, channels, (), None, 7, 7, vocabulary_size=12, centre=True)
    encoded = Encoded([], words, words.mean(dim=1), batch.word_mask, batch.word_index, batch.image_index)
    state = ModelState(encoded, PixelFeatures(pixels, 4), MaskOutput(pixels[:, :1], centre=centre), None)
    return batch, state, dims


@single_precision
@pytest.mark.parametrize("band", [0, 1, 2])
def test_instance_contrast(band):
    page = from_notebook("09_contrastive_losses", "InstanceContrastLoss")
    batch, state, dims = contrast_inputs()
    pixels, centre = state.features.finest, state.output.centre
    total, count = page.InstanceContrastLoss(0.2, band)(
        centre, pixels, batch.masks, batch.referent_id, batch.image_index
    )
    term = InstanceContrast(dims, 0.2, band)(state, batch)["instance_contrast"]
    assert count == term.count
    assert_same([total], [term.sum], pixels, centre)


@single_precision
def test_pixel_contrast():
    page = from_notebook("09_contrastive_losses", "PixelContrastLoss")
    batch, state, dims = contrast_inputs()
    theirs = PixelContrast(dims, 0.3, width=5)  # the limit is above all cells: no chance is left
    ours = with_weights_of(page.PixelContrastLoss(6, 5, 0.3), theirs)
    total, count = ours(state.features.finest, batch.masks)
    term = theirs(state, batch)["pixel_contrast"]
    assert count == term.count
    assert_same([total], [term.sum], state.features.finest)


@single_precision
def test_cross_modal_alignment():
    page = from_notebook("09_contrastive_losses", "CrossModalAlignmentLoss")
    batch, state, dims = contrast_inputs()
    theirs = CrossModalAlignment(dims, temperatures=(0.2, 0.3, 0.5))
    ours = with_weights_of(page.CrossModalAlignmentLoss(7, 6, (0.2, 0.3, 0.5)), theirs)
    pixels, words = state.features.finest, state.encoded.words
    losses, terms = ours(pixels, words, batch.word_mask, batch.masks), theirs(state, batch)
    assert set(losses) == set(terms)
    assert [count for _, count in losses.values()] == [terms[name].count for name in losses]
    assert_same([total for total, _ in losses.values()], [terms[name].sum for name in losses], pixels, words)


def test_multi_head_attention_and_the_text_tower():
    page = from_notebook("04_text_encoders", "Attention", "TextTower")
    theirs = MultiHeadAttention(12, heads=3)
    ours = with_weights_of(page.Attention(12, 3), theirs)
    _, words, mask = pixels_and_words(12, 12)
    assert_same([ours(words, mask)], [theirs(words, words, mask=mask)[0]], words)

    tower = TinyText(30, mask_id=2, length=6, width=12, layers=(1, 0, 2, 0))
    ours = with_weights_of(page.TextTower(30, 2, 6, 12, (1, 0, 2, 0)), tower)
    ids, index = torch.randint(3, 30, (3, 6)), torch.where(mask, torch.arange(6), -1)
    hidden = mask & (torch.arange(6) == 2)
    for tower_hidden in (None, hidden):
        outputs = []
        for text in (ours, tower):
            states = text.embed(ids, mask, tower_hidden)
            for k in range(4):
                states = text.group(k, states, mask)
            states = text.finish(states)
            outputs.append([states, text.sentence(states, mask, index)])
        for our, their in zip(*outputs, strict=True):
            torch.testing.assert_close(our, their)


@single_precision
def test_pixel_attention():
    page = from_notebook("03_image_encoders", "PixelAttention")
    theirs = PixelAttention(16, layers=2, heads=4)
    ours = with_weights_of(page.PixelAttention(16, 2, 4), theirs)
    x = torch.randn(2, 16, 5, 7, requires_grad=True)
    assert_same([ours(x)], [theirs(x)], x)


@pytest.mark.parametrize("size", [(64, 64), (52, 76)])
def test_swin(size):
    page = from_notebook("03_image_encoders", "Swin", "renamed", "NAMES", PATCH=4)
    shape = {"depths": (2, 1, 1, 2), "heads": (1, 2, 2, 4), "window": 3}
    theirs = stirred(SwinImage(embed_dim=8, **shape)).eval()
    ours = page.Swin(8, **shape).eval()
    ours.load_state_dict(page.renamed(theirs.state_dict()))
    pictures = torch.randn(2, 3, *size, requires_grad=True)
    x, y = ours.stem(pictures)[0], theirs.stem(pictures)[0]
    for k in range(4):
        x, y = ours.stage(k, x), theirs.stage(k, y)
        assert_same([x], [y], pictures)


def test_scores():
    page = from_notebook("01_task_and_scores", "scores_v1", "Tally")
    random = np.random.default_rng(3)
    predictions, targets = random.random((2, 40, 9, 11)) > 0.6
    targets[3] = predictions[3] = False  # an empty union
    predictions[5] = targets[5]
    tally, theirs = page.Tally(), Accumulator("original")
    for part in (slice(0, 13), slice(13, 40)):
        tally.update(predictions[part], targets[part])
    theirs.update(*(counted.sum(axis=(1, 2)) for counted in (predictions & targets, predictions | targets)), range(40))
    expected = theirs.result(intervals=False)
    for ours in (page.scores_v1(predictions, targets), tally.scores()):
        assert ours["miou"] == pytest.approx(expected.miou, abs=1e-12)
        assert ours["oiou"] == pytest.approx(expected.oiou, abs=1e-12)
        assert {str(level): share for level, share in ours["prec"].items()} == pytest.approx(expected.prec)


@single_precision
def test_predictor(tmp_path):
    page = from_notebook("18_your_own_image", "PredictorFromScratch", DEVICE="cpu")
    model = create_model("baseline_tiny", pretrained=True)
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (61, 130, 3), np.uint8)).save(path)
    sentences = ["the red cat", "a mug on the left"]
    ours = page.PredictorFromScratch(model)(path, sentences)
    theirs = Predictor(model)(path, sentences)
    assert ours[0].shape == (2, 61, 130)
    np.testing.assert_allclose(np.asarray(ours[0]), np.asarray(theirs.probabilities), atol=1e-5)
    assert np.array_equal(np.asarray(ours[1]), np.asarray(theirs.masks))


def test_a_definition_that_needs_the_running_page_is_refused():
    with pytest.raises(ValueError, match=r"02_data: read_by_hand uses \['annotation_of', 'image_of'\]"):
        from_notebook("02_data", "read_by_hand")
    with pytest.raises(ValueError, match="nothing_of_this_name has 0 definitions"):
        from_notebook("02_data", "nothing_of_this_name")
    made = from_notebook("02_data", "read_by_hand", annotation_of={}, image_of={})
    with pytest.raises(KeyError):
        made.read_by_hand({"ann_id": 1, "image_id": 1})


@single_precision
@pytest.mark.parametrize("system", ["baseline", "lavt", "cris", "alignformer", "coupalign", "eavl", "magnet"])
def test_assembled(system):
    names = ("AssembledFromScratch", "build_parts", "everything", "what_is_read", "renamed")
    page = from_notebook("13_systems_assembled", *names)
    theirs = create_model(f"{system}_tiny").eval()
    with torch.no_grad():
        for parameter in theirs.parameters():  # no gate stays closed
            parameter += 0.05 * torch.randn_like(parameter)
    ours = page.AssembledFromScratch(**page.build_parts(theirs.config, page.what_is_read)).eval()
    ours.load_state_dict(page.renamed(theirs.state_dict()))
    batch = make_batch(size=(64, 96))
    batch.images.requires_grad_()
    assert_same([ours(batch)], [theirs(batch).logits], batch.images)
    whole = page.AssembledFromScratch(**page.build_parts(theirs.config, page.everything))
    assert set(ours.state_dict()) <= set(whole.state_dict())


def test_paired_gain():
    page = from_notebook("15_error_analysis", "interval_v1", "draw_pictures", "mean_interval", "paired_gain")
    random = np.random.default_rng(4)
    pictures = random.integers(30, size=150)  # in no order, and of unequal sizes
    numbers = np.arange(150)
    columns = {"image_id": 1000 - pictures, "ref_id": numbers, "sentence_id": numbers, "sentence": numbers.astype(str)}
    some, others = random.random((2, 150)) ** (1 + pictures % 3)
    theirs = gain_over_sentences(*(pa.table({**columns, "iou": iou}) for iou in (some, others)), seed=5, resamples=300)
    times = page.draw_pictures(theirs.count, 300, seed=5)
    ours = page.paired_gain(some, others, columns["image_id"], times)
    assert ours == pytest.approx((theirs.gain, theirs.low, theirs.high), abs=1e-12)
    in_turn = page.interval_v1(some, columns["image_id"], 300, seed=5)
    assert in_turn == pytest.approx(page.mean_interval(some, columns["image_id"], times), abs=1e-12)


@pytest.mark.parametrize("runs", [2, 4, 7])
def test_gain_interval(runs):
    page = from_notebook("17_mix_and_match", "gain_interval")
    some, others = np.random.default_rng(runs).random((2, runs))
    theirs = gain_over_seeds(some, others)
    assert page.gain_interval(some, others) == pytest.approx((theirs.gain, theirs.low, theirs.high), abs=1e-5)


@pytest.mark.parametrize("pools", [(1, 2, 3, 6), (1, 4)])
def test_cam(pools):
    page = from_notebook("12_mask_grounding", "CAMFromScratch")
    theirs = CAM(16, 7, pools)
    ours = with_weights_of(page.CAMFromScratch(16, 7, pools), theirs)
    pixels, words, mask = pixels_and_words(16, 7)
    fused = theirs(pixels, (5, 4), words, mask)
    new_pixels, new_words, decoder_map = ours(pixels, (5, 4), words, mask)
    assert_same(
        [new_pixels, new_words[mask], decoder_map], [fused.pixels, fused.words[mask], fused.pyramid], pixels, words
    )


@single_precision
def test_masked_query():
    page = from_notebook("12_mask_grounding", "MaskedQueryFromScratch")
    sizes = {"layers": 3, "heads": 2, "feed_forward": 20, "width": 12, "foreground": 0.1}
    theirs = MaskedQuery(6, 7, 7, (5, 4), None, **sizes)
    ours = page.MaskedQueryFromScratch(6, (5, 4), **sizes)
    torch.testing.assert_close(ours.kernel[-1].bias[-1], theirs.kernel[-1].bias[-1])  # the start of the bias
    ours.load_state_dict(stirred(theirs).state_dict())
    finest = torch.randn(3, 6, 8, 10, requires_grad=True)
    memory = [torch.randn(3, channels, *size, requires_grad=True) for channels, size in ((5, (2, 3)), (4, (4, 5)))]
    output = theirs(PixelFeatures(finest, 4, memory=memory), None)
    assert_same(ours(finest, memory), [*output.aux_logits, output.logits], finest, *memory)


@single_precision
def test_mask_grounding():
    page = from_notebook("12_mask_grounding", "MaskGroundingFromScratch")
    sizes = {"width": 12, "layers": 2, "heads": 3, "feed_forward": 24}
    dims = Dims((1, 1, 1, 5), 1, (), None, 7, 7, vocabulary_size=11, mask_id=2)
    theirs = MaskGrounding(dims, dropout=0.0, **sizes)
    ours = with_weights_of(page.MaskGroundingFromScratch(7, 5, 11, **sizes), theirs)
    batch = make_batch(size=(32, 48))
    batch.masks[1] = False  # no segment is told
    words = torch.randn(*batch.token_ids.shape, 7, requires_grad=True)
    coarsest = torch.randn(len(batch), 5, 6, 9, requires_grad=True)
    second = Encoded([], words, None, None, None, batch.image_index, image_map=FeatureMap(coarsest, 8, True))
    state = ModelState(None, None, None, None, lambda batch, hidden, stand_in: second)
    hidden = batch.word_mask & (torch.arange(words.shape[1]) == 1)
    expected = theirs.predict(state, batch, hidden)
    scores = ours(words, coarsest, batch.word_mask, batch.masks).log_softmax(dim=2)
    real = batch.word_mask
    assert_same([scores[real]], [expected[real]], words, coarsest)


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("direction", ["both", "to_pixels", "to_words"])
@pytest.mark.parametrize("gated", [True, False])
def test_vlba(direction, heads, gated):
    page = from_notebook("07_both_ways", "VLBAFromScratch")
    reads = Reads() if gated else Reads(pixels=False, words=False)
    theirs = VLBA(12, 10, heads=heads, direction=direction, reads=reads)
    ours = with_weights_of(page.VLBAFromScratch(12, 10, heads, direction, gated), theirs)
    pixels, words, mask = pixels_and_words(12, 10)
    fused = theirs(pixels, (5, 4), words, mask)
    expected = [fused.pixels, fused.words, fused.pyramid, fused.decoder_words]
    assert_same(ours(pixels, words, mask), expected, pixels, words)
    if direction != "to_pixels":
        assert (fused.decoder_words[~mask] == 0).all()


@pytest.mark.parametrize("layers", [0, 1, 4])
def test_centre_embedding(layers):
    """More layers than maps read them in turn; the last state, all states and their masks are the library's."""
    page = from_notebook("08_centre_embedding", "CentreEmbeddingFromScratch", "group_v1")
    sizes = {"layers": layers, "heads": 2, "feed_forward": 20}
    theirs = CentreEmbedding(6, 8, 8, (12, 12), None, **sizes)
    ours = with_weights_of(page.CentreEmbeddingFromScratch(6, 8, (12, 12), **sizes), theirs)
    finest = torch.randn(3, 6, 8, 10, requires_grad=True)
    memory = [torch.randn(3, 12, *size, requires_grad=True) for size in ((2, 3), (4, 5))]
    _, words, mask = pixels_and_words(6, 8)
    encoded = Encoded([], words, words.mean(dim=1), mask, torch.where(mask, torch.arange(6), -1), torch.arange(3))
    output = theirs(PixelFeatures(finest, 4, memory=memory), encoded, explain=True)
    logits, centres, biases = ours(finest, memory, words, mask)
    torch.testing.assert_close(page.group_v1(centres, biases, finest), logits)
    expected = [torch.cat([*output.aux_logits, output.logits], dim=1), output.explanation["centre_states"]]
    assert_same([logits, centres], expected, finest, *memory[:layers], words)
    torch.testing.assert_close(centres[:, -1], output.centre)


def test_centre_generator():
    page = from_notebook("08_centre_embedding", "CentreGeneratorFromScratch")
    theirs = CentreGenerator(8, (12, 12, 12), layers=2, heads=4, feed_forward=10)
    ours = with_weights_of(page.CentreGeneratorFromScratch(8, (12, 12, 12), 2, 4, 10), theirs)
    state = torch.randn(3, 8, requires_grad=True)
    memory = [torch.randn(3, 12, *size, requires_grad=True) for size in ((2, 3), (4, 5), (1, 7))]
    assert_same([ours(state, memory)], [theirs(state, memory)], state, *memory[:2])
