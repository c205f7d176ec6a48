"""Where CLIP's weights come from, and what is said when they are not there."""

import huggingface_hub
import pytest
import torch
from safetensors.torch import save_file

from ris_lib.encoders.clip_start import FILE_NAME, clip_weights


def published():
    """open_clip's own model, small, with fresh weights: its state dict has CLIP's names."""
    import open_clip

    torch.manual_seed(3)
    return open_clip.CLIP(
        embed_dim=24,
        vision_cfg={"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 64},
        text_cfg={"context_length": 9, "vocab_size": 20, "width": 16, "heads": 2, "layers": 3},
        quick_gelu=True,
    ).eval()


def test_a_file_or_a_folder_is_read_as_float32(tmp_path):
    weights = {"ln_final.weight": torch.ones(2, dtype=torch.float16), "count": torch.tensor(3)}
    save_file(weights, tmp_path / "any.safetensors")
    for path in (tmp_path / "any.safetensors", tmp_path):
        found = clip_weights("RN50", str(path))
        assert found["ln_final.weight"].dtype == torch.float32
        assert found["count"].dtype == torch.int64


def test_several_files_are_refused_unless_one_has_open_clips_name(tmp_path):
    for number, name in enumerate(["a.safetensors", "b.safetensors"]):
        save_file({"number": torch.tensor(number)}, tmp_path / name)
    with pytest.raises(ValueError, match="2 safetensors files"):
        clip_weights("RN50", str(tmp_path))
    save_file({"number": torch.tensor(7)}, tmp_path / FILE_NAME)
    assert clip_weights("RN50", str(tmp_path))["number"] == 7


@pytest.mark.parametrize("name", ["", "none.safetensors"])
def test_a_missing_file_is_named(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=r"RN101.*start=.*timm/resnet101_clip\.openai"):
        clip_weights("RN101", str(tmp_path / name))


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / "clip.safetensors").write_bytes(b"not a tensor")
    with pytest.raises(ValueError, match=r"clip\.safetensors cannot be read"):
        clip_weights("RN50", str(tmp_path))


def test_without_a_network_the_message_says_which_file_goes_where(tmp_path, monkeypatch):
    import open_clip.pretrained

    def offline(repo_id, filename, **options):
        return huggingface_hub.hf_hub_download(repo_id, filename, cache_dir=tmp_path, local_files_only=True)

    monkeypatch.setattr(open_clip.pretrained, "hf_hub_download", offline)
    monkeypatch.setattr(open_clip.factory, "CLIP", lambda **options: torch.nn.Identity())  # 100 M weights for nothing
    with pytest.raises(
        FileNotFoundError, match=r"CLIP RN50:.*hf download timm/resnet50_clip\.openai.*options of both towers"
    ):
        clip_weights("RN50", "openai")


def test_the_published_weights_come_from_open_clip(monkeypatch):
    import open_clip

    asked, model = [], published()
    monkeypatch.setattr(open_clip, "create_model", lambda name, pretrained: asked.append((name, pretrained)) or model)
    assert clip_weights("RN101", "openai").keys() == model.state_dict().keys()
    assert asked == [("RN101-quickgelu", "openai")]


@pytest.mark.parametrize("name", ["RN50", "RN101"])
def test_open_clip_knows_the_models(name):
    import open_clip

    config = open_clip.get_model_config(f"{name}-quickgelu")
    assert open_clip.get_pretrained_cfg(f"{name}-quickgelu", "openai")
    assert config["vision_cfg"]["width"] == 64
    assert {key: config["text_cfg"][key] for key in ("context_length", "vocab_size", "width", "heads", "layers")} == {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 512,
        "heads": 8,
        "layers": 12,
    }


def test_an_unknown_model_is_refused():
    with pytest.raises(ValueError, match="RN101"):
        clip_weights("RN110", "openai")
