"""timm's feature pyramids: cut into stages where that can be, refused where there is no pyramid, starting weights."""

import pytest
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from ris_lib.encoders import StagedEncoder, TinyText
from ris_lib.encoders.timm_pyramid import LEVELS, TimmImage
from ris_lib.fusion.late import LateFusion
from tests.tiny_batches import make_batch

CUT = ["resnet10t", "convnext_atto", "efficientnet_b0", "mobilenetv3_small_050", "swin_tiny_patch4_window7_224"]
WHOLE = ["hrnet_w18_small", "dpn48b", "efficientformer_l1"]
FIXED = {"efficientformer_l1": (224, 224), "hrnet_w18_small": (64, 96)}  # sizes of networks that are particular


def make(model, **options):
    torch.manual_seed(0)
    return TimmImage(model, **options).eval()


def features(model):
    """timm's own network for features, with the weights that ``make`` gives."""
    options = {"strict_img_size": False} if model.startswith("swin") else {}
    torch.manual_seed(0)
    return timm.create_model(model, features_only=True, out_indices=LEVELS, **options).eval()


@pytest.mark.parametrize("model", CUT + WHOLE)
def test_maps_equal_timm_at_any_size(model):
    tower, net, images = make(model), features(model), torch.randn(1, 3, *FIXED.get(model, (50, 71)))
    assert tower.separable == (model in CUT)
    with torch.no_grad():
        whole = F.pad(images, (0, 1, 0, 2)) if model.startswith("swin") else images
        expected, found = net(whole), tower.maps(images)
        if tower.separable:
            x, detail = tower.stem(images)
            assert detail is None
            staged = [x := tower.stage(k, x) for k in range(4)]
            assert all(torch.equal(one, other) for one, other in zip(staged, found))
    if model.startswith("swin"):
        expected = [level.permute(0, 3, 1, 2) for level in expected]
    assert all(torch.equal(one, other) for one, other in zip(found, expected))
    assert tuple(level.shape[1] for level in found) == tower.channels
    assert tower.strides == (4, 8, 16, 32)


def test_resnet50_is_cut():
    tower = TimmImage()
    assert tower.separable
    assert tower.channels == (256, 512, 1024, 2048)
    assert sum(parameter.numel() for parameter in tower.parameters()) == 23_508_032  # without the classifier


@pytest.mark.parametrize("model", ["resnet10t", "mobilenetv3_small_050", "hrnet_w18_small"])
def test_every_parameter_learns(model):
    """Nothing after the last map is built: it could not learn."""
    tower, images = make(model).train(), torch.randn(2, 3, 64, 96)
    optimizer = torch.optim.SGD(tower.parameters(), lr=0.01)
    for _ in range(2):  # residual branches of some start closed, and learn from the second step on
        optimizer.zero_grad()
        sum((level * torch.randn_like(level)).sum() for level in tower.maps(images)).backward()
        optimizer.step()
    dead = [n for n, p in tower.named_parameters() if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()]
    assert dead == []


def test_a_cut_tower_takes_fusion_at_every_stage_and_a_whole_one_at_the_last():
    def encoder(model, stages):
        tower = make(model)
        blocks = [LateFusion(c, 8) if k in stages else None for k, c in enumerate(tower.channels)]
        return StagedEncoder(tower, TinyText(12, mask_id=2, width=8, heads=2), blocks)

    encoded = encoder("resnet10t", (0, 3))(make_batch())
    assert [level.per_sentence for level in encoded.pyramid] == [True] * 4
    encoded = encoder("dpn48b", (3,))(make_batch())
    assert [level.per_sentence for level in encoded.pyramid] == [False] * 3 + [True]
    with pytest.raises(ValueError, match="all of its maps at once"):
        encoder("dpn48b", (0, 3))


