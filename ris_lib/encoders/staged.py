"""Two towers and the fusion blocks between their stages.

Per stage, in this order: image stage, text group, fusion block. An image is encoded once, whatever the number of its
sentences, until the first fusion block makes one copy for each sentence.

Source: the order is that of MagNet's released code and of our CoupAlign; LAVT and LGFormer, which run BERT first, put
all of its layers into group 1.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ris_lib.contract import Batch, Encoded, FeatureMap
from ris_lib.encoders.recompute import run_block


class StagedEncoder(nn.Module):
    """An image tower, a text tower and one fusion block or None for each of the four stages.

    Args:
        image_tower: Has ``channels``, ``strides``, ``detail_channels``, ``detail_stride``, ``stem(images)`` and
            ``stage(k, x)``. One whose stages cannot be told apart (``separable = False``) has ``maps(images)`` instead:
            all four at once.
        text_tower: Has ``width``, ``sentence_width``, ``last_group``, ``embed``, ``group``, ``finish``, ``sentence``.
            Both towers have ``recompute``.
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

    def __init__(self, image_tower: nn.Module, text_tower: nn.Module, fusions: Sequence[nn.Module | None]):
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
        maps = None if self.separable else self.image_tower.maps(batch.images)
        x, detail = self.image_tower.stem(batch.images) if self.separable else (None, None)
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
            detail=None if detail is None else FeatureMap(detail, self.image_tower.detail_stride),
            explanation=explanation,
            image_map=image_map,
        )

    def _text_group(self, k: int, words: Tensor, word_mask: Tensor) -> Tensor:
        words = self.text_tower.group(k, words, word_mask)
        return self.text_tower.finish(words) if k == self.text_tower.last_group else words
