"""Pixel contrast: pixels of the target should look like one another, and like nothing else in their picture.

::

    z_x = W_z S(x), at unit length;    c = mean of z over the target P, at unit length
    loss = -1/|P| sum_{i in P} log( e^(z_i c / tau) / (e^(z_i c / tau) + sum_{j not in P} e^(z_i z_j / tau)) )

Source: that an auxiliary loss contrasts foreground with background pixels is CoupAlign's (Zhang et al. 2022, abstract);
its formula, temperature and weight could not be read. This one, of the InfoNCE family (Oord et al. 2018), with
temperature 0.1 and weight 0.1, is our decision. Only pixels of *one* picture are compared: what lies behind another
target says nothing about this sentence.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ris_lib.attention import additive_mask
from ris_lib.contract import Batch, Dims, LossTerm, ModelState
from ris_lib.layers import at_least_float32
from ris_lib.objectives.pixel_samples import sample_pixels, targets_on_grid

#: Shortest length that is brought to one. Features behind a ReLU can be zero, and the direction of a nearly zero vector
#: has a gradient without bound; an ordinary one is longer by orders of magnitude.
SHORTEST = 1e-2
#: Pairs of pixels that are held at once: 32 MB of float32.
PAIRS = 2**23


class PairSums(torch.autograd.Function):
    """``log sum_j exp(<x_i, y_j> / tau)`` for each i; products are not kept, the backward pass computes them again.

    ``PairSums.apply(inside (S, c, p), outside (S, c, q), real_out (S, q) bool, temperature)`` -> ``(S, p)``. Only a few
    sentences' products, ``PAIRS`` numbers, are there at a time; columns of ``outside`` that are not real are left out.

    Example:
        >>> inside, outside = torch.eye(2)[None, :, :1], torch.eye(2)[None]
        >>> sums = PairSums.apply(inside, outside, torch.tensor([[True, True]]), 1.0)
        >>> round(sums.exp().item(), 4)  # e^1 + e^0
        3.7183
    """

    @staticmethod
    def forward(ctx: Any, inside: Tensor, outside: Tensor, real_out: Tensor, temperature: float) -> Tensor:
        """See the class."""
        chunks = _chunks(inside, outside, real_out)
        sums = torch.cat([_similarities(*chunk, temperature=temperature).logsumexp(dim=2) for chunk in chunks])
        ctx.save_for_backward(inside, outside, real_out, sums)
        ctx.temperature = temperature
        return sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """The derivative of a log-sum-exp is a softmax: each vector gathers those that it was compared with."""
        inside, outside, real_out, sums = ctx.saved_tensors
        to_inside, to_outside = [], []
        for x, y, real, total, grad in _chunks(inside, outside, real_out, sums, gradient / ctx.temperature):
            weights = _similarities(x, y, real, ctx.temperature).sub_(total[..., None]).exp_().mul_(grad[..., None])
            to_inside.append(y @ weights.transpose(1, 2))
            to_outside.append(x @ weights)
        return torch.cat(to_inside), torch.cat(to_outside), None, None


def _chunks(inside: Tensor, outside: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """As many sentences at a time as ``PAIRS`` allows, at least one."""
    rows = max(1, PAIRS // (inside.shape[2] * outside.shape[2]))
    return zip(*(x.split(rows) for x in (inside, outside, *others)))


def _similarities(inside: Tensor, outside: Tensor, real_out: Tensor, temperature: float) -> Tensor:
    """``(S, p, q)``, blocked where a column is not real."""
    blocked = additive_mask(real_out, inside.dtype)[:, None]
    return torch.baddbmm(blocked, inside.transpose(1, 2), outside, alpha=1 / temperature)


def contrast(inside: Tensor, outside: Tensor, real_in: Tensor, real_out: Tensor, temperature: float) -> Tensor:
    """The loss of each sentence.

    Args:
        inside: ``(S, c, p)`` unit vectors of pixels inside of the target.
        outside: ``(S, c, q)`` unit vectors of pixels outside.
        real_in: ``(S, p)`` bool, which columns of ``inside`` count.
        real_out: ``(S, q)`` bool, which columns of ``outside`` count.
        temperature: tau, above 0.

    Returns:
        ``(S,)``, at least 0; 0 where nothing counts on one of the sides. The gradient flows through the mean as well.

    Example:
        >>> inside, outside = torch.eye(2)[None, :, :1], torch.eye(2)[None, :, 1:]
        >>> real = torch.ones(1, 1, dtype=torch.bool)
        >>> loss = contrast(inside, outside, real, real, temperature=1.0)
        >>> round(loss.item(), 4)  # log(1 + e^-1)
        0.3133
    """
    share = real_in.to(inside.dtype) / real_in.sum(dim=1, keepdim=True).clamp(min=1)
    centre = F.normalize(torch.einsum("scp,sp->sc", inside, share), dim=1, eps=SHORTEST)
    positive = torch.einsum("scp,sc->sp", inside, centre) / temperature
    negative = PairSums.apply(inside, outside, real_out, temperature)
    return (F.softplus(negative - positive) * share).sum(dim=1)  # log(e^a + e^b) - a = softplus(b - a)


class PixelContrast(nn.Module):
    """``pixel_contrast``: bring pixels of the target together and away from the rest of their picture.

    The target is brought to the grid of ``PixelFeatures.finest`` by nearest neighbour. At most ``limit`` pixels of each
    side are drawn from torch's random numbers in each call, the mean is theirs too. Pairs are never held for more than
    a few sentences: 64 sentences of 1024 x 1024 pairs and 64 channels took 0.25 GB, the features' gradient included,
    where autograd alone took 1.1 GB.

    Args:
        dims: Channel counts of the model.
        temperature: tau, above 0.
        width: Channels of the projection W_z, in which pixels are compared.
        limit: Most pixels from each side.
        symmetric: Also contrast the background with the target, and take the mean of both.

    Shape:
        ``ModelState`` and a ``Batch`` with masks -> ``{"pixel_contrast": LossTerm}``: the sum over sentences, and the
        number of those that were compared; in float32 also within autocast. A sentence whose mask is empty or full on
        the grid adds exactly 0 and is not counted.

    Raises:
        ValueError: An option that is not above 0; the batch has no masks; features of other channels than announced.

    Example:
        >>> dims = Dims(pyramid=(8, 8, 8, 8), finest=8, memory=(), context=None, word=6, sentence=6, vocabulary_size=9)
        >>> PixelContrast(dims, width=4).project.weight.shape
        torch.Size([4, 8, 1])
    """

    #: Its losses by name, and their weights where a recipe does not say otherwise.
    default_weights: ClassVar[dict[str, float]] = {"pixel_contrast": 0.1}
    #: What it reads in ``MaskOutput`` beside the logits, and whether ``words`` or ``sentence`` of ``Encoded``.
    reads: ClassVar[frozenset[str]] = frozenset()

    def __init__(
        self, dims: Dims, temperature: float = 0.1, width: int = 64, limit: int = 1024, symmetric: bool = False
    ):
        super().__init__()
        if temperature <= 0 or width < 1 or limit < 1:
            raise ValueError(
                f"PixelContrast: temperature={temperature}, width={width}, limit={limit}; all must be above 0."
            )
        self.temperature, self.limit, self.symmetric = temperature, limit, symmetric
        self.project = nn.Conv1d(dims.finest, width, 1, bias=False)

    def forward(self, state: ModelState, batch: Batch) -> dict[str, LossTerm]:
        """See the class."""
        if batch.masks is None:
            raise ValueError("PixelContrast: the batch has no masks; collate it with_targets=True to get losses.")
        finest = state.features.finest
        if finest.shape[:2] != (len(batch.masks), self.project.in_channels):
            raise ValueError(
                f"PixelContrast: finest has shape {tuple(finest.shape)}; expected {len(batch.masks)} maps, one for "
                f"each mask, of {self.project.in_channels} channels."
            )
        target = targets_on_grid(batch.masks, tuple(finest.shape[2:]))
        sides = [self._draw(candidates) for candidates in (target, ~target)]
        positions, real = zip(*sides)
        with torch.autocast(finest.device.type, enabled=False):
            # Drawn first and projected then: 2048 pixels instead of 14400, and no copy of the whole map in float32.
            drawn = finest.flatten(2).gather(2, torch.cat(positions, dim=1)[:, None].expand(-1, finest.shape[1], -1))
            vectors = F.normalize(
                F.conv1d(at_least_float32(drawn), at_least_float32(self.project.weight)), dim=1, eps=SHORTEST
            )
            inside, outside = vectors.split([p.shape[1] for p in positions], dim=2)
            loss = contrast(inside, outside, *real, temperature=self.temperature)
            if self.symmetric:
                loss = (loss + contrast(outside, inside, *real[::-1], temperature=self.temperature)) / 2
            comparable = real[0].any(dim=1) & real[1].any(dim=1)
            return {"pixel_contrast": LossTerm(loss.sum(), comparable.sum().float())}

    def _draw(self, candidates: Tensor) -> tuple[Tensor, Tensor]:
        """As ``sample_pixels``, without the columns that count for no sentence: a small target has few pixels."""
        positions, real = sample_pixels(candidates, self.limit)
        used = max(1, int(real.sum(dim=1).max()))
        return positions[:, :used], real[:, :used]
