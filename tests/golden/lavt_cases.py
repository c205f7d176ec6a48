"""Adapters of ``lavt.*``."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from ris_lib.contract import Encoded, FeatureMap, Reads
from ris_lib.data.batch import Batch
from ris_lib.decoders.top_down import TopDown
from ris_lib.encoders.bert import BertText
from ris_lib.encoders.staged import StagedEncoder
from ris_lib.encoders.swin import SwinImage
from ris_lib.fusion.pwam import PWAM, WordsToPixels
from ris_lib.heads.fixed_kernel import FixedKernel
from ris_lib.layers import resize_map
from ris_lib.models.official import Rule, lavt, translate, under
from ris_lib.models.official.swin import PATCH_MERGING, SWIN_BLOCKS
from ris_lib.objectives.segmentation import bce_term
from tests.golden.case import Case, adapter


@adapter("lavt.pwam")
def pwam(case: Case) -> dict[str, Any]:
    """Words come channels first."""
    block = WordsToPixels(case.config["dim"], case.config["lang_dim"], case.config["num_heads"])
    block.load_state_dict(translate(case.official_weights(), lavt.WORDS_TO_PIXELS))
    pixels, words, word_mask = tokens(case)
    return {
        "y": block(pixels, words, word_mask)[0],
        "att_out": block.gather(pixels, words, word_mask)[0],
    }


@adapter("lavt.stage")
def stage(case: Case) -> dict[str, Any]:
    """Blocks and fusion of one stage, and the patch merging that stands at the beginning of our next stage."""
    config = case.config
    heads = (config["num_heads"],) * 4
    tower = SwinImage(config["dim"], depths=(config["depth"], 1, 1, 1), heads=heads, window=config["window_size"])
    block = PWAM(config["dim"], config["lang_dim"], config["num_heads_fusion"], reads=Reads(pyramid=False))
    parts = nn.ModuleDict({"blocks": tower.stages[0], "fusion": block})
    rules = under("", "blocks.", SWIN_BLOCKS) + under("", "fusion.", lavt.PWAM)
    if config["downsample"]:
        parts["merging"] = tower.merging[0]
        rules += under("", "merging.", PATCH_MERGING)
    parts.load_state_dict(translate(case.official_weights(), rules))
    tower.eval()
    pixels, words, word_mask = tokens(case)
    size = (int(case.inputs["H"]), int(case.inputs["W"]))
    blocks = tower.stage(0, pixels.transpose(1, 2).unflatten(2, size)).flatten(2).transpose(1, 2)
    gated = block(blocks, size, words, word_mask).pixels
    onward = gated.transpose(1, 2).unflatten(2, size)
    if config["downsample"]:
        onward = tower.merge(0, onward)
    return {
        "blocks": blocks,
        "residual": block.residual(blocks, words, word_mask)[0],
        "gated": gated,
        "x_next": onward.flatten(2).transpose(1, 2),
        "H_next": onward.shape[2],
        "W_next": onward.shape[3],
    }


@adapter("lavt.decoder")
def decoder(case: Case) -> dict[str, Any]:
    """The loss weighs each class, and divides by the weights' sum."""
    config = case.config
    maps = [torch.from_numpy(case.inputs[f"x_c{k}"]) for k in (1, 2, 3, 4)]
    channels = [feature_map.shape[1] for feature_map in maps]
    parts = nn.ModuleDict(
        {
            "decoder": lavt_decoder(channels, config),
            "head": FixedKernel(config["c4_dims"] // config["factor"], 1, 1, (), None, classes=config["num_classes"]),
        }
    ).eval()
    rules = under("", "decoder.", lavt.DECODER) + under("", "head.", lavt.HEAD)
    parts.load_state_dict(translate(case.official_weights(), rules))
    encoded = without_words([FeatureMap(values, stride, True) for values, stride in zip(maps, (4, 8, 16, 32))])
    output = parts["head"](parts["decoder"](encoded), encoded)
    target = torch.from_numpy(case.inputs["target"]).to(output.logits.dtype)
    background, foreground = config["loss_class_weights"]
    raised = resize_map(output.logits, target.shape[-2:], align_corners=True)[:, 0]
    weighted = background * bce_term(raised, target, positive_weight=foreground / background).sum
    return {
        "logits": output.class_logits,
        "upsampled": resize_map(output.class_logits, target.shape[-2:], align_corners=True),
        "loss": weighted / (background * (1 - target) + foreground * target).sum(),
    }


@adapter("lavt.whole")
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
        PWAM(channels, text.width, heads, reads=Reads(pixels=k < 3))
        for k, (channels, heads) in enumerate(zip(tower.channels, swin["num_heads_fusion"]))
    ]
    width = config["c4_dims"] // config["factor"]
    model = nn.ModuleDict(
        {
            "encoder": StagedEncoder(tower, text, fusions),
            "decoder": lavt_decoder(tower.channels, config),
            "head": FixedKernel(width, text.width, text.width, (), None, classes=config["num_classes"]),
        }
    ).eval()
    load_whole(model, case.official_checkpoint(case.meta["keys"]), lavt.LAVT)
    batch = one_sentence_each(case)
    encoded = model["encoder"](batch)
    logits = model["head"](model["decoder"](encoded), encoded).class_logits
    answer = {
        "bert": encoded.words,
        "logits_stride4": logits,
        "logits": resize_map(logits, batch.images.shape[-2:], align_corners=True),
    }
    for name in case.expected.keys() & {"c1_b0", "c2_b0", "c3", "c4"}:
        samples, channels = case.expected[name].shape[:2]
        answer[name] = encoded.pyramid[int(name[1]) - 1].values[:samples, :channels]
    return answer


