"""Blocks that are computed again in the backward pass: the same numbers from less memory."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ris_lib.encoders.recompute import run_block, run_blocks
from ris_lib.encoders.timm_pyramid import TimmImage
from ris_lib.models import create_model
from tests.tiny_batches import make_batch


def kept_bytes(compute) -> tuple[torch.Tensor, int]:
    """What a computation returns, and how much it keeps for the backward pass."""
    seen = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = compute()
    return result, sum(seen.values())


def gradients(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


SMALL_BERT = {"name": "bert", "layers": [1, 0, 1, 0], "width": 32, "heads": 2, "intermediate": 64, "dropout": 0.2}
SMALL_SWIN = {"name": "swin", "embed_dim": 16, "depths": [1, 1, 2, 1], "heads": [1, 2, 2, 4], "window": 4}
SMALL_CLIP = {"layers": [1, 1, 1, 1], "width": 8, "heads": 4, "output_dim": 24, "resolution": 64}
TOWERS = {
    "tiny": {},
    "swin and bert": {"image_tower": {**SMALL_SWIN, "drop_path": 0.3}, "text_tower": SMALL_BERT},
    "clip": {
        "image_tower": {"name": "clip", **SMALL_CLIP},
        "text_tower": {"name": "clip", "layers": [1, 1, 0, 0], "width": 16, "heads": 2, "embed_dim": 24},
    },
    "timm": {"image_tower": {"name": "timm", "model": "resnet10t"}},
}


@pytest.mark.parametrize("towers", TOWERS)
def test_the_same_loss_gradients_and_statistics_from_less(towers):
    """Dropout, stochastic depth and batch norms are among the blocks."""
    batch, found = make_batch(index=(0, 0, 1)), {}
    for recompute in (False, True):
        torch.manual_seed(0)
        more = {} if towers == "tiny" else {"merge": None}
        model = create_model("lavt_tiny", **TOWERS[towers], **more).train()
        model.encoder.set_recompute(recompute)
        torch.manual_seed(1)
        loss, kept = kept_bytes(lambda model=model: model(batch, with_losses=True).loss)
        loss.backward()
        found[recompute] = loss.detach(), gradients(model), dict(model.named_buffers()), kept
    (loss, slopes, buffers, kept), (again, slopes_again, buffers_again, less) = found[False], found[True]
    torch.testing.assert_close(again, loss, rtol=0, atol=0)
    assert slopes_again.keys() == slopes.keys()
    for name, slope in slopes.items():
        torch.testing.assert_close(slopes_again[name], slope, msg=name)
    for name, value in buffers.items():
        assert torch.equal(buffers_again[name], value), name
    assert less < 0.8 * kept


@pytest.mark.parametrize("model", ["resnet10t", "mobilenetv3_small_050"])
def test_activations_that_change_their_input_in_place(model):
    """Nothing watches what is kept here: such hooks would hide that an input has changed since."""
    torch.manual_seed(0)
    tower, images, found = TimmImage(model).train(), torch.randn(2, 3, 64, 64), {}
    for recompute in (False, True):
        tower.recompute = recompute
        tower.zero_grad()
        sum(level.square().mean() for level in tower.maps(images)).backward()
        found[recompute] = gradients(tower)
    assert found[True].keys() == found[False].keys()
    for name, slope in found[False].items():
        torch.testing.assert_close(found[True][name], slope, msg=name)


def test_running_statistics_move_once():
    """PyTorch's checkpoint alone would move them twice."""
    block = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4).eval())
    images = torch.randn(2, 3, 5, 5) + 1
    run_block(block, images, recompute=True).square().sum().backward()
    assert [norm.num_batches_tracked.item() for norm in block[1:]] == [1, 0]
    torch.testing.assert_close(block[1].running_mean, 0.1 * block[0](images).mean(dim=(0, 2, 3)))
    assert [norm.momentum for norm in block[1:]] == [0.1, 0.1]
    assert list(block.state_dict()) == list(nn.Sequential(*block).state_dict())
    twice = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    checkpoint(twice, images, use_reentrant=False).square().sum().backward()
    assert twice[1].num_batches_tracked == 2, "then our care is no longer needed"


def test_nothing_is_recomputed_where_nothing_is_kept():
    calls = []

    class Block(nn.Linear):
        def forward(self, x):
            calls.append(1)
            return super().forward(x)

    block, x = Block(2, 2), torch.ones(1, 2)
    with torch.no_grad():
        run_block(block, x, recompute=True)
    run_block(block.eval(), x, recompute=True).sum().backward()
    run_block(block.train(), x, recompute=False).sum().backward()
    assert len(calls) == 3
    run_block(block, x, recompute=True).sum().backward()
    assert len(calls) == 5


def test_each_block_of_a_row_is_kept_apart():
    """The inside of one block at a time: a row as one block would keep as much in its turn."""
    blocks = nn.Sequential(*(nn.Sequential(nn.Linear(8, 64), nn.GELU(), nn.Linear(64, 8)) for _ in range(3)))
    x = torch.randn(50, 8)
    _, plain = kept_bytes(lambda: run_blocks(blocks, x, recompute=False))
    _, apart = kept_bytes(lambda: run_blocks(blocks, x, recompute=True))
    assert apart <= 3 * x.nbytes < plain


def test_a_network_that_gives_all_maps_at_once():
    torch.manual_seed(0)
    tower = TimmImage("hrnet_w18_small").train()
    assert not tower.separable
    found = []
    images = torch.randn(1, 3, 64, 64)
    for recompute in (False, True):
        tower.recompute = recompute
        tower.zero_grad()
        before = [buffer.clone() for buffer in tower.buffers()]
        tower.maps(images)[3].square().sum().backward()
        found.append((gradients(tower), [b - a for a, b in zip(before, tower.buffers())]))
    for name, slope in found[0][0].items():
        torch.testing.assert_close(found[1][0][name], slope, msg=name)
    assert [float(change) for change in found[1][1] if change.dtype == torch.long and change] != []
    assert all(change <= 1 for change in found[1][1] if change.dtype == torch.long)
