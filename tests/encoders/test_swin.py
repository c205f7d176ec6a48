"""Swin cut into stages: the library's numbers, the official blocks, any size, starting weights."""

import numpy as np
import pytest
import torch
from torch import nn
from transformers import SwinConfig, SwinModel

from ris_lib.encoders.swin import SwinImage
from ris_lib.models.official.rules import translate
from ris_lib.models.official.swin import PATCH_MERGING, SWIN_BLOCKS
from tests.golden.case import read_case

SMALL = {"embed_dim": 8, "depths": (1, 2, 1, 1), "heads": (1, 2, 2, 4), "window": 4}


def make(seed=0, **options):
    torch.manual_seed(seed)
    tower = SwinImage(**{**SMALL, "drop_path": 0.0, **options})
    with torch.no_grad():  # fresh biases and position tables are zero, and would hide mistakes
        for parameter in tower.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return tower.eval()


def run(tower, images):
    x, detail = tower.stem(images)
    assert detail is None
    maps = []
    for k in range(4):
        x = tower.stage(k, x)
        maps.append(x)
    return maps


@pytest.fixture
def published(tmp_path):
    """A folder as on the hub, and the model that is in it."""
    torch.manual_seed(1)
    config = SwinConfig(embed_dim=8, depths=[1, 2, 1, 1], num_heads=[1, 2, 2, 4], window_size=4)
    model = SwinModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(tmp_path / "swin")
    return str(tmp_path / "swin"), model


@pytest.mark.parametrize("size", [(128, 128), (64, 96), (50, 71), (5, 4)])
def test_equals_the_library_model_at_any_size(published, size):
    """At 128 px no map needs padding down to the last stage, which is one window; the others are padded."""
    folder, model = published
    tower = make(start=folder)
    tower.load_start()
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        expected = model(
            images,
            always_partition=True,
            output_hidden_states=True,
            output_hidden_states_before_downsampling=True,
        ).reshaped_hidden_states[1:]
        for mine, theirs in zip(run(tower, images), expected):
            torch.testing.assert_close(mine, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("file", ["lavt_stage_down.npz", "lavt_stage_last.npz"])
def test_blocks_and_merging_equal_official_code(golden_folder, file):
    """The maps are no multiple of the window, so that the order of padding and shifting shows."""
    case = read_case(golden_folder / file)
    config, weights = case.config, case.official_weights()
    tower = SwinImage(
        embed_dim=config["dim"],
        depths=(config["depth"], 1, 1, 1),
        heads=(config["num_heads"],) * 4,
        window=config["window_size"],
    ).eval()
    size = (int(case.inputs["H"]), int(case.inputs["W"]))
    blocks = translate({n: w for n, w in weights.items() if n.startswith("blocks.")}, SWIN_BLOCKS)
    tower.stages[0].load_state_dict(blocks)
    with torch.no_grad():
        found = tower.stage(0, as_map(case.inputs["x"], size))
    np.testing.assert_allclose(as_tokens(found), case.expected["blocks"], **case.meta["tolerance"]["blocks"])
    if config["downsample"]:
        merging = translate({n: w for n, w in weights.items() if n.startswith("downsample.")}, PATCH_MERGING)
        tower.merging[0].load_state_dict(merging)
        with torch.no_grad():
            found = tower.merge(0, as_map(case.expected["gated"], size))
        assert found.shape[2:] == (int(case.expected["H_next"]), int(case.expected["W_next"]))
        np.testing.assert_allclose(as_tokens(found), case.expected["x_next"], **case.meta["tolerance"]["x_next"])


def as_map(tokens, size):
    return torch.from_numpy(tokens).transpose(1, 2).unflatten(2, size)


def as_tokens(x):
    return x.flatten(2).transpose(1, 2).numpy()


def test_a_small_map_leaves_the_window_alone():
    """Called without ``always_partition`` the library's layer shrinks its window for good."""
    tower = make()
    images = torch.randn(1, 3, 96, 96)
    before = run(tower, images)
    run(tower, torch.randn(1, 3, 8, 8))
    for one, other in zip(run(tower, images), before):
        assert torch.equal(one, other)


def test_what_stands_between_two_stages_reaches_the_next():
    """Patch merging belongs to the beginning of the next stage."""
    tower = make()
    x = tower.stage(0, tower.stem(torch.randn(1, 3, 64, 64))[0])
    assert x.shape == (1, 8, 16, 16)
    assert not torch.allclose(tower.stage(1, x), tower.stage(1, x + torch.randn_like(x)))


def test_sentences_run_like_images():
    """From the first fusion block on the first axis counts sentences."""
    tower = make()
    x = tower.stage(0, tower.stem(torch.randn(2, 3, 48, 64))[0])
    index = torch.tensor([0, 0, 1])
    torch.testing.assert_close(tower.stage(1, x[index]), tower.stage(1, x)[index])


@pytest.mark.parametrize("recompute", [False, True])
def test_every_parameter_learns(recompute):
    tower = make(drop_path=0.1).train()
    tower.recompute = recompute
    loss = sum((m * torch.randn_like(m)).sum() for m in run(tower, torch.randn(4, 3, 50, 71)))
    loss.backward()
    dead = [n for n, p in tower.named_parameters() if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()]
    # A key's bias adds the same to every score of a query: its gradient is zero but for rounding.
    assert [name for name in dead if "k_proj.bias" not in name] == []


def test_recomputing_gives_the_same_gradients():
    images, gradients = torch.randn(2, 3, 40, 40), []
    for recompute in (False, True):
        tower = make().train()
        tower.recompute = recompute
        run(tower, images)[3].square().sum().backward()
        gradients.append([parameter.grad for parameter in tower.stages.parameters()])
    for one, other in zip(*gradients):
        torch.testing.assert_close(one, other)


def test_both_branches_of_a_block_are_left_out_at_random():
    """With ``drop_path`` near 1 the last block is an identity for nearly every image of a training batch."""
    tower = make(drop_path=0.999).train()
    block, tokens = tower.stages[3][0], torch.randn(8, 16, 64)
    kept = block(tokens, (4, 4), always_partition=True)[0]
    assert (kept == tokens).all(dim=(1, 2)).sum() >= 7
    assert not torch.equal(tower.eval().stages[3][0](tokens, (4, 4), always_partition=True)[0], tokens)


def test_half_precision():
    tower, images = make(), torch.randn(1, 3, 50, 71)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = run(tower, images)
    for rough, exact in zip(maps, run(tower, images)):
        assert rough.isfinite().all()
        assert (rough.float() - exact).abs().mean() < 0.05 * exact.abs().mean() + 0.02


def test_state_dict_round_trip():
    tower, other = make(), make(seed=5)
    other.load_state_dict(tower.state_dict())
    images = torch.randn(1, 3, 40, 40)
    for one, two in zip(run(tower, images), run(other, images)):
        assert torch.equal(one, two)


def test_names_of_the_weights_stay():
    """Saved models depend on them, and they come from a library that renamed them once."""
    names = {name.split(".", 2)[2] for name in make().state_dict() if name.startswith("stages.1.1")}
    assert {name.partition(".")[2] for name in make().state_dict() if name.startswith("merging.2")} == {
        "2.norm.weight",
        "2.norm.bias",
        "2.reduction.weight",
    }
    assert {name.removesuffix(".weight").removesuffix(".bias") for name in names} == {
        "1.attention.q_proj",
        "1.attention.k_proj",
        "1.attention.v_proj",
        "1.attention.o_proj",
        "1.attention.relative_position_bias.relative_position_bias_table",
        "1.layernorm_before",
        "1.layernorm_after",
        "1.mlp.fc1",
        "1.mlp.fc2",
    }


def test_fused_attention_equals_attention_in_the_open():
    tower, images = make(), torch.randn(1, 3, 50, 71)
    fused = run(tower, images)
    tower.stages[0][0].attention.config._attn_implementation = "eager"
    for one, other in zip(run(tower, images), fused):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 3, 3, 50), (1, 3, 50, 3), (1, 1, 50, 50), (3, 50, 50)])
