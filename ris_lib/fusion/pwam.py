"""LAVT's fusion: every pixel gathers the words that describe it, and a gate decides how much of them goes on.

::

    words, pixels ─► WordsToPixels ─► residual ─┬─► ResidualGate ─► + pixels ─► next image stage
                                                └─► LayerNorm ─► decoder

Source: LAVT (Yang et al. 2022): the pixel-word attention module and the language gate, numerically equal to the
released code. The biases that cancel there are not built here: what is added at every position alike goes with an
instance norm's mean, and what is added to every key moves all scores of a pixel alike. Normalising over channels
instead of over positions is the form of MagNet's released code.
"""

from __future__ import annotations

from torch import Tensor, nn

from ris_lib.attention import attend, split_heads
from ris_lib.contract import ALL_READ, FusionOutput, Reads
from ris_lib.fusion.inputs import check_fusion_input
from ris_lib.instance_norm import InstanceNorm

#: The functions between the two matrices of a gate: LAVT's, and MagNet's for pixels.
GATE_ACTIVATIONS = {"relu": nn.ReLU, "gelu": nn.GELU}


class ResidualGate(nn.Module):
    """How much of a residual goes on: ``tanh(last(act(first(residual)))) * residual``, per position and channel.

    The last matrix starts at zero, so a new block leaves a pretrained encoder as it is; the first starts at random.
    With both at zero neither would ever get a gradient.

    Args:
        dim: Channels.
        activation: ``"relu"`` or ``"gelu"``.

    Shape:
        ``(S, n, dim)`` -> ``(S, n, dim)``.

    Raises:
        ValueError: Another activation.

    Source: LAVT's language gate; MagNet's released code has GELU for pixels. The start is our decision.

    Example:
        >>> import torch
        >>> ResidualGate(4)(torch.ones(1, 2, 4)).abs().sum().item()
        0.0
    """

    def __init__(self, dim: int, activation: str = "relu"):
        super().__init__()
        if activation not in GATE_ACTIVATIONS:
            raise ValueError(f"gate={activation!r} is unknown; expected {' or '.join(map(repr, GATE_ACTIVATIONS))}.")
        self.first = nn.Linear(dim, dim, bias=False)
        self.activation = GATE_ACTIVATIONS[activation]()
        self.last = nn.Linear(dim, dim, bias=False)
        nn.init.zeros_(self.last.weight)

    def forward(self, residual: Tensor) -> Tensor:
        """See the class."""
        return self.last(self.activation(self.first(residual))).tanh() * residual


