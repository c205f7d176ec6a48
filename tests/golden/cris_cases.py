"""Adapters of ``cris.*``: our CLIP towers, neck, pixel-word decoder and sentence kernel with CRIS's weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ris_lib.contract import Encoded, FeatureMap, PixelFeatures
from ris_lib.data.batch import Batch
from ris_lib.decoders.clip_neck import ClipNeck, FusionNeck, Upsampler, append_coordinates
from ris_lib.decoders.pixel_words import PixelWordDecoder
from ris_lib.encoders import StagedEncoder
from ris_lib.encoders.clip_image import ClipImage, GridAttentionPool
from ris_lib.encoders.clip_text import ClipText
from ris_lib.heads.sentence_kernel import SentenceKernel
from ris_lib.layers import ConvNormAct
from ris_lib.models import recipe
from ris_lib.models.official import cris, translate
from ris_lib.objectives.segmentation import Segmentation, bce_term
from ris_lib.positions import sine_1d, sine_2d
from tests.golden.case import Case, adapter


def filled(module: nn.Module, weights: dict[str, Tensor], rules: list) -> nn.Module:
    """The module with official weights, in evaluation mode, in the type that torch makes by default."""
    module.load_state_dict(translate(weights, rules), strict=True)
    return module.to(torch.get_default_dtype()).eval()


def tensor(case: Case, name: str) -> Tensor:
    value = torch.from_numpy(case.inputs[name])
    return value.to(torch.get_default_dtype()) if value.is_floating_point() else value


@adapter("cris.attention_pool")
def attention_pool(case: Case) -> dict[str, Any]:
    config = case.config
    pool = GridAttentionPool(config["spacial_dim"], config["embed_dim"], config["num_heads"], config["output_dim"])
    x = tensor(case, "x")
    filled(pool, case.official_weights(), cris.ATTENTION_POOL)
    return {"y": pool(x), "pos_resized": pool.positions(tuple(x.shape[-2:])).T[None]}


@adapter("cris.clip_resnet")
def clip_resnet(case: Case) -> dict[str, Any]:
    config = case.config
    tower = ClipImage(
        layers=config["layers"],
        width=config["width"],
        heads=config["heads"],
        output_dim=config["output_dim"],
        resolution=config["input_resolution"],
    )
    filled(tower, case.official_weights(), cris.CLIP_IMAGE)
    maps = _stages(tower, tensor(case, "img"))
    return {"v3": maps[1], "v4": maps[2], "v5": maps[3], "layer4": tower.net.layer4(maps[2])}


def _stages(tower: ClipImage, images: Tensor) -> list[Tensor]:
    x, _ = tower.stem(images)
    maps = []
    for k in range(4):
        x = tower.stage(k, x)
        maps.append(x)
    return maps


@adapter("cris.text_encoder")
def text_encoder(case: Case) -> dict[str, Any]:
    config = case.config
    tower = ClipText(
        config["vocab_size"],
        mask_id=None,
        length=config["txt_length"],
        layers=(config["transformer_layers"], 0, 0, 0),
        width=config["transformer_width"],
        heads=config["transformer_heads"],
        embed_dim=config["embed_dim"],
        context_length=config["context_length"],
    )
    filled(tower, case.official_weights(), cris.CLIP_TEXT)
    ids = tensor(case, "ids")
    # the end token has the largest id; what follows it is padding
    word_mask = torch.arange(ids.shape[1]) <= ids.argmax(dim=1)[:, None]
    words = tower.finish(tower.group(0, tower.embed(ids, word_mask), word_mask))
    return {"words": words, "state": tower.sentence(words, word_mask, torch.full_like(ids, -1))}


@adapter("cris.coordconv")
def coordconv(case: Case) -> dict[str, Any]:
    config = case.config
    layer = ConvNormAct(config["in_channels"] + 2, config["out_channels"], config["kernel_size"], norm="batch")
    filled(layer, case.official_weights(), cris.COORD_CONV)
    located = append_coordinates(tensor(case, "x"))
    return {"y": layer(located), "with_coords": located}


@adapter("cris.fpn")
def fpn(case: Case) -> dict[str, Any]:
    fine, middle, coarse = case.config["out_channels"]
    state = tensor(case, "state")
    neck = FusionNeck(case.config["in_channels"], state.shape[1], middle, coarse, fine, norm="batch")
    filled(neck, case.official_weights(), cris.NECK)
    maps = [FeatureMap(tensor(case, name), stride, True) for name, stride in (("v3", 8), ("v4", 16), ("v5", 32))]
    return {"fq": neck(*maps, state, torch.arange(len(state)))}


@adapter("cris.decoder")
def decoder(case: Case) -> dict[str, Any]:
    config = case.config
    feature_map, words = tensor(case, "vis"), tensor(case, "txt")
    module = PixelWordDecoder(
        config["d_model"], words.shape[-1], config["num_layers"], config["nhead"], config["dim_ffn"]
    )
    filled(module, case.official_weights(), cris.PIXEL_WORDS)
    y, _ = module(feature_map, words, ~tensor(case, "pad_mask").bool())
    plane = sine_2d(tuple(feature_map.shape[-2:]), config["d_model"], feature_map, normalised=False, column_first=True)
    return {
        "y": y.flatten(2),
        "pos2d": plane[:, None],
        "pos1d": sine_1d(words.shape[1], words.shape[-1], words)[:, None],
    }


@adapter("cris.projector")
def projector(case: Case) -> dict[str, Any]:
    config, weights = case.config, case.official_weights()
    x, word = tensor(case, "x"), tensor(case, "word")
    upsampler = Upsampler(x.shape[1], config["in_dim"], norm="batch")
    head = SentenceKernel(config["in_dim"], 1, config["word_dim"], (), None, config["kernel_size"], scaled=False)
    filled(upsampler, {name: w for name, w in weights.items() if name.startswith("vis.")}, cris.UPSAMPLER)
    filled(head, {name: w for name, w in weights.items() if name.startswith("txt.")}, cris.SENTENCE_KERNEL)
    finest = upsampler(x)
    logits = head(PixelFeatures(finest, stride=4), _encoded(word)).logits
    options = dict(recipe("cris_base").objectives["segmentation"])
    del options["weights"]
    pair = Segmentation(None, **options)._on_one_grid(logits, tensor(case, "mask_full")[:, 0])
    loss, small = bce_term(*pair), pair[1][:, None]
    return {"pred": logits, "pixel_features_b0": finest[:1], "mask_small": small, "loss": loss.sum / loss.count}


def _encoded(sentence: Tensor) -> Encoded:
    token = torch.zeros(len(sentence), 1, dtype=torch.long)
    return Encoded([], sentence[:, None], sentence, token == 0, token, torch.arange(len(sentence)))


@adapter("cris.whole")
def whole(case: Case) -> dict[str, Any]:
    """Encoder, decoder and head side by side, as they stand in a ``ReferringSegmenter``."""
    model = build_whole(case.config)
    filled(model, case.official_checkpoint(case.meta["keys"])["state_dict"], cris.CRIS)
    ids = tensor(case, "ids")
    encoded = model["encoder"](_batch(tensor(case, "img"), ids))
    features = model["decoder"](encoded)
    maps = [feature_map.values for feature_map in encoded.pyramid]
    return {
        "v3_b0": maps[1][:1, : case.expected["v3_b0"].shape[1]],
        "v4_b0": maps[2][:1, : case.expected["v4_b0"].shape[1]],
        "v5": maps[3],
        "words": encoded.words,
        "state": encoded.sentence,
        "fq": features.context,
        "fc": features.memory[0].flatten(2),
        "pred": model["head"](features, encoded).logits,
    }


def build_whole(config: dict[str, Any]) -> nn.ModuleDict:
    """The parts of CRIS by the names that they have in a model, with fresh weights."""
    clip, transformer, projector_sizes = config["clip"], config["decoder"], config["projector"]
    fine, width, coarse = config["fpn_out"]
    image = ClipImage(
        layers=clip["vision_layers"],
        width=clip["vision_width"],
        heads=clip["attention_pool_heads"],
        output_dim=clip["embed_dim"],
        resolution=clip["image_resolution"],
    )
    text = ClipText(
        clip["vocab_size"],
        mask_id=None,
        length=config["word_len"],
        layers=(clip["transformer_layers"], 0, 0, 0),
        width=clip["transformer_width"],
        heads=clip["transformer_heads"],
        embed_dim=clip["embed_dim"],
        context_length=clip["context_length"],
    )
    decoder = ClipNeck(
        image.channels,
        image.strides,
        text.width,
        text.sentence_width,
        width=width,
        layers=transformer["num_layers"],
        heads=transformer["nhead"],
        feed_forward=transformer["dim_ffn"],
        out_channels=projector_sizes["in_dim"],
        coarse_width=coarse,
        fine_width=fine,
    )
    head = SentenceKernel(
        decoder.channels,
        text.width,
        text.sentence_width,
        decoder.memory_channels,
        decoder.context_channels,
        kernel=projector_sizes["kernel_size"],
        scaled=False,
    )
    encoder = StagedEncoder(image, text, [None] * 4)
    return nn.ModuleDict({"encoder": encoder, "decoder": decoder, "head": head})


def _batch(images: Tensor, ids: Tensor) -> Batch:
    """One sentence an image; in CRIS id 0 is padding."""
    count = len(ids)
    return Batch(
        images=images,
        token_ids=ids,
        word_mask=ids != 0,
        word_index=torch.where((ids != 0) & (ids < ids.max() - 1), 0, -1),
        spans=torch.zeros(*ids.shape, 2, dtype=torch.long),
        image_index=torch.arange(count),
        original_size=torch.tensor([tuple(images.shape[-2:])] * count),
        to_network=torch.tensor([[[1.0, 0.0], [1.0, 0.0]]] * count, dtype=torch.float64),
        sentences=[""] * count,
    )