def test_images_that_are_none_are_refused(shape):
    with pytest.raises(ValueError, match=r"SwinImage.*at least one patch, 4 pixels"):
        make().stem(torch.zeros(shape))


def test_a_map_of_other_channels_is_refused():
    with pytest.raises(ValueError, match=r"SwinImage: stage 2.*expected 16 channels"):
        make().stage(2, torch.zeros(1, 8, 4, 4))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depths": (1, 1, 1)}, "expected four of each"),
        ({"depths": (1, 0, 1, 1)}, "expected four of each"),
        ({"heads": (1, 2, 4)}, "expected four of each"),
        ({"heads": (3, 3, 3, 3)}, "must divide"),
        ({"drop_path": 1.0}, "drop_path"),
        ({"drop_path": -0.1}, "drop_path"),
    ],
)
def test_bad_sizes_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SwinImage(**{**SMALL, **options})


def test_another_window_does_not_fit(published):
    """A table of relative positions belongs to one window: 7 x 7 entries there, 9 x 9 here."""
    tower = make(start=published[0], window=5)
    before = {name: value.clone() for name, value in tower.state_dict().items()}
    with pytest.raises(ValueError, match=r"SwinImage.*relative_position_bias_table \(49, 1\) there, \(81, 1\) here"):
        tower.load_start()
    assert all(torch.equal(value, before[name]) for name, value in tower.state_dict().items())


def test_other_depths_and_heads_do_not_fit(published):
    with pytest.raises(ValueError, match=r"stages\.2\.1\.\S+ only here"):
        make(start=published[0], depths=(1, 2, 2, 1)).load_start()
    with pytest.raises(ValueError, match=r"on one side only.*stages\.1\.1\.\S+ only there"):
        make(start=published[0], depths=(1, 1, 1, 1)).load_start()
    with pytest.raises(ValueError, match=r"\(49, 1\) there, \(49, 2\) here"):
        make(start=published[0], heads=(2, 2, 2, 4)).load_start()


def test_nothing_is_read_before_it_is_asked_for():
    tower = SwinImage(**SMALL, start="microsoft/no-such-model")
    assert tower.start == "microsoft/no-such-model"
    with pytest.raises(ValueError, match="no starting weights were named"):
        SwinImage(**SMALL).load_start()


def test_parts_hold_nothing_that_nobody_reads():
    tower = make()
    assert not any("pooler" in name or name.startswith("layernorm") for name, _ in tower.named_modules())
    assert sum(isinstance(module, nn.LayerNorm) for module in tower.modules()) == 1 + 2 * 5 + 3
