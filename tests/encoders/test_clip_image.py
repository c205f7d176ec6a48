"""CLIP's image tower and the pool that keeps the grid."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ris_lib.encoders.clip_image import ClipImage, GridAttentionPool
from tests.encoders.test_clip_start import published

SMALL = {"layers": (1, 2, 1, 1), "width": 8, "heads": 4, "output_dim": 24, "resolution": 64}


def make(**options):
    torch.manual_seed(0)
    return ClipImage(**{**SMALL, **options})


def maps(tower, images):
    x, _ = tower.stem(images)
    found = []
    for k in range(4):
        x = tower.stage(k, x)
        found.append(x)
    return found


@pytest.mark.parametrize(("size", "sides"), [((64, 96), (16, 24)), ((50, 71), (12, 18)), ((128, 32), (32, 8))])
def test_four_maps_for_any_size(size, sides):
    tower = make().eval()
    found = maps(tower, torch.randn(2, 3, *size))
    assert [m.shape[1] for m in found] == list(tower.channels) == [32, 64, 128, 24]
    assert [tuple(m.shape[2:]) for m in found] == [(sides[0] >> k, sides[1] >> k) for k in range(4)]
    assert tower.stem(torch.randn(1, 3, *size))[1] is tower.detail_channels is tower.detail_stride is None


def test_the_models_have_clips_sizes():
    with torch.device("meta"):
        fifty, hundred = ClipImage("RN50"), ClipImage("RN101")
    assert fifty.channels == (256, 512, 1024, 1024)
    assert hundred.channels == (256, 512, 1024, 512)
    assert fifty.net.attnpool.heads == 32
    assert [len(fifty.net.get_submodule(f"layer{k}")) for k in (1, 2, 3, 4)] == [3, 4, 6, 3]
    assert [len(hundred.net.get_submodule(f"layer{k}")) for k in (1, 2, 3, 4)] == [3, 4, 23, 3]


def test_the_stages_are_those_of_open_clip():
    tower, images = make().eval(), torch.randn(1, 3, 64, 96)
    theirs = tower.net.forward_intermediates(images, indices=[1, 2, 3, 4], intermediates_only=True)
    for ours, their in zip(maps(tower, images)[:3], theirs["image_intermediates"]):
        torch.testing.assert_close(ours, their)


def test_the_pool_by_torchs_own_attention():
    torch.manual_seed(0)
    pool, x = GridAttentionPool(3, 8, 2, 6).eval(), torch.randn(2, 8, 3, 3)
    reference = nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        reference.in_proj_weight.copy_(torch.cat([pool.q_proj.weight, pool.k_proj.weight, pool.v_proj.weight]))
        reference.in_proj_bias.copy_(torch.cat([pool.q_proj.bias, pool.k_proj.bias, pool.v_proj.bias]))
        reference.out_proj.weight.copy_(torch.eye(8))
        reference.out_proj.bias.zero_()
        pool.connect[1].running_mean.fill_(0.5)
    places = x.flatten(2).transpose(1, 2) + pool.positional_embedding
    mixed = pool.c_proj(reference(places, places, places)[0]).transpose(1, 2).unflatten(2, (3, 3))
    torch.testing.assert_close(pool(x), (mixed + pool.connect(x)).relu())


def test_positions_are_resized_to_the_grid():
    torch.manual_seed(0)
    pool = GridAttentionPool(4, 8, 2, 6)
    assert pool.positions((4, 4)) is pool.positional_embedding
    assert pool.positions((5, 3)).shape == (15, 8)
    with torch.no_grad():  # a table that says the row alone: rows stay rows
        pool.positional_embedding.copy_(torch.arange(4.0).repeat_interleave(4)[:, None].expand(-1, 8))
    rows = pool.positions((6, 4)).view(6, 4, 8)
    torch.testing.assert_close(rows, rows[:, :1, :1].expand_as(rows))
    assert (rows[1:, 0, 0] > rows[:-1, 0, 0]).all()


@pytest.mark.parametrize("name", ["cris_attention_pool", "cris_attention_pool_rect"])
def test_positions_equal_cris(golden_folder, name):
    case = np.load(golden_folder / f"{name}.npz")
    table, expected = torch.from_numpy(case["w/positional_embedding"])[1:], torch.from_numpy(case["out/pos_resized"])
    pool = GridAttentionPool(round(len(table) ** 0.5), table.shape[1], 1, 2)
    pool.load_state_dict({**pool.state_dict(), "positional_embedding": table})
    torch.testing.assert_close(pool.positions(case["in/x"].shape[-2:]).T[None], expected, atol=1e-6, rtol=1e-5)


def test_every_parameter_learns_from_the_second_step_on():
    tower, images = make(), torch.randn(2, 3, 96, 96)
    optimizer, signs = torch.optim.SGD(tower.parameters(), lr=0.1), torch.randn(2, 24, 3, 3)
    for _ in range(2):  # each bottleneck starts closed: the factor of its last norm is zero
        optimizer.zero_grad()
        (maps(tower, images)[3] * signs).sum().backward()
        optimizer.step()
    assert all(torch.isfinite(p.grad).all() and p.grad.abs().sum() > 0 for p in tower.parameters())


def test_low_precision_stays_close():
    tower, images = make().eval(), torch.randn(1, 3, 64, 64)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        low = maps(tower, images)[3]
    torch.testing.assert_close(low.float(), maps(tower, images)[3].detach(), atol=0.1, rtol=0.1)


def test_the_start_is_loaded_from_a_file(tmp_path):
    clip = published()
    save_file(clip.state_dict(), tmp_path / "clip.safetensors")
    tower = make(layers=(1, 1, 1, 1), start=str(tmp_path))
    fresh = tower.net.attnpool.connect[0].weight.clone()
    assert not torch.equal(tower.net.conv1.weight, clip.visual.conv1.weight)
    tower.load_start()
    torch.testing.assert_close(tower.net.layer4[0].conv3.weight, clip.visual.layer4[0].conv3.weight)
    torch.testing.assert_close(tower.net.bn1.running_var, clip.visual.bn1.running_var)
    torch.testing.assert_close(tower.net.attnpool.positional_embedding, clip.visual.attnpool.positional_embedding[1:])
    torch.testing.assert_close(tower.net.attnpool.c_proj.weight, clip.visual.attnpool.c_proj.weight)
    assert torch.equal(tower.net.attnpool.connect[0].weight, fresh)


def test_a_start_of_other_sizes_is_refused(tmp_path):
    save_file(published().state_dict(), tmp_path / "clip.safetensors")
    with pytest.raises(ValueError, match=r"ClipImage: the start weights belong to another model.*layer2\.1"):
        make(start=str(tmp_path)).load_start()
    with pytest.raises(ValueError, match=r"other shapes: \S+ \(.*\) for \("):
        make(layers=(1, 1, 1, 1), width=16, start=str(tmp_path)).load_start()


def test_without_a_start_nothing_is_loaded():
    tower = make()
    before = tower.net.conv1.weight.clone()
    tower.load_start()
    assert torch.equal(tower.net.conv1.weight, before)


@pytest.mark.parametrize("shape", [(1, 3, 31, 64), (1, 1, 64, 64)])
def test_bad_images_are_refused(shape):
    with pytest.raises(ValueError, match=r"ClipImage.*at least 32"):
        make().stem(torch.zeros(shape))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "RN5"}, "RN50"),
        ({"layers": (1, 1, 1)}, "layers"),
        ({"layers": (1, 0, 1, 1)}, "layers"),
        ({"width": 7}, "width=7"),
        ({"resolution": 100}, "resolution=100"),
        ({"heads": 3}, "heads=3"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)
