"""Resizing there and back, in pixel-centre coordinates."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from pycocotools import mask as coco_mask

from ris_lib.data.collate import Preprocess
from ris_lib.data.pictures import read_picture
from ris_lib.data.refer import read_refer
from ris_lib.data.transforms import RESIZES, letterbox, letterbox_cris, normalise, resize_mask, restore, stretch

GREY = (0.25, 0.5, 0.75)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def ramps(height, width):
    """A picture whose red says the row and whose green says the column."""
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[:, :, 0] = np.arange(height)[:, None]
    image[:, :, 1] = np.arange(width)[None, :]
    return image


def blob(height, width):
    rows, columns = np.mgrid[:height, :width]
    return ((rows - height / 3) / (height / 5)) ** 2 + ((columns - width / 2) / (width / 4)) ** 2 < 1


@pytest.mark.parametrize("resize", RESIZES.values(), ids=RESIZES)
def test_shapes_types_and_the_identity(resize):
    image = noise(12, 18)
    picture, to_network = resize(image, (12, 18), GREY)
    assert picture.shape == (3, 12, 18)
    assert picture.dtype == torch.float32
    assert to_network.dtype == torch.float64
    torch.testing.assert_close(picture, torch.from_numpy(image).permute(2, 0, 1) / 255)
    torch.testing.assert_close(to_network, torch.tensor([[1.0, 0.0], [1.0, 0.0]], dtype=torch.float64))
    maps = torch.rand(2, 12, 18)
    torch.testing.assert_close(restore(maps, to_network, (12, 18)), maps)
    torch.testing.assert_close(restore(maps, to_network, (12, 18), mode="nearest"), maps)


@pytest.mark.parametrize("resize", RESIZES.values(), ids=RESIZES)
@pytest.mark.parametrize("original", [(40, 60), (60, 40), (50, 50), (31, 97)])
@pytest.mark.parametrize("size", [(96, 96), (64, 128), (120, 80)])
def test_to_network_says_where_the_pixels_went(resize, original, size):
    picture, to_network = resize(ramps(*original), size, (0.0, 0.0, 0.0))
    rows, columns = torch.meshgrid(
        *(
            torch.round(to_network[k, 0] * torch.arange(5, n - 5) + to_network[k, 1]).long()
            for k, n in enumerate(original)
        ),
        indexing="ij",
    )
    found = picture[:2, rows, columns] * 255
    step = float((1 / to_network[:, 0]).max()) / 2 + 0.6  # half a network pixel, and 8 bits
    assert (found[0] - torch.arange(5, original[0] - 5)[:, None]).abs().max() < step
    assert (found[1] - torch.arange(5, original[1] - 5)[None, :]).abs().max() < step


@pytest.mark.parametrize("resize", RESIZES.values(), ids=RESIZES)
@pytest.mark.parametrize(("original", "size"), [((40, 60), (96, 96)), ((90, 50), (64, 64)), ((33, 47), (128, 100))])
def test_a_mask_comes_back(resize, original, size):
    mask = blob(*original)
    _, to_network = resize(noise(*original), size, GREY)
    small = resize_mask(mask, to_network, size)
    assert small.dtype == torch.bool
    back = restore(small[None].float(), to_network, original)[0].numpy() > 0.5
    assert (back & mask).sum() / (back | mask).sum() > 0.93


@pytest.mark.parametrize("size", [(96, 96), (200, 64)])
def test_restoring_a_stretch_is_torch_s_upsampling(size):
    torch.manual_seed(0)
    maps = torch.rand(3, *size)
    original = (size[0] + 57, size[1] * 2 + 1)
    _, to_network = stretch(noise(*original), size)
    for mode, tolerance in (("bilinear", 5e-5), ("bicubic", 2e-4)):
        want = F.interpolate(maps[None], original, mode=mode, align_corners=False)[0]
        torch.testing.assert_close(restore(maps, to_network, original, mode), want, rtol=0, atol=tolerance)
    want = F.interpolate(maps[None], original, mode="nearest-exact")[0]
    same = restore(maps, to_network, original, "nearest") == want
    assert same.float().mean() > 0.99  # all but a row or column that lies exactly between two pixels


def test_restoring_a_letterbox_ignores_the_frame():
    _, to_network = letterbox(noise(40, 80), (64, 64), GREY)
    maps = torch.zeros(1, 64, 64)
    maps[:, 16:48] = 1
    back = restore(maps, to_network, (40, 80))
    assert back.shape == (1, 40, 80)
    assert back[:, 1:-1].min() > 1 - 1e-5


def test_restore_lets_gradients_through():
    maps = torch.rand(1, 6, 6, dtype=torch.float64, requires_grad=True)
    _, to_network = stretch(noise(5, 9), (6, 6))
    assert torch.autograd.gradcheck(lambda x: restore(x, to_network, (5, 9)), (maps,))


def test_stretch_is_pil_s_bilinear_resize():
    image = noise(37, 53)
    picture, to_network = stretch(image, (20, 96))
    want = np.asarray(Image.fromarray(image).resize((96, 20), Image.Resampling.BILINEAR))
    assert (picture.permute(1, 2, 0) * 255 - torch.from_numpy(want.astype(np.float32))).abs().max() < 1e-3
    torch.testing.assert_close(
        to_network, torch.tensor([[20 / 37, 10 / 37 - 0.5], [96 / 53, 48 / 53 - 0.5]], dtype=torch.float64)
    )


def test_letterbox_keeps_the_aspect_ratio_and_fills():
    picture, to_network = letterbox(np.full((20, 40, 3), 255, dtype=np.uint8), (60, 60), GREY)
    for channel, value in enumerate(GREY):
        assert (picture[channel, :15] == value).all()
        assert (picture[channel, 45:] == value).all()
    assert (picture[:, 15:45] == 1).all()
    torch.testing.assert_close(to_network, torch.tensor([[1.5, 15.25], [1.5, 0.25]], dtype=torch.float64))
    thin, _ = letterbox(noise(1, 500), (32, 32), GREY)
    assert thin.shape == (3, 32, 32)


def test_resize_mask_by_hand():
    mask = np.array([[True, False, False], [False, False, True]])
    _, to_network = stretch(noise(2, 3), (4, 3))
    assert resize_mask(mask, to_network, (4, 3)).int().tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 1], [0, 0, 1]]
    _, to_network = letterbox(noise(2, 4), (4, 4), GREY)
    full = resize_mask(np.ones((2, 4), dtype=bool), to_network, (4, 4))
    assert full.int().tolist() == [[0] * 4, [1] * 4, [1] * 4, [0] * 4]


def test_a_tiny_mask_may_vanish():
    mask = np.zeros((100, 100), dtype=bool)
    mask[0, 0] = True
    _, to_network = stretch(noise(100, 100), (10, 10))
    assert not resize_mask(mask, to_network, (10, 10)).any()


def test_normalise_by_hand():
    image = torch.stack([torch.full((2, 2), value) for value in (0.5, 0.6, 0.9)])
    out = normalise(image, (0.5, 0.5, 0.5), (0.5, 0.1, 0.2))
    torch.testing.assert_close(out[:, 0, 0], torch.tensor([0.0, 1.0, 2.0]))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: stretch(noise(4, 4).astype(float), (4, 4)), "expected .H, W, 3. uint8"),
        (lambda: stretch(noise(4, 4)[:, :, 0], (4, 4)), r"picture is \(4, 4\)"),
        (lambda: stretch(noise(4, 4), (0, 4)), "both positive"),
        (lambda: letterbox(noise(4, 4), (4, 4), (0.5,)), "three numbers"),
        (lambda: resize_mask(np.ones((4, 4)), torch.eye(2), (4, 4)), "bool"),
        (lambda: restore(torch.ones(4, 4), torch.eye(2), (4, 4)), "n, height, width"),
        (lambda: restore(torch.ones(1, 4, 4, dtype=torch.bool), torch.eye(2), (4, 4)), "float"),
        (lambda: restore(torch.ones(1, 4, 4), torch.eye(2), (4, 4), "cubic"), "unknown mode 'cubic'"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# Reference: numbers of the official code.


def test_stretch_and_masks_equal_lavt(golden_folder, real_data):
    golden = np.load(golden_folder / "lavt_dataset_mini_refcocoplus_train.npz")
    rows = [row for row in read_refer(real_data / "mini_refcoco", "refcoco+", "unc") if row["split"] == "train"]
    preprocess = Preprocess(size=(480, 480))
    for number, ref_id in golden["in/index_and_ref_id"]:
        row = rows[number]
        assert row["ref_id"] == ref_id
        photo = real_data / "mini_refcoco" / "images" / "train2014" / row["file_name"]
        picture, to_network = preprocess(read_picture(photo, upright=False))
        assert np.abs(picture[:, 7::32, 5::32].numpy() - golden[f"out/img_sub_{number}"]).max() < 0.05
        mask = coco_mask.decode({"size": [row["height"], row["width"]], "counts": row["rle"]}).astype(bool)
        small = resize_mask(mask, to_network, (480, 480)).numpy()
        assert (np.packbits(small) == golden[f"out/target_packed_{number}"]).all()


def test_letterbox_equals_cris(golden_folder):
    golden = np.load(golden_folder / "cris_preprocess.npz")
    config = json.loads(str(golden["meta"]))["config"]
    preprocess = Preprocess((64, 64), "letterbox_cris", config["mean"], config["std"])
    for k in range(3):
        picture, to_network = preprocess(golden[f"in/img{k}"])
        assert np.abs(picture.numpy() - golden[f"out/img{k}"]).max() < 0.05
        forward = golden[f"out/forward{k}"]  # rows for x, y; columns x, y, offset
        want = [[forward[1, 1], forward[1, 2]], [forward[0, 0], forward[0, 2]]]
        np.testing.assert_allclose(to_network.numpy(), want, atol=1e-6)
        mask = resize_mask(golden[f"in/mask{k}"] > 0, to_network, (64, 64)).numpy()
        assert (mask != (golden[f"out/mask{k}"] > 0.5)).mean() < 0.005


def test_letterbox_cris_shrinks_like_letterbox():
    image = np.tile(np.linspace(0, 255, 90).astype(np.uint8)[None, :, None], (60, 1, 3))
    ours, _ = letterbox(image, (48, 48), GREY)
    theirs, _ = letterbox_cris(image, (48, 48), GREY)
    assert (ours - theirs)[:, 9:39, 1:-1].abs().max() < 0.02