def load_whole(model: nn.Module, checkpoint: dict[str, dict[str, torch.Tensor]], rules: list[Rule]) -> None:
    """Strictly, but for the integer buffers that formula weights lack. The second state dict's names get its own."""
    main, *others = checkpoint
    weights = dict(checkpoint[main])
    for part in others:
        weights |= {f"{part}.{name}": tensor for name, tensor in checkpoint[part].items()}
    counters = {name: buffer for name, buffer in model.state_dict().items() if not buffer.is_floating_point()}
    model.load_state_dict(counters | translate(weights, rules))


def one_sentence_each(case: Case) -> Batch:
    """Images with one sentence each, from ``img``, ``ids`` and ``att``."""
    images, ids, mask = (torch.from_numpy(case.inputs[name]) for name in ("img", "ids", "att"))
    count, size, mask = len(images), tuple(images.shape[-2:]), mask > 0
    return Batch(
        images=images,
        token_ids=ids,
        word_mask=mask,
        word_index=torch.where(mask, torch.arange(mask.shape[1]), -1),
        spans=torch.zeros(*ids.shape, 2, dtype=torch.long),
        image_index=torch.arange(count),
        original_size=torch.tensor([size] * count),
        to_network=torch.tensor([[[1.0, 0.0], [1.0, 0.0]]] * count),
        sentences=[""] * count,
    )


def tokens(case: Case) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pixels, words with channels last, and the mask as bool."""
    pixels, words, word_mask = (torch.from_numpy(case.inputs[name]) for name in ("x", "l", "l_mask"))
    return pixels, words.transpose(1, 2), word_mask[..., 0] > 0.5


def lavt_decoder(channels: list[int], config: dict[str, Any]) -> TopDown:
    """LAVT's decoder, as a case's ``config`` wants it."""
    width = config["c4_dims"] // config["factor"]
    return TopDown(channels, (4, 8, 16, 32), 1, 1, width=width, norm="batch", align_corners=True, residual=False)


def without_words(pyramid: list[FeatureMap]) -> Encoded:
    """What a decoder gets that reads maps only."""
    words = torch.zeros(len(pyramid[0].values), 1, 1)
    place = torch.zeros(len(words), 1, dtype=torch.long)
    return Encoded(pyramid, words, words[:, 0], place == 0, place, torch.arange(len(words)))