def test_half_precision():
    tower, images = make("convnext_atto"), torch.randn(1, 3, 64, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert all(level.isfinite().all() for level in tower.maps(images))


def test_state_dict_round_trip():
    tower, images = make("resnet10t"), torch.randn(1, 3, 64, 64)
    other = TimmImage("resnet10t").eval()
    other.load_state_dict(tower.state_dict())
    assert all(torch.equal(one, two) for one, two in zip(tower.maps(images), other.maps(images)))


@pytest.mark.parametrize("shape", [(1, 3, 31, 64), (1, 3, 64, 31), (1, 1, 64, 64), (3, 64, 64)])
def test_images_that_are_none_are_refused(shape):
    with pytest.raises(ValueError, match=r"TimmImage \(resnet10t\).*coarsest stride, 32 pixels"):
        make("resnet10t").stem(torch.zeros(shape))


def test_a_map_of_other_channels_is_refused():
    with pytest.raises(ValueError, match=r"stage 1.*expected 64 channels"):
        make("resnet10t").stage(1, torch.zeros(1, 32, 8, 8))


def test_stages_of_a_whole_network_are_refused():
    with pytest.raises(ValueError, match=r"use maps\(images\)"):
        make("dpn48b").stage(0, torch.zeros(1, 3, 64, 64))


def test_a_size_that_the_network_refuses():
    for model in ("hrnet_w18_small", "efficientformer_l1"):
        with pytest.raises(ValueError, match=rf"TimmImage \({model}\): the network refuses.*resize"):
            make(model).maps(torch.zeros(1, 3, 50, 71))


def test_other_errors_are_not_taken_for_a_size(monkeypatch):
    tower = make("resnet10t")

    def broken(x):
        raise RuntimeError("something else")

    monkeypatch.setattr(tower.stages[0], "forward", broken)
    with pytest.raises(RuntimeError, match="something else"):
        tower.maps(torch.zeros(1, 3, 64, 64))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("vit_tiny_patch16_224", "all levels of timm's 'vit_tiny_patch16_224' have stride 16: that is no pyramid"),
        ("levit_128s", "gives no pyramid of four levels"),
        ("convmixer_768_32", "gives no pyramid of four levels"),
        ("resnet5", r"timm knows no model 'resnet5'; did you mean 'resnet50'"),
        ("hf-hub:timm/resnet18.a1_in1k", "timm knows no model"),
        ("qqqqqqqq", r"see timm.list_models\(\)"),
    ],
)
def test_networks_without_a_pyramid_are_refused(model, message):
    with pytest.raises(ValueError, match=message):
        TimmImage(model)


def test_strides_that_jump_are_refused(monkeypatch):
    build = TimmImage._build

    def jumping(self):
        net, windowed = build(self)
        monkeypatch.setattr(net.feature_info, "reduction", lambda: [4, 16, 32, 64])
        return net, windowed

    monkeypatch.setattr(TimmImage, "_build", jumping)
    with pytest.raises(ValueError, match=r"strides \(4, 16, 32, 64\); expected growth by 1x or 2x"):
        TimmImage("resnet10t")


@pytest.mark.parametrize(
    ("model", "folder"),
    [("resnet10t", False), ("convnext_atto", True), ("mobilenetv3_small_050", False), ("efficientformer_l1", False)],
)
def test_published_weights_are_read_from_a_file_or_folder(model, folder, tmp_path):
    """The file holds a classifier, as published ones do; the tower takes what it has."""
    torch.manual_seed(3)
    classifier = timm.create_model(model).eval()
    save_file(classifier.state_dict(), tmp_path / "model.safetensors")
    tower = make(model, start=str(tmp_path if folder else tmp_path / "model.safetensors"))
    images = torch.randn(1, 3, *FIXED.get(model, (64, 64)))
    before = tower.maps(images)
    tower.load_start()
    with torch.no_grad():
        expected = classifier.forward_intermediates(images, indices=4, intermediates_only=True)
    maps = tower.maps(images)
    assert not torch.allclose(maps[3], before[3])
    torch.testing.assert_close(maps[0], expected[0])
    if model != "mobilenetv3_small_050":  # its own intermediates end one block earlier
        torch.testing.assert_close(maps[3], expected[3])


def test_weights_of_another_network_do_not_fit(tmp_path):
    """timm alone would warn, and train from random weights."""
    save_file(timm.create_model("resnet14t").state_dict(), tmp_path / "model.safetensors")
    with pytest.raises(
        ValueError, match=r"(?s)TimmImage \(resnet10t\): the starting weights .* cannot be read.*layer1"
    ):
        make("resnet10t", start=str(tmp_path)).load_start()


def test_an_unknown_tag_is_refused():
    with pytest.raises(ValueError, match=r"TimmImage \(resnet18\).*no_such_tag"):
        make("resnet18", start="no_such_tag").load_start()


@pytest.mark.parametrize("start", [True, "a1_in1k", "resnet18.a1_in1k"])
def test_without_a_network_the_message_says_what_goes_where(start, offline):
    tower = make("resnet18", start=start)
    assert tower.start == start
    with pytest.raises(FileNotFoundError, match=r"hf download timm/resnet18.a1_in1k.*models--timm--resnet18.a1_in1k"):
        tower.load_start()


def test_nothing_is_read_before_it_is_asked_for():
    with pytest.raises(ValueError, match="no starting weights were named"):
        make("resnet10t").load_start()


@pytest.fixture
def offline(monkeypatch, tmp_path):
    """No network, and an empty cache."""
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
