"""Adapters of MagNet's encoder: ``magnet.vision_cam``, ``magnet.lang_pwam``, ``magnet.lang_stage``."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ris_lib.contract import Reads
from ris_lib.encoders.swin import SwinImage
from ris_lib.fusion.cam import CAM
from ris_lib.fusion.cam_words import PixelsToWords
from ris_lib.fusion.pwam import ResidualGate
from ris_lib.models.official import magnet, translate, under
from ris_lib.models.official.swin import PATCH_MERGING
from tests.golden.case import Case, adapter

#: What the released code of the language side computes, and what was meant.
FORMS = ("released", "fixed01")


@adapter("magnet.vision_cam")
def vision_cam(case: Case) -> dict[str, Any]:
    """The image side with the patch merging that follows, which belongs to our next stage."""
    config, stage = case.config, case.config["stage"] - 1
    reads = Reads(words=False)
    block = CAM(config["dim"], config["lang_dim"], config["pool_sizes"], heads=config["num_heads_fusion"], reads=reads)
    parts = nn.ModuleDict({"block": block})
    rules = under(rf"layers\.{stage}\.", "block.", magnet.IMAGE_SIDE)
    if config["downsample"]:
        tower = SwinImage(config["dim"], depths=(1, 1, 1, 1), heads=(1, 1, 1, 1))
        parts["merging"] = tower.merging[0]
        rules += under(rf"layers\.{stage}\.", "merging.", PATCH_MERGING)
    parts.load_state_dict(translate(case.official_weights(), rules))
    pixels, words, word_mask = (torch.from_numpy(case.inputs[name]) for name in ("x", "l", "l_mask"))
    word_mask, size = word_mask[..., 0] > 0.5, (int(case.inputs["H"]), int(case.inputs["W"]))
    fused = block(pixels, size, words, word_mask)
    answer = {
        "r": fused.pyramid.transpose(1, 2).unflatten(2, size),
        "x_gated": fused.pixels,
        "xres": block.residual(pixels, words, word_mask)[0],
        "x_next": fused.pixels,
    }
    if config["downsample"]:
        merged = tower.merge(0, fused.pixels.transpose(1, 2).unflatten(2, size))
        answer["x_next"] = merged.flatten(2).transpose(1, 2)
    for branch in block.pools:
        tiles = branch.tiles(pixels, size)
        answer[f"pyr{branch.side}_in"] = tiles
        answer[f"pyr{branch.side}"] = branch.residual(tiles, words, word_mask)[0]
    return answer


@adapter("magnet.lang_pwam")
def lang_pwam(case: Case) -> dict[str, Any]:
    pixels, words, word_mask = language_inputs(case)
    answer = {}
    for form in FORMS:
        side = PixelsToWords(case.config["lang_dim"], case.config["dim"], case.config["num_heads"], form)
        side.load_state_dict(translate(case.official_weights(), magnet.PIXELS_TO_WORDS))
        answer[f"lres_{form}"] = side(words, pixels, word_mask)[0]
        answer[f"att_{form}"] = side.gather(words, pixels, word_mask)[0]
    return answer


@adapter("magnet.lang_stage")
def lang_stage(case: Case) -> dict[str, Any]:
    """The norm of the residual is not part of our block: nobody reads it."""
    pixels, words, word_mask = language_inputs(case)
    config, weights = case.config, case.official_weights()
    k = config["stage"] - 1
    norm = nn.LayerNorm(config["lang_dim"])
    norm.load_state_dict({name: weights[f"norms.{k}.{name}"] for name in ("weight", "bias")})
    answer = {}
    for form in FORMS:
        side = nn.ModuleDict(
            {
                "word_residual": PixelsToWords(config["lang_dim"], config["dim"], config["num_heads"], form),
                "word_gate": ResidualGate(config["lang_dim"], "relu"),
            }
        )
        side.load_state_dict(translate(weights, magnet.language_side(k)))
        residual, _ = side["word_residual"](words, pixels, word_mask)
        answer[f"l_res_norm_{form}"] = norm(residual)
        answer[f"l_next_{form}"] = words + side["word_gate"](residual)
    return answer


def language_inputs(case: Case) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pixels, words, and the mask as bool."""
    pixels, words, mask = (torch.from_numpy(case.inputs[name]) for name in ("x", "l", "mask01"))
    return pixels, words, mask > 0.5
