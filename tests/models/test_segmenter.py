"""One test over all models; batches of any size; what a model refuses."""

from dataclasses import replace

import pytest
import torch

from ris_lib.contract import LossTerm
from ris_lib.models import create_model, list_models
from ris_lib.models.losses import normalise
from tests.tiny_batches import make_batch


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return create_model("baseline_tiny").eval()


@pytest.mark.parametrize("name", list_models("*_tiny"))
def test_forward_loss_backward_and_gradients_for_every_parameter(name):
    torch.manual_seed(0)
    model, batch = create_model(name), make_batch()
    output = model(batch, with_losses=True)
    assert output.logits.shape[:2] == (3, 1)
    assert set(output.losses) == set(model.weights)
    torch.testing.assert_close(output.loss, sum(model.weights[k] * v for k, v in output.losses.items()))
    output.loss.backward()
    bad = [k for k, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert bad == []
    assert sum(p.numel() for part in (model.encoder, model.decoder, model.head) for p in part.parameters()) < 1.9e6


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models("*_tiny"))
def test_a_few_steps_lower_the_loss(name):
    torch.manual_seed(0)
    model, batch = create_model(name), make_batch()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    losses = []
    for _ in range(12):
        loss = model(batch, with_losses=True).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("name", list_models("*_tiny"))