class WordsToPixels(nn.Module):
    """For each pixel, the words that describe it, joined with what the pixel shows.

    With all channels C in the scale, whatever the number of heads::

        A = softmax over words(norm(W_q x) (W_k l)^T / sqrt(C)),  g = norm(W_o (A W_v l))
        residual = GELU(W_m (GELU(W_x x) * g))

    Args:
        pixel_dim: Channels of the pixels, C.
        word_dim: Channels of the words, D.
        heads: Must divide ``pixel_dim``.
        norm: ``"instance"`` (over positions, nothing learned; LAVT) or ``"layer"`` (over channels; MagNet).
        dropout: After either GELU.

    Shape:
        pixels ``(S, N, C)``, words ``(S, L, D)``, word_mask ``(S, L)`` bool, **True = real word** -> residual ``(S, N,
        C)`` and, with ``explain``, the weights ``(S, L, N)``, averaged over heads, which sum to 1 over L; else None.

    Raises:
        ValueError: ``heads`` does not divide ``pixel_dim``, another norm, or a single position with ``"instance"``.

    Example:
        >>> import torch
        >>> words = torch.zeros(1, 3, 6)
        >>> residual, _ = WordsToPixels(8, 6)(torch.zeros(1, 4, 8), words, torch.ones(1, 3, dtype=torch.bool))
        >>> residual.shape
        torch.Size([1, 4, 8])
    """

    def __init__(self, pixel_dim: int, word_dim: int, heads: int = 1, norm: str = "instance", dropout: float = 0.0):
        super().__init__()
        if pixel_dim % heads:
            raise ValueError(f"PWAM: pixel_dim={pixel_dim} is not a multiple of heads={heads}.")
        if norm not in ("instance", "layer"):
            raise ValueError(f"PWAM: norm={norm!r} is unknown; expected 'instance' or 'layer'.")
        over_positions = norm == "instance"
        self.heads = heads
        self.scale = pixel_dim**-0.5
        self.query = nn.Linear(pixel_dim, pixel_dim, bias=not over_positions)
        self.query_norm = self._norm(norm, pixel_dim)
        self.key = nn.Linear(word_dim, pixel_dim, bias=False)
        self.value = nn.Linear(word_dim, pixel_dim, bias=not over_positions)
        self.out = nn.Linear(pixel_dim, pixel_dim, bias=not over_positions)
        self.out_norm = self._norm(norm, pixel_dim)
        self.look = nn.Linear(pixel_dim, pixel_dim)
        self.mix = nn.Linear(pixel_dim, pixel_dim)
        self.activation = nn.Sequential(nn.GELU(), nn.Dropout(dropout))

    @staticmethod
    def _norm(kind: str, dim: int) -> nn.Module:
        if kind == "layer":
            return nn.LayerNorm(dim)
        return InstanceNorm("PWAM", "use a larger image, or norm='layer'")

    def gather(
        self, pixels: Tensor, words: Tensor, word_mask: Tensor, explain: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """The attention alone, g of the formula, ``(S, N, C)``; and the weights, see the class.

        Padding needs no further care: its weight is exactly 0. (The released code also multiplies keys and values by
        the mask.)
        """
        mixed, weights = attend(
            split_heads(self.query_norm(self.query(pixels)), self.heads),
            split_heads(self.key(words), self.heads),
            split_heads(self.value(words), self.heads),
            mask=word_mask,
            scale=self.scale,
            explain=explain,
        )
        gathered = self.out_norm(self.out(mixed.transpose(1, 2).flatten(2)))
        return gathered, None if weights is None else weights.mean(dim=1).transpose(1, 2)

    def forward(
        self, pixels: Tensor, words: Tensor, word_mask: Tensor, explain: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """See the class."""
        gathered, weights = self.gather(pixels, words, word_mask, explain)
        return self.activation(self.mix(self.activation(self.look(pixels)) * gathered)), weights


class PWAM(nn.Module):
    """LAVT's fusion block: pixel-word attention, and a gate into the next image stage.

    Args:
        pixel_dim: Channels of the pixels, C.
        word_dim: Channels of the words, D.
        heads: Heads of the attention; must divide ``pixel_dim``.
        norm: See ``WordsToPixels``. ``"instance"`` is LAVT's, and cannot work on a map of one position.
        gate: See ``ResidualGate``. ``"relu"`` is LAVT's.
        dropout: See ``WordsToPixels``; 0 in LAVT.
        reads: What is read of this block: without ``pixels`` there is no gate, without ``pyramid`` no final norm.

    Shape:
        - pixels: ``(S, N, C)``, N = height * width of the map
        - size: ``(height, width)``
        - words: ``(S, L, D)``
        - word_mask: ``(S, L)`` bool, **True = real word**; at least one True in each row
        - returns: ``FusionOutput``: ``pixels`` plus the gated residual, the residual after a LayerNorm as ``pyramid``,
          and the words unchanged, for the next group and for the decoder

    Raises:
        ValueError: An option that is not known, shapes that do not fit, a word mask that is not boolean or hides a
            whole sentence, a single position with ``norm="instance"``, or neither pixels nor pyramid are read.

    Example:
        >>> import torch
        >>> block = PWAM(pixel_dim=8, word_dim=6)
        >>> pixels, words = torch.randn(1, 4, 8), torch.randn(1, 3, 6)
        >>> fused = block(pixels, (2, 2), words, torch.ones(1, 3, dtype=torch.bool))
        >>> fused.pyramid.shape, torch.equal(fused.pixels, pixels)  # the gate starts closed
        (torch.Size([1, 4, 8]), True)
    """

    #: The stages (0 to 3) at which a recipe puts this block when it is asked for by name alone.
    default_stages = (0, 1, 2, 3)

    def __init__(
        self,
        pixel_dim: int,
        word_dim: int,
        heads: int = 1,
        norm: str = "instance",
        gate: str = "relu",
        dropout: float = 0.0,
        reads: Reads = ALL_READ,
    ):
        super().__init__()
        if not (reads.pixels or reads.pyramid):
            raise ValueError("PWAM: neither its pixels nor its map is read; leave the block out at this stage.")
        self.dims = (pixel_dim, word_dim)
        self.residual = WordsToPixels(pixel_dim, word_dim, heads, norm, dropout)
        self.gate = ResidualGate(pixel_dim, gate) if reads.pixels else None
        self.norm = nn.LayerNorm(pixel_dim) if reads.pyramid else None

    def forward(
        self, pixels: Tensor, size: tuple[int, int], words: Tensor, word_mask: Tensor, explain: bool = False
    ) -> FusionOutput:
        """See the class. ``explain`` gives ``word_pixel_attention (S, L, h, w)``."""
        check_fusion_input("PWAM", pixels, size, words, word_mask, self.dims)
        residual, weights = self.residual(pixels, words, word_mask, explain)
        return FusionOutput(
            pixels=pixels if self.gate is None else pixels + self.gate(residual),
            words=words,
            pyramid=pixels if self.norm is None else self.norm(residual),
            decoder_words=words,
            explanation={} if weights is None else {"word_pixel_attention": weights.unflatten(2, size)},
        )
