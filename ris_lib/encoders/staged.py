"""Two towers and the fusion blocks between their stages.

Per stage, in this order: image stage, text group, fusion block. An image is encoded once, whatever the number of its
sentences, until the first fusion block makes one copy for each sentence.

Source: the order is that of MagNet's released code and of our CoupAlign; LAVT and LGFormer, which run BERT first, put
all of its layers into group 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

from torch import Tensor, nn

from ris_lib.contract import Batch, Encoded, FeatureMap
from ris_lib.encoders.recompute import run_block


class Tower(Protocol):
    """What both towers have.

    Attributes:
        recompute: See ``StagedEncoder.set_recompute``.
    """

    recompute: bool

    def load_start(self) -> None:
        """Read the published weights that ``start`` names; asked of a tower with a ``start`` only."""


class ImageTower(Tower, Protocol):
    """What an image tower has; where its stages cannot be told apart, see ``WholeImageTower``."""

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the four maps, fine to coarse."""
        ...

    @property
    def strides(self) -> tuple[int, ...]:
        """Input pixels per map pixel of the four maps."""
        ...

    @property
    def detail_channels(self) -> int | None:
        """Channels of the map for the detail merge, None where there is none."""
        ...

    @property
    def detail_stride(self) -> int | None:
        """Its input pixels per map pixel."""
        ...

    def stem(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """``(I, 3, H, W)`` -> what stage 0 takes, and the detail map or None."""
        ...

    def stage(self, k: int, x: Tensor) -> Tensor:
        """Stage ``k`` (0 to 3): ``(B, C_before, h, w)`` -> ``(B, channels[k], h', w')``."""
        ...


class WholeImageTower(Protocol):
    """What an image tower with ``separable = False`` has in place of ``stem`` and ``stage``."""

    def maps(self, images: Tensor) -> list[Tensor]:
        """``(I, 3, H, W)`` -> the four maps, fine to coarse."""
        ...


class TextTower(Tower, Protocol):
    """What a text tower has.

    Attributes:
        vocabulary_size: Number of token ids.
        width: Channels of a word, D.
        sentence_width: Channels of ``sentence``, E.
        last_group: Index of the last group that has layers; ``finish`` belongs after it.
    """

    vocabulary_size: int
    width: int
    sentence_width: int
    last_group: int

    def embed(
        self, token_ids: Tensor, word_mask: Tensor, hidden: Tensor | None = None, stand_in: Tensor | None = None
    ) -> Tensor:
        """``(S, L)`` -> ``(S, L, D)``; see ``ModelState.encode_text`` for ``hidden`` and ``stand_in``."""
        ...

    def group(self, k: int, words: Tensor, word_mask: Tensor) -> Tensor:
        """Layers of group ``k`` (0 to 3): ``(S, L, D)`` -> ``(S, L, D)``."""
        ...

    def finish(self, words: Tensor) -> Tensor:
        """What comes after the last group: ``(S, L, D)`` -> ``(S, L, D)``."""
        ...

    def sentence(self, words: Tensor, word_mask: Tensor, word_index: Tensor) -> Tensor:
        """Final words ``(S, L, D)`` -> ``(S, E)``."""
        ...

    def drop_sentence(self) -> None:
        """Leave out what only ``sentence`` needs: nobody will call it."""


class StagedEncoder(nn.Module):
    """An image tower, a text tower and one fusion block or None for each of the four stages.

    Args:
        image_tower: A module, see ``ImageTower``.
        text_tower: A module, see ``TextTower``.
        fusions: Four blocks or None.

    Raises:
        ValueError: Not four fusion entries, or a block inside an image tower that is not separable.

    Example:
        >>> from ris_lib.encoders.tiny_image import TinyImage
        >>> from ris_lib.encoders.tiny_text import TinyText
        >>> encoder = StagedEncoder(TinyImage(), TinyText(10, mask_id=2), [None] * 4)
        >>> encoder.channels
        (32, 64, 96, 96)
    """

    recompute = False

    def __init__(self, image_tower: ImageTower, text_tower: TextTower, fusions: Sequence[nn.Module | None]):
        super().__init__()
        if len(fusions) != 4:
            raise ValueError(f"StagedEncoder: {len(fusions)} fusion entries; expected four (a block or None a stage).")
        self.separable = getattr(image_tower, "separable", True)
        if not self.separable and any(fusions[:3]):
            raise ValueError(
                f"StagedEncoder: {type(image_tower).__name__} gives all of its maps at once, so words can join after "
                "its last stage only: fusion 'late' or 'none', or a list with a block at the fourth place alone."
            )
        self.image_tower = image_tower
        self.text_tower = text_tower
        self.fusions = nn.ModuleDict({str(k): block for k, block in enumerate(fusions) if block is not None})

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the four maps of the pyramid."""
        return self.image_tower.channels

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides of the four maps of the pyramid."""
        return self.image_tower.strides

    @property
    def can_start(self) -> bool:
        """Whether a tower names published weights to start from."""
        return any(getattr(tower, "start", None) for tower in (self.image_tower, self.text_tower))

    def set_recompute(self, on: bool) -> None:
        """While training, keep only what goes into each block of the towers and each fusion block, and compute the rest
        again in the backward pass: less memory, about a third more time, the same numbers.

        Args:
            on: Whether to.
        """
        for part in (self, self.image_tower, self.text_tower):
            part.recompute = on

    def load_start(self) -> None:
        """Read the published weights that the towers name, each through its own ``load_start``.

        Raises:
            ValueError: No tower names any, or they do not fit.
            FileNotFoundError: They are not on this machine and cannot be fetched.
        """
        if not self.can_start:
            names = " and ".join(type(tower).__name__ for tower in (self.image_tower, self.text_tower))
            raise ValueError(f"{names} name no published weights to start from: build a tower with start=...")
        for tower in (self.image_tower, self.text_tower):
            if getattr(tower, "start", None):
                tower.load_start()

    def encode_text(
        self, token_ids: Tensor, word_mask: Tensor, hidden: Tensor | None = None, stand_in: Tensor | None = None
    ) -> Tensor:
        """The text tower alone, without any fusion; see ``ModelState.encode_text``."""
        words = self.text_tower.embed(token_ids, word_mask, hidden, stand_in)
        for k in range(4):
            words = self._text_group(k, words, word_mask)
        return words

    def forward(
        self, batch: Batch, explain: bool = False, hidden: Tensor | None = None, stand_in: Tensor | None = None
    ) -> Encoded:
        """Encode a batch.

        Args:
            batch: Images, each once, and the sentences asked of them.
            explain: Fill ``Encoded.explanation`` with a list per name, one entry per fusion block.
            hidden: ``(S, L)`` bool, True = hide this token, from the fusion blocks too; None hides nothing.
            stand_in: See ``ModelState.encode_text``.
        """
        maps = None if self.separable else cast(WholeImageTower, self.image_tower).maps(batch.images)
        x, detail = self.image_tower.stem(batch.images) if self.separable else (batch.images, None)
        words = self.text_tower.embed(batch.token_ids, batch.word_mask, hidden, stand_in)
        pyramid, per_sentence, explanation = [], False, {}
        for k, stride in enumerate(self.strides):
            x = self.image_tower.stage(k, x) if maps is None else maps[k]
            image_map = FeatureMap(x, stride, per_sentence)
            words = self._text_group(k, words, batch.word_mask)
            if str(k) not in self.fusions:
                decoder_map, decoder_words = x, words
            else:
                if not per_sentence:
                    x, per_sentence = x[batch.image_index], True
                size = (x.shape[2], x.shape[3])
                given = (x.flatten(2).transpose(1, 2), size, words, batch.word_mask, explain)
                fused = run_block(self.fusions[str(k)], *given, recompute=self.recompute)
                x, decoder_map = (tokens.transpose(1, 2).unflatten(2, size) for tokens in (fused.pixels, fused.pyramid))
                words, decoder_words = fused.words, fused.decoder_words
                for name, value in fused.explanation.items():
                    explanation.setdefault(name, []).append(value)
            pyramid.append(FeatureMap(decoder_map, stride, per_sentence))
        return Encoded(
            pyramid=pyramid,
            words=decoder_words,
            sentence=self.text_tower.sentence(decoder_words, batch.word_mask, batch.word_index),
            word_mask=batch.word_mask,
            word_index=batch.word_index,
            image_index=batch.image_index,
            detail=_detail_map(detail, self.image_tower.detail_stride),
            explanation=explanation,
            image_map=image_map,
        )

    def _text_group(self, k: int, words: Tensor, word_mask: Tensor) -> Tensor:
        words = self.text_tower.group(k, words, word_mask)
        return self.text_tower.finish(words) if k == self.text_tower.last_group else words


def _detail_map(values: Tensor | None, stride: int | None) -> FeatureMap | None:
    """The map for the detail merge; a tower that makes one says its stride."""
    if values is None:
        return None
    if stride is None:
        raise ValueError("StagedEncoder: the image tower gives a detail map and has detail_stride=None; set it.")
    return FeatureMap(values, stride)
