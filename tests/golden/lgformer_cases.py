"""Adapters of ``lgformer.*``: AlignFormer's parts against the released code of its sibling."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ris_lib.contract import Encoded, FeatureMap, MaskOutput, ModelState, Reads
from ris_lib.decoders.deformable import Deformable
from ris_lib.encoders.bert import BertText
from ris_lib.encoders.staged import StagedEncoder
from ris_lib.encoders.swin import SwinImage
from ris_lib.fusion.vlba import VLBA
from ris_lib.heads.centre_embedding import CentreEmbedding
from ris_lib.heads.centre_generator import CentreGenerator
from ris_lib.layers import masked_mean, resize_map
from ris_lib.models.official import lgformer, translate, under
from ris_lib.models.official.swin import PATCH_MERGING, SWIN_BLOCKS
from ris_lib.objectives.segmentation import Segmentation
from tests.golden.case import Case, adapter
from tests.golden.lavt_cases import load_whole, one_sentence_each, tokens

#: The official block keeps its output norm outside, and the case of the block alone has no gates.
WITHOUT_GATES = Reads(pixels=False, words=False)


@adapter("lgformer.vlba")
def vlba(case: Case) -> dict[str, Any]:
    """The attention's parts and both residuals."""
    config = case.config
    block = VLBA(config["dim"], config["lang_dim"], config["num_heads"], reads=WITHOUT_GATES)
    block.norm = None
    block.load_state_dict(translate(case.official_weights(), lgformer.VLBA))
    pixels, words, word_mask = tokens(case)
    for_pixels, for_words, _ = block.attention(pixels, words, word_mask)
    return {
        "res_vis": block.pixel_lane(pixels, for_pixels),
        "res_lang": block(pixels, (1, pixels.shape[1]), words, word_mask).decoder_words.transpose(1, 2),
        "att_vis": for_pixels,
        "att_lang": for_words.transpose(1, 2),
    }


@adapter("lgformer.stage")
def stage(case: Case) -> dict[str, Any]:
    """Blocks and fusion of one stage, and the patch merging that stands at the beginning of our next stage."""
    config = case.config
    heads = (config["num_heads"],) * 4
    tower = SwinImage(
        config["dim"],
        (config["depth"], 1, 1, 1),
        heads,
        config["window_size"],
        mlp_ratio=config["mlp_ratio"],
    )
    block = VLBA(config["dim"], config["lang_dim"], config["num_heads_fusion"])
    block.norm = nn.Identity()
    parts = nn.ModuleDict({"blocks": tower.stages[0], "fusion": block})
    rules = under("", "blocks.", SWIN_BLOCKS) + under(r"fusion\.", "fusion.", lgformer.VLBA)
    rules += under("", "fusion.", lgformer.GATES)
    if config["downsample"]:
        parts["merging"] = tower.merging[0]
        rules += under("", "merging.", PATCH_MERGING)
    parts.load_state_dict(translate(case.official_weights(), rules))
    tower.eval()
    pixels, words, word_mask = tokens(case)
    size = (int(case.inputs["H"]), int(case.inputs["W"]))
    blocks = tower.stage(0, pixels.transpose(1, 2).unflatten(2, size)).flatten(2).transpose(1, 2)
    fused = block(blocks, size, words, word_mask)
    onward = fused.pixels.transpose(1, 2).unflatten(2, size)
    if config["downsample"]:
        onward = tower.merge(0, onward)
    return {
        "res_vis": fused.pyramid,
        "x_next": onward.flatten(2).transpose(1, 2),
        "res_lang": fused.decoder_words.transpose(1, 2),
        "l_next": fused.words.transpose(1, 2),
    }


@adapter("lgformer.query_generator")
def query_generator(case: Case) -> dict[str, Any]:
    """The states, with an axis for the one query."""
    config = case.config
    memory = [torch.from_numpy(case.inputs[f"ms{k}"]) for k in range(3)]
    generator = CentreGenerator(
        config["d_model"], [config["mask_dim"]] * 3, config["num_layers"], config["nhead"], config["dim_ffn"]
    )
    weights = translate(case.official_weights(), lgformer.GENERATOR)
    weights |= {name: weights[name][: len(w)] for name, w in generator.state_dict().items() if "level" in name}
    generator.load_state_dict(weights)
    states = generator(torch.from_numpy(case.inputs["pooled_text"])[:, 0], memory)
    return {"states": states.transpose(0, 1)[:, :, None]}


