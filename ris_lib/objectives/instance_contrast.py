"""Cross-modal instance contrast: a sentence's centre must be nearest to the region that it means.

Comparing every pixel with the sentence makes each uncertain pixel of an outline a full example. Here regions are
compared: the target's pixels are averaged to one vector, the rest of the picture to another, and a band along the
outline, where nobody knows, is left out of both.

::

    text to region:  -log  e(c_i, v_i+) / (e(c_i, v_i+) + sum_j e(c_i, v_j+) + sum_j e(c_i, v_j-))
    region to text:  -log  e(v_i+, c_i) / (e(v_i+, c_i) + sum_j e(v_i+, c_j))        e(a, b) = exp(cos(a, b) / tau)

c is a centre, v+ a target's mean pixel, v- the mean pixel of the rest of its picture.
The background of the same picture is the hardest negative: it holds the other objects of the same kind.

Source: that AlignFormer has a contrastive loss across modalities, at the level of instances, against pixels in
ambiguous regions, is published (abstract). The formula, the negatives, the band and the weight are our decision; the
temperature is where CLIP's starts (Radford et al. 2021).
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ris_lib.attention import additive_mask
from ris_lib.contract import Batch, Dims, LossTerm, ModelState
from ris_lib.layers import at_least_float32
from ris_lib.processes import gather_rows, places

NEGATIVES = ("all", "instances", "backgrounds")


def masks_on_grid(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Bring masks to a coarse grid without losing small objects.

    Args:
        masks: ``(S, H, W)`` bool.
        size: ``(h, w)`` of the grid.

    Returns:
        ``(S, h, w)`` bool: cells that the mask covers by half or more. A mask that covers no cell by half keeps the
        cell that it covers most; an empty one stays empty.

    Example:
        >>> mask = torch.zeros(1, 4, 4, dtype=torch.bool)
        >>> mask[0, 3, 3] = True  # a sixteenth of the picture
        >>> masks_on_grid(mask, (2, 2)).int().tolist()
        [[[0, 0], [0, 1]]]
    """
    share = F.adaptive_avg_pool2d(masks[:, None].float(), size)[:, 0]
    fullest = F.one_hot(share.flatten(1).argmax(dim=1), share[0].numel()).unflatten(1, share.shape[1:]).bool()
    covered = share >= 0.5
    lost = ~covered.flatten(1).any(dim=1) & masks.flatten(1).any(dim=1)
    return covered | (fullest & lost[:, None, None])


def without_band(region: Tensor, band: int) -> Tensor:
    """Take the cells next to the region's outline out of it.

    Args:
        region: ``(S, h, w)`` bool.
        band: Width of the band in cells on this side of the outline; 0 takes nothing. The picture's border is no
            outline.

    Returns:
        ``(S, h, w)`` bool; where nothing would be left, the region as it came.

    Example:
        >>> row = torch.tensor([[[True, True, True, False]], [[False, True, False, False]]])
        >>> without_band(row, 1).int().flatten(1).tolist()
        [[1, 1, 0, 0], [0, 1, 0, 0]]
    """
    if band == 0:
        return region
    outside = F.max_pool2d((~region)[:, None].float(), 2 * band + 1, stride=1, padding=band)[:, 0] > 0
    core = region & ~outside
    return torch.where(core.flatten(1).any(dim=1)[:, None, None], core, region)


