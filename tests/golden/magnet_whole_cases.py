"""Adapters of ``magnet.whole``: all parts of MagNet together, in both forms of its language side.

The released code computes a few things that cannot reach the mask (the last stage's words, norms of the word
residuals, class scores). Our model has no such parts; they are put together here from the same weights, so that every
output of the file is compared.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ris_lib.contract import Reads
from ris_lib.decoders import Deformable
from ris_lib.encoders import BertText, StagedEncoder, SwinImage
from ris_lib.fusion import CAM
from ris_lib.heads import MaskedQuery
from ris_lib.models.official.magnet import MAGNET, NO_NEXT_GROUP
from tests.golden.case import Case, adapter
from tests.golden.lavt_cases import load_whole, one_sentence_each


@adapter("magnet.whole")
def whole(case: Case) -> dict[str, Any]:
    checkpoint = case.official_checkpoint(case.meta["keys"])
    (official,) = checkpoint.values()
    model = build_magnet(case)
    load_whole(model, checkpoint, [rule for rule in MAGNET if rule.why != NO_NEXT_GROUP])
    model.eval()
    encoder, head = model["encoder"], model["head"]
    seen: dict[str, torch.Tensor] = {}
    for k in (0, 3):
        encoder.fusions[str(k)].register_forward_hook(
            lambda module, given, fused, k=k: seen.update({f"l{k + 1}_next": fused.words})
        )
        encoder.fusions[str(k)].word_residual.register_forward_hook(
            lambda module, given, answer, k=k: seen.update({f"residual{k + 1}": answer[0]})
        )
    head.norm.register_forward_hook(lambda module, given, query: seen.update(query=query))
    batch = one_sentence_each(case)
    encoded = encoder(batch)
    features = model["decoder"](encoded)
    output = head(features, encoded)
    maps = dict(zip(("r1_b0", "r2_b0", "r3", "r4"), (m.values for m in encoded.pyramid)))
    maps["mask_features_b0"] = features.finest
    answer = {
        name: maps[name][: expected.shape[0], : expected.shape[1]]
        for name, expected in case.expected.items()
        if name in maps
    }
    scores = nn.functional.linear(
        seen["query"].reshape(len(output.logits), 1, -1),
        official["classifier.predictor.class_embed.weight"],
        official["classifier.predictor.class_embed.bias"],
    )
    return answer | {
        "lres1": _normed(seen["residual1"], official, 0),
        "lres4": _normed(seen["residual4"], official, 3),
        "l1_next": seen["l1_next"],
        "l4_next": seen["l4_next"],
        "aux_masks": torch.stack(output.aux_logits),
        "pred_logits": scores,
        "pred_masks": output.logits,
    }


def build_magnet(case: Case) -> nn.ModuleDict:
    """The parts at the sizes of a case's ``config``; the last stage with the words that nobody reads."""
    swin, bert = case.config["swin"], case.config["bert"]
    pixels, query = case.config["pixel_decoder"], case.config["query_decoder"]
    tower = SwinImage(
        swin["embed_dim"], swin["depths"], swin["num_heads"], swin["window_size"], mlp_ratio=swin["mlp_ratio"]
    )
    text = BertText(
        bert["vocab_size"],
        mask_id=None,
        layers=bert["groups"],
        width=bert["hidden_size"],
        heads=bert["num_attention_heads"],
        intermediate=bert["intermediate_size"],
        positions=bert["max_position_embeddings"],
    )
    fusions = [
        CAM(channels, text.width, case.config["pool_sizes"], case.meta["variant"], heads, Reads(pixels=k < 3))
        for k, (channels, heads) in enumerate(zip(tower.channels, swin["num_heads_fusion"]))
    ]
    decoder = Deformable(
        tower.channels,
        tower.strides,
        text.width,
        text.width,
        width=pixels["conv_dim"],
        channels=pixels["mask_dim"],
        layers=pixels["enc_layers"],
        heads=pixels["nheads"],
        points=pixels["n_points"],
        feed_forward=pixels["dim_feedforward"],
    )
    head = MaskedQuery(
        decoder.channels,
        text.width,
        text.width,
        decoder.memory_channels,
        decoder.context_channels,
        layers=query["dec_layers"],
        heads=query["nheads"],
        feed_forward=query["dim_feedforward"],
        width=query["hidden_dim"],
    )
    return nn.ModuleDict({"encoder": StagedEncoder(tower, text, fusions), "decoder": decoder, "head": head})


def _normed(residual: torch.Tensor, official: dict[str, torch.Tensor], k: int) -> torch.Tensor:
    """The norm of a word residual, which the released code computes and does not use."""
    weight, bias = (official[f"language_model.norms.{k}.{name}"] for name in ("weight", "bias"))
    return nn.functional.layer_norm(residual, residual.shape[-1:], weight, bias)
