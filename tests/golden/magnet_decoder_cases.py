"""Adapters of MagNet's decoder: deformable attention, pixel decoder, query decoder, from logits to the mask."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ris_lib.contract import Encoded, FeatureMap, PixelFeatures
from ris_lib.decoders.deformable import Deformable
from ris_lib.decoders.deformable_attention import DeformableAttention
from ris_lib.heads.masked_query import MaskedQuery
from ris_lib.metrics import binarise, resize_maps
from ris_lib.models.official.magnet_decoder import DEFORMABLE_ATTENTION, PIXEL_DECODER, QUERY_DECODER
from ris_lib.models.official.rules import translate
from tests.golden.case import Case, adapter


def _tensor(case: Case, name: str) -> Tensor:
    return torch.from_numpy(np.array(case.inputs[name]))


def _load(module: torch.nn.Module, case: Case, rules: list) -> torch.nn.Module:
    module.load_state_dict(translate(case.official_weights(), rules))
    return module.eval()


def encoded_maps(maps: list[Tensor], words: Tensor | None = None, word_mask: Tensor | None = None) -> Encoded:
    """What an encoder would return around given maps, fine to coarse; without words, one word of one channel."""
    sentences = len(maps[0])
    words = maps[0].new_zeros(sentences, 1, 1) if words is None else words
    word_mask = torch.ones(words.shape[:2], dtype=torch.bool) if word_mask is None else word_mask
    index = torch.zeros(words.shape[:2], dtype=torch.long)
    pyramid = [FeatureMap(m, 4 << k, per_sentence=True) for k, m in enumerate(maps)]
    return Encoded(pyramid, words, words[:, 0], word_mask, index, torch.arange(sentences))


@adapter("magnet.msdeformattn")
def deformable_attention(case: Case) -> dict[str, Any]:
    config = case.config
    layer = DeformableAttention(config["d_model"], config["n_levels"], config["n_heads"], config["n_points"])
    _load(layer, case, DEFORMABLE_ATTENTION)
    sizes = [tuple(size) for size in _tensor(case, "spatial_shapes").tolist()]
    real = ~_tensor(case, "padding_mask").bool()
    return {"y": layer(_tensor(case, "query"), _tensor(case, "reference_points"), _tensor(case, "value"), sizes, real)}


@adapter("magnet.pixel_decoder")
def pixel_decoder(case: Case) -> dict[str, Any]:
    config = case.config
    decoder = Deformable(
        config["in_channels"],
        (4, 8, 16, 32),
        word_dim=1,
        sentence_dim=1,
        width=config["conv_dim"],
        channels=config["mask_dim"],
        layers=config["enc_layers"],
        heads=config["nheads"],
        points=config["n_points"],
        feed_forward=config["dim_feedforward"],
        levels=len(config["transformer_in_features"]),
        groups=config["group_norm_groups"],
    )
    features = _load(decoder, case, PIXEL_DECODER)(encoded_maps([_tensor(case, f"s{k}") for k in (1, 2, 3, 4)]))
    memory = {f"ms{k}": values for k, values in enumerate(features.memory)}
    return memory | {"mask_features": features.finest, "encoder_coarse": features.memory[0]}


@adapter("magnet.query_decoder")
def query_decoder(case: Case) -> dict[str, Any]:
    """The class logits, which our head does not build, are read from its states with the file's own class weights."""
    config = case.config
    finest = _tensor(case, "mask_features")
    memory = [_tensor(case, f"x{k}") for k in range(3)]
    head = MaskedQuery(
        config["mask_dim"],
        word_dim=1,
        sentence_dim=1,
        memory_channels=[config["in_channels"]] * 3,
        context_channels=None,
        layers=config["dec_layers"],
        heads=config["nheads"],
        feed_forward=config["dim_feedforward"],
        width=config["hidden_dim"],
    )
    weights = case.official_weights()
    levels = weights["level_embed.weight"][: config["dec_layers"]]  # of a map that no layer reads it is not built
    head.load_state_dict(translate(weights | {"level_embed.weight": levels}, QUERY_DECODER))
    states: list[Tensor] = []
    head.eval().norm.register_forward_hook(lambda *call: states.append(call[2]))
    output = head(PixelFeatures(finest, stride=4, memory=memory), encoded_maps([finest]))
    classes = [
        torch.nn.functional.linear(state, weights["class_embed.weight"], weights["class_embed.bias"])[:, None]
        for state in states
    ]
    return {
        "pred_logits": classes[-1],
        "pred_masks": output.logits,
        "aux_masks": torch.stack(output.aux_logits),
        "aux_logits": torch.stack(classes[:-1]),
    }


@adapter("magnet.semantic_inference")
def semantic_inference(case: Case) -> dict[str, Any]:
    """The class score is a softmax over one query, so the mask's probability stands alone."""
    size = tuple(_tensor(case, "size").tolist())
    upsampled = resize_maps(_tensor(case, "pred_masks")[:, 0], size, align_corners=True)[:, None]
    probability = upsampled.sigmoid()
    return {"upsampled": upsampled, "prob": probability, "binary": binarise(probability, "network_480")}
