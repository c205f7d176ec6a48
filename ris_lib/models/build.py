"""From a configuration to a model: parts are looked up by name, given their sizes, and checked against one another."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from ris_lib._names import unknown
from ris_lib.contract import Dims, Reads
from ris_lib.data.tokenizers import tokenizer_from_config
from ris_lib.decoders import DECODERS, DetailMerge
from ris_lib.encoders import IMAGE_TOWERS, TEXT_TOWERS, ImageTower, StagedEncoder, TextTower
from ris_lib.fusion import FUSIONS
from ris_lib.heads import HEADS
from ris_lib.models.config import ModelConfig
from ris_lib.models.segmenter import ReferringSegmenter
from ris_lib.objectives import OBJECTIVES

#: What an objective may read that every model has.
ENCODED = frozenset({"words", "sentence"})

Part = TypeVar("Part")


def build(config: ModelConfig) -> ReferringSegmenter:
    """Make the model that a configuration describes, with fresh weights.

    Args:
        config: Names and options of the parts.

    Raises:
        ValueError: There is no part of such a name (the nearest are listed), a part has no such option, or two parts do
            not fit together.

    Example:
        >>> from ris_lib.models import recipe
        >>> build(recipe("baseline_tiny")).head.kernel.out_channels
        1
    """
    tokenizer = tokenizer_from_config(config.tokenizer)
    image = _make("image tower", IMAGE_TOWERS, config.image_tower)
    text = _make(
        "text tower",
        TEXT_TOWERS,
        config.text_tower,
        vocabulary_size=tokenizer.vocabulary_size,
        mask_id=tokenizer.mask_id,
        length=tokenizer.length,
    )
    decoder = _make(
        "decoder",
        DECODERS,
        config.decoder,
        in_channels=image.channels,
        in_strides=image.strides,
        word_dim=text.width,
        sentence_dim=text.sentence_width,
    )
    merge = _merge(config.merge, image, decoder.channels)
    head = _make(
        "head",
        HEADS,
        config.head,
        channels=(merge or decoder).channels,
        word_dim=text.width,
        sentence_dim=text.sentence_width,
        memory_channels=decoder.memory_channels,
        context_channels=decoder.context_channels,
    )
    dims = Dims(
        pyramid=tuple(image.channels),
        finest=(merge or decoder).channels,
        memory=tuple(decoder.memory_channels),
        context=decoder.context_channels,
        word=text.width,
        sentence=text.sentence_width,
        vocabulary_size=tokenizer.vocabulary_size,
        mask_id=tokenizer.mask_id,
        centre="centre" in head.fills,
    )
    objectives, weights = _objectives(config, head.fills, dims)
    read = set(decoder.reads | head.reads).union(*(objective.reads for objective in objectives.values()))
    if "sentence" not in read:
        text.drop_sentence()
    fusions = [
        None
        if spec is None
        else _make(
            "fusion block",
            FUSIONS,
            spec,
            pixel_dim=channels,
            word_dim=text.width,
            reads=_reads(k, config, decoder.maps, read),
        )
        for k, (spec, channels) in enumerate(zip(config.fusion, image.channels))
    ]
    _check_listening(config, text, decoder.reads | head.reads)
    return ReferringSegmenter(
        StagedEncoder(image, text, fusions), decoder, head, objectives, weights, merge=merge, config=config
    )


def _reads(k: int, config: ModelConfig, maps: Sequence[int], read: set[str]) -> Reads:
    """What is read of the fusion block at stage ``k``."""
    at_the_end = bool(read & {"words", "sentence"})
    return Reads(
        pixels=k < 3,
        words=k < 3 and (at_the_end or any(config.fusion[k + 1 :])),
        pyramid=k in maps,
        decoder_words=k == 3 and at_the_end,
    )


def _check_listening(config: ModelConfig, text: TextTower, read: frozenset[str]) -> None:
    """Refuse a model that does not listen, and layers of the text tower that nobody reads."""
    if read & {"words", "sentence"}:
        return
    last_block = max((k for k, spec in enumerate(config.fusion) if spec), default=-1)
    if last_block < text.last_group:
        raise ValueError(
            f"nobody reads the words after text group {text.last_group + 1}: the last fusion block stands at stage "
            f"{last_block + 1 if last_block >= 0 else 'none'}, and neither decoder {config.decoder['name']!r} nor head "
            f"{config.head['name']!r} listens. Add a fusion block there, or take a head that listens."
        )


def _make(kind: str, registry: Mapping[str, type[Part]], spec: Mapping[str, Any], **given: Any) -> Part:
    """Build one part; its options are checked against the constructor's arguments."""
    options = dict(spec)
    name = options.pop("name", None)
    if name not in registry:
        raise unknown(kind, name, registry)
    known = [option for option in inspect.signature(registry[name]).parameters if option not in given]
    for option in options:
        if option not in known:
            raise unknown("option", option, known, of=f"{kind} {name!r}")
    try:
        return registry[name](**given, **options)
    except TypeError as error:
        raise ValueError(f"{kind} {name!r} with {options or 'its default options'}: {error}") from error


def _merge(spec: Mapping[str, Any] | None, image: ImageTower, channels: int) -> DetailMerge | None:
    """The detail merge, where the configuration asks for one."""
    if spec is None:
        return None
    if image.detail_channels is None:
        raise ValueError(
            f"merge={spec} needs a detail map, and {type(image).__name__} has none; set merge=None, or take the image "
            "tower 'tiny'."
        )
    if set(spec) != {"channels"}:
        raise ValueError(f"merge={spec}; expected {{'channels': C}} or None.")
    return DetailMerge(channels, image.detail_channels, spec["channels"])


def _objectives(config: ModelConfig, fills: frozenset[str], dims: Dims) -> tuple[dict[str, Any], dict[str, float]]:
    """The objectives by name, and the weights of all their losses."""
    objectives, weights = {}, {}
    for name, spec in config.objectives.items():
        options = dict(spec)
        changed = options.pop("weights", {})
        objective = _make("objective", OBJECTIVES, {"name": name, **options}, dims=dims)
        lacking = sorted(objective.reads - fills - ENCODED)
        if lacking:
            raise ValueError(
                f"objective {name!r} reads {', '.join(lacking)}, which head {config.head['name']!r} does not fill; "
                "take another head or leave the objective out."
            )
        for term in changed:
            if term not in objective.default_weights:
                raise unknown("loss", term, objective.default_weights, of=f"objective {name!r}")
        objectives[name] = objective
        weights.update({**objective.default_weights, **changed})
    return objectives, weights
