"""The names of CRIS's released code, and a small whole CRIS."""

import json

import pytest
import torch

from ris_lib.models.official import cris, translate
from ris_lib.models.official.rules import left_behind
from tests.golden.cris_cases import _batch, build_whole

SMALL = {
    "clip": {
        "embed_dim": 24,
        "image_resolution": 64,
        "vision_layers": [1, 1, 1, 1],
        "vision_width": 8,
        "context_length": 9,
        "vocab_size": 20,
        "transformer_width": 16,
        "transformer_heads": 2,
        "transformer_layers": 2,
        "attention_pool_heads": 4,
    },
    "word_len": 6,
    "fpn_out": [8, 16, 32],
    "decoder": {"num_layers": 1, "d_model": 16, "nhead": 2, "dim_ffn": 16},
    "projector": {"in_dim": 8, "kernel_size": 3},
}
IDS = torch.tensor([[18, 5, 6, 19, 0, 0], [18, 8, 9, 7, 3, 19]])


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("size", ["r50", "r101"])
def test_every_key_of_the_released_model_has_its_place(golden_folder, size, prefix):
    listed = json.loads((golden_folder / f"keys_cris_{size}.json").read_text(encoding="utf-8"))
    config = dict(SMALL)
    config["clip"] = SMALL["clip"] | {
        "embed_dim": 1024 if size == "r50" else 512,
        "image_resolution": 224,
        "vision_layers": [3, 4, 6 if size == "r50" else 23, 3],
        "vision_width": 64,
        "context_length": 77,
        "vocab_size": 49408,
        "transformer_width": 512,
        "transformer_heads": 8,
        "transformer_layers": 12,
        "attention_pool_heads": 32,
    }
    config |= {"fpn_out": [256, 512, 1024], "projector": {"in_dim": 256, "kernel_size": 3}}
    config["decoder"] = {"num_layers": 3, "d_model": 512, "nhead": 8, "dim_ffn": 2048}
    with torch.device("meta"):
        ours = build_whole(config)
        keys = {
            prefix + name: torch.empty(entry["shape"]) for name, entry in listed["state_dicts"]["state_dict"].items()
        }
    translated = translate(keys, cris.CRIS)
    expected = {name: v.shape for name, v in ours.state_dict().items() if not name.endswith("num_batches_tracked")}
    assert {name: value.shape for name, value in translated.items()} == expected
    left = left_behind(keys, cris.CRIS)
    assert all(left.values())
    assert {name.rsplit(".", 1)[-1] for name in left} == {"num_batches_tracked", "logit_scale"}
    # ours has what the official one has, less the temperature and the position of the mean token
    assert listed["parameters"] - sum(p.numel() for p in ours.parameters()) == 1 + 2048
    assert all(prefix + mark in keys for mark in cris.MARKS)


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match=r"backbone\.visual\.layer9"):
        translate({"backbone.visual.layer9.weight": torch.zeros(1)}, cris.CRIS)


def run(model, ids, images):
    encoded = model["encoder"](_batch(images, ids))
    return model["head"](model["decoder"](encoded), encoded).logits


def test_appending_padding_does_not_change_the_mask_and_words_do():
    torch.manual_seed(0)
    model, images = build_whole(SMALL).eval(), torch.randn(2, 3, 64, 96)
    base = run(model, IDS, images)
    assert base.shape == (2, 1, 16, 24)
    torch.testing.assert_close(run(model, torch.nn.functional.pad(IDS, (0, 3)), images), base, atol=1e-5, rtol=1e-5)
    changed = IDS.clone()
    changed[0, 1] = 11
    after = run(model, changed, images)
    assert not torch.allclose(after[0], base[0], atol=1e-3)
    torch.testing.assert_close(after[1], base[1])
    assert not torch.allclose(run(model, IDS.flip(0), images), base, atol=1e-3)


def test_every_parameter_of_a_whole_cris_learns():
    torch.manual_seed(0)
    model, images = build_whole(SMALL).train(), torch.randn(2, 3, 96, 96)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    for _ in range(2):
        optimizer.zero_grad()
        torch.manual_seed(1)
        logits = run(model, IDS, images)
        (logits * torch.randn(logits.shape)).mean().backward()
        optimizer.step()
    silent = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert silent == []
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