@adapter("lgformer.decoder")
def decoder(case: Case) -> dict[str, Any]:
    """Pixel decoder and head; text comes channels first."""
    maps = [torch.from_numpy(case.inputs[f"s{k}"]) for k in (1, 2, 3, 4)]
    parts = classifier([feature_map.shape[1] for feature_map in maps], case.config).eval()
    parts.load_state_dict(translate(case.official_weights(), lgformer.CLASSIFIER))
    words = torch.from_numpy(case.inputs["text"]).transpose(1, 2)
    mask = torch.from_numpy(case.inputs["text_mask"])[..., 0] > 0.5
    pyramid = [FeatureMap(values, stride, True) for values, stride in zip(maps, (4, 8, 16, 32))]
    index = torch.where(mask, torch.arange(mask.shape[1]), -1)
    encoded = Encoded(pyramid, words, words[:, 0], mask, index, torch.arange(len(words)))
    features = parts["decoder"](encoded)
    head = parts["head"]
    pooled = head.start(masked_mean(words, mask))
    return {
        "logits": stacked(head(features, encoded)),
        "pixel_embedding_b0": features.finest[:1],
        "pooled_text": pooled[:, None],
        "states": head.generator(pooled, features.memory).transpose(0, 1)[:, :, None],
        **{f"ms{k}": feature_map for k, feature_map in enumerate(features.memory)},
    }


@adapter("lgformer.loss")
def loss(case: Case) -> dict[str, Any]:
    """All outputs together, and each alone."""
    logits, target = torch.from_numpy(case.inputs["logits"]), torch.from_numpy(np.array(case.inputs["target"])) > 0
    weight = case.config["pos_weight"]
    return {
        "loss": bce(logits, target, weight)[None],
        "per_output": torch.stack([bce(one[None], target, weight) for one in logits]),
    }


@adapter("lgformer.whole")
def whole(case: Case) -> dict[str, Any]:
    """The maps are stored in part: the first samples, and of these the first channels."""
    swin, bert, config = case.config["swin"], case.config["bert"], case.config["decoder"]
    tower = SwinImage(
        swin["embed_dim"], swin["depths"], swin["num_heads"], swin["window_size"], mlp_ratio=swin["mlp_ratio"]
    )
    text = BertText(
        bert["vocab_size"],
        mask_id=None,
        layers=(bert["num_hidden_layers"], 0, 0, 0),
        width=bert["hidden_size"],
        heads=bert["num_attention_heads"],
        intermediate=bert["intermediate_size"],
        positions=bert["max_position_embeddings"],
    )
    fusions = [
        VLBA(channels, text.width, heads, reads=Reads(pixels=k < 3, words=k < 3, decoder_words=k == 3))
        for k, (channels, heads) in enumerate(zip(tower.channels, swin["num_heads_fusion"]))
    ]
    model = classifier(tower.channels, config)
    model["encoder"] = StagedEncoder(tower, text, fusions)
    load_whole(model.eval(), case.official_checkpoint(case.meta["keys"]), lgformer.LGFORMER)
    batch = one_sentence_each(case)
    encoded = model["encoder"](batch)
    output = model["head"](model["decoder"](encoded), encoded)
    answer = {
        "bert": model["encoder"].encode_text(batch.token_ids, batch.word_mask),
        "lres4": encoded.words.transpose(1, 2),
        "logits_stride4": stacked(output),
        "last": resize_map(output.logits, batch.images.shape[-2:]),
    }
    for name in case.expected.keys() & {"c1_b0", "c2_b0", "c3", "c4"}:
        samples, channels = case.expected[name].shape[:2]
        answer[name] = encoded.pyramid[int(name[1]) - 1].values[:samples, :channels]
    return answer


def classifier(channels: tuple[int, ...] | list[int], config: dict[str, Any]) -> nn.ModuleDict:
    """Pixel decoder and head, as a case's ``config`` wants them."""
    width = config["conv_dim"]
    return nn.ModuleDict(
        {
            "decoder": Deformable(
                channels,
                (4, 8, 16, 32),
                config["txt_dim"],
                config["txt_dim"],
                width=width,
                channels=config["mask_dim"],
                layers=config["encoder_layers"],
                heads=config["encoder_nheads"],
                points=config["n_points"],
                feed_forward=config["encoder_dim_feedforward"],
                levels=3,
                words=True,
                word_heads=config["word_attention_nheads"],
                word_feed_forward=config["word_attention_dim_feedforward"],
                length=config["text_len"],
            ),
            "head": CentreEmbedding(
                config["mask_dim"],
                config["txt_dim"],
                config["txt_dim"],
                (width,) * 3,
                width,
                layers=config["query_layers"],
                heads=config["query_nheads"],
                feed_forward=config["query_dim_ffn"],
            ),
        }
    )


def stacked(output: MaskOutput) -> Tensor:
    """All outputs ``(layers + 1, B, 1, h, w)``."""
    return torch.stack([*output.aux_logits, output.logits])


def bce(logits: Tensor, target: Tensor, weight: float) -> Tensor:
    """The loss of outputs ``(n, B, 1, h, w)``, the last of which is the final one."""
    *aux, final = logits
    state = ModelState(None, None, MaskOutput(logits=final, aux_logits=aux), None)
    term = Segmentation(None, deep=True, positive_weight=weight)(state, SimpleNamespace(masks=target))["bce"]
    return term.sum / term.count