def test_explaining_and_losses_leave_the_masks_alone(name):
    torch.manual_seed(0)
    model, batch = create_model(name).eval(), make_batch()
    plain = model(batch)
    assert (plain.losses, plain.loss, plain.explanation) == ({}, None, {})
    torch.testing.assert_close(model(batch, explain=True).logits, plain.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(model(batch, with_losses=True).logits, plain.logits)


@pytest.mark.parametrize("size", [(64, 64), (96, 128), (50, 71), (33, 47)])
def test_any_image_size(model, size):
    batch = make_batch(size)
    output = model(batch, with_losses=True)
    assert output.logits.shape == (3, 1, -(-size[0] // 2), -(-size[1] // 2))
    assert torch.isfinite(output.loss)
    assert model.upsample(output.logits, size).shape == (3, *size)


def test_sentences_and_images_do_not_leak_into_one_another(model):
    batch = make_batch(index=(0, 0, 1, 1))
    together = model(batch).logits
    for row, image in ((0, 0), (3, 1)):
        alone = replace(
            batch,
            images=batch.images[image : image + 1],
            image_index=torch.tensor([0]),
            masks=None,
            **{name: getattr(batch, name)[row : row + 1] for name in ("token_ids", "word_mask", "word_index")},
        )
        torch.testing.assert_close(model(alone).logits[0], together[row], atol=1e-4, rtol=1e-4)


def test_padding_never_matters_and_words_always_do(model):
    batch = make_batch()
    base = model(batch).logits
    other = batch.token_ids.masked_fill(~batch.word_mask, 9)
    torch.testing.assert_close(model(replace(batch, token_ids=other)).logits, base)
    changed = batch.token_ids.clone()
    changed[0, 0] = 3 + (changed[0, 0] - 2) % 9
    assert not torch.allclose(model(replace(batch, token_ids=changed)).logits[0], base[0])


def test_the_mode_does_not_change_the_masks(model):
    batch = make_batch()
    expected = model(batch).logits
    torch.testing.assert_close(model.train()(batch).logits, expected)
    model.eval()


def test_bfloat16_autocast(model):
    batch = make_batch()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(batch, with_losses=True)
    assert output.loss.dtype == torch.float32
    torch.testing.assert_close(output.loss, model(batch, with_losses=True).loss, atol=0.05, rtol=0.05)


def test_without_merge_the_mask_is_at_stride_four():
    model = create_model("baseline_tiny", merge=None)
    output = model(make_batch(), with_losses=True)
    assert output.logits.shape == (3, 1, 16, 16)
    output.loss.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_loss_weights_come_from_the_recipe():
    torch.manual_seed(0)
    model = create_model("baseline_tiny", objectives={"segmentation": {"weights": {"dice": 3.0}}})
    output = model(make_batch(), with_losses=True)
    torch.testing.assert_close(output.loss, model.weights["bce"] * output.losses["bce"] + 3 * output.losses["dice"])


@pytest.mark.parametrize("of", ["logits", "probabilities"])
@pytest.mark.parametrize(("mode", "align"), [("bilinear", True), ("bilinear", False), ("bicubic", False)])
def test_upsample_as_the_configuration_says(model, of, mode, align):
    rule = {"of": of, "mode": mode, "align_corners": align}
    changed = create_model("baseline_tiny", upsample=rule)
    logits = torch.linspace(-8, 8, 16).view(1, 1, 4, 4)
    source = logits if of == "logits" else logits.sigmoid()
    raised = torch.nn.functional.interpolate(source, (9, 8), mode=mode, align_corners=align)[:, 0]
    expected = raised.sigmoid() if of == "logits" else raised.clamp(0, 1)
    probabilities = changed.upsample(logits, (9, 8))
    torch.testing.assert_close(probabilities, expected)
    assert (probabilities >= 0).all()
    assert (probabilities <= 1).all()


def test_a_count_of_zero_is_a_loss_of_zero():
    total = torch.tensor(0.0, requires_grad=True)
    value = normalise({"pairs": LossTerm(total * 1, torch.tensor(0.0))})["pairs"]
    value.backward()
    assert value == 0
    assert total.grad == 0


def spoil(batch, **changes):
    return replace(batch, **changes)


BATCH = make_batch()
BAD = {
    "one channel": (lambda b: spoil(b, images=b.images[:, :1]), r"images have shape \(2, 1, 64, 64\).*expected.*3"),
    "bytes": (lambda b: spoil(b, images=b.images.byte()), "type torch.uint8"),
    "no batch": (lambda b: spoil(b, images=b.images[0]), "images have shape"),
    "too small": (lambda b: spoil(b, images=b.images[..., :6]), "64 x 6 pixels are smaller than the coarsest stride"),
    "int ids": (lambda b: spoil(b, token_ids=b.token_ids.int()), "type torch.int32"),
    "float mask": (lambda b: spoil(b, word_mask=b.word_mask.float()), "word_mask must be bool"),
    "short mask": (lambda b: spoil(b, word_mask=b.word_mask[:, :2]), r"word_mask has shape \(3, 2\)"),
    "no words": (lambda b: spoil(b, word_mask=b.word_mask & (b.image_index < 1)[:, None]), "all False"),
    "short word index": (lambda b: spoil(b, word_index=b.word_index[:2]), "word_index has shape"),
    "special only": (lambda b: spoil(b, word_index=b.word_index * 0 - 1), "special tokens only"),
    "large id": (lambda b: spoil(b, token_ids=b.token_ids + 5000), "token_ids reach from 5000"),
    "negative id": (lambda b: spoil(b, token_ids=b.token_ids - 1), "token_ids reach from -1"),
    "words in the padding alone": (
        lambda b: spoil(b, word_index=torch.where(b.word_mask, -1, 0)),
        "special tokens only",
    ),
    "index of another type": (lambda b: spoil(b, image_index=b.image_index.float()), "float32; expected one entry"),
    "masks of another type": (
        lambda b: spoil(b, masks=b.masks.float()),
        "masks have type torch.float32; expected bool",
    ),
    "nothing": (lambda b: spoil(b, images=b.images[:0]), "are empty; expected at least one sentence"),
    "index length": (lambda b: spoil(b, image_index=b.image_index[:2]), "image_index has shape"),
    "index order": (lambda b: spoil(b, image_index=torch.tensor([0, 1, 0])), r"image_index \[0, 1, 0\] must ascend"),
    "index range": (lambda b: spoil(b, image_index=torch.tensor([0, 1, 2])), "must ascend from 0 to 1"),
    "negative index": (lambda b: spoil(b, image_index=torch.tensor([-1, 0, 1])), "must ascend from 0 to 1"),
    "image alone": (lambda b: spoil(b, image_index=torch.tensor([0, 0, 0])), "no image without a sentence"),
    "gap": (
        lambda b: spoil(b, images=b.images[[0, 1, 1]], image_index=torch.tensor([0, 0, 2])),
        "no image without a sentence",
    ),
    "mask size": (lambda b: spoil(b, masks=b.masks[..., :8]), r"masks have shape \(3, 64, 8\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_a_model_refuses(model, case):
    change, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        model(change(BATCH))


def test_losses_need_masks(model):
    with pytest.raises(ValueError, match="no masks"):
        model(replace(BATCH, masks=None), with_losses=True)