class InstanceContrast(nn.Module):
    """Contrast centres with pooled regions, in both directions.

    Negatives come from the batches of all processes, gathered with their gradients: many processes compute what one
    would with all of their samples. Parts of a step that are computed one after the other (accumulation) do not meet.
    At a batch of one only backgrounds are left: say the batch size with any result.

    - Another sample is a negative if its annotated instance differs (``Batch.referent_id``). Two sentences about one
      object are not negatives, whatever picture index they carry.
    - A background is a negative of its own sentence, of other sentences about the same instance, and of sentences about
      other pictures. The backgrounds of *other* referents of the same picture are not: they contain the target.

    Args:
        dims: Channel counts of the model. Where the head makes no centre (``dims.centre`` False), a learned projection
            of the sentence stands in for it.
        temperature: tau, above 0.
        band: Cells left out on each side of the outline, at the stride of ``finest``; 0 leaves nothing out.
        negatives: ``"all"``, or only other ``"instances"``, or only ``"backgrounds"``.

    Attributes:
        reads: ``centre`` or ``sentence``.

    Shape:
        ``ModelState`` and a ``Batch`` with masks and referents -> ``{"instance_contrast": LossTerm}``: the sum of half
        of both directions over samples and their number, in float32 also within autocast. A sample with an empty mask,
        or without a single negative, is not counted; a full mask has no background. Vectors are normalised on copies.

    Raises:
        ValueError: A temperature that is not positive, a negative band, an unknown choice of negatives, a batch without
            masks or referents, or a centre that is not in the space of ``finest``.

    Example:
        >>> dims = Dims((8,) * 4, finest=8, memory=(), context=None, word=6, sentence=6, vocabulary_size=9, centre=True)
        >>> sorted(InstanceContrast(dims).reads), list(InstanceContrast(dims).parameters())
        (['centre'], [])
    """

    #: Its loss, and the weight where a recipe does not say otherwise (ours: AlignFormer's was not found).
    default_weights: ClassVar[dict[str, float]] = {"instance_contrast": 0.1}
    reads: frozenset[str]

    def __init__(self, dims: Dims, temperature: float = 0.07, band: int = 1, negatives: str = "all"):
        super().__init__()
        if temperature <= 0 or band < 0 or negatives not in NEGATIVES:
            raise ValueError(
                f"InstanceContrast: temperature={temperature}, band={band}, negatives={negatives!r}; expected a "
                f"positive temperature, a band of 0 or more cells, and one of {NEGATIVES}."
            )
        self.temperature, self.band, self.negatives = temperature, band, negatives
        self.reads = frozenset({"centre"} if dims.centre else {"sentence"})
        self.project = None if dims.centre else nn.Linear(dims.sentence, dims.finest)

    def forward(self, state: ModelState, batch: Batch) -> dict[str, LossTerm]:
        """See the class."""
        if batch.masks is None or batch.referent_id is None:
            raise ValueError(
                "InstanceContrast: the batch has no masks or no referent_id; collate it with_targets=True."
            )
        pixels = state.features.finest
        centre = state.output.centre if self.project is None else self.project(state.encoded.sentence)
        if centre is None or centre.shape != pixels.shape[:2]:
            came = None if centre is None else tuple(centre.shape)
            raise ValueError(f"InstanceContrast: centre {came}; expected {tuple(pixels.shape[:2])} like the pixels'.")
        with torch.autocast(pixels.device.type, enabled=False):
            target = masks_on_grid(batch.masks, (pixels.shape[2], pixels.shape[3]))
            term = self._contrast(at_least_float32(centre), at_least_float32(pixels), target, batch)
            return {"instance_contrast": term}

    def _contrast(self, centre: Tensor, pixels: Tensor, target: Tensor, batch: Batch) -> LossTerm:
        text = F.normalize(centre, dim=1)
        inside, has_inside = self._pool(pixels, target)
        outside, has_outside = self._pool(pixels, ~target)
        sentences, pictures = places([len(text), len(batch.images)], text.device)
        # One number for each picture of any process, and which samples count: of all processes from here on.
        facts = [batch.referent_id, batch.image_index + pictures.before, has_inside.long(), has_outside.long()]
        referents, picture, *has = gather_rows(torch.stack(facts, dim=1), sentences).unbind(1)
        has_inside, has_outside = (flag.bool() for flag in has)
        text, inside, outside = (gather_rows(vectors, sentences) for vectors in (text, inside, outside))
        same = referents[:, None] == referents
        others, backgrounds = ~same & has_inside, (same | (picture[:, None] != picture)) & has_outside
        if self.negatives == "instances":
            backgrounds = torch.zeros_like(backgrounds)
        elif self.negatives == "backgrounds":
            others = torch.zeros_like(others)
        allowed = others | torch.eye(len(same), dtype=torch.bool, device=same.device)
        scores = text @ inside.T / self.temperature
        against = torch.cat(
            [
                scores + additive_mask(allowed, scores.dtype),
                text @ outside.T / self.temperature + additive_mask(backgrounds, scores.dtype),
            ],
            dim=1,
        )
        own = scores.diagonal()
        to_region = against.logsumexp(dim=1) - own
        to_text = (scores.T + additive_mask(allowed, scores.dtype)).logsumexp(dim=1) - own
        counted = has_inside & (others | backgrounds).any(dim=1)
        total, counted = (0.5 * (to_region + to_text) * counted)[sentences.own], counted[sentences.own]
        return LossTerm(total.sum(), counted.sum().to(scores.dtype))

    def _pool(self, pixels: Tensor, region: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised mean of the region without its band ``(S, C)``, and whether there is a region ``(S,)`` bool."""
        weight = without_band(region, self.band).flatten(1).to(pixels.dtype)
        total = torch.einsum("scn,sn->sc", pixels.flatten(2), weight)
        area = weight.sum(dim=1)
        return F.normalize(total / area.clamp(min=1)[:, None], dim=1), area > 0
