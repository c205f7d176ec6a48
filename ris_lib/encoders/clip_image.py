"""CLIP's residual network as a pyramid: the image tower of CRIS and of our EAVL.

::

    image (H, W) -> three-convolution stem, stride 4 -> layer1 -> layer2 -> layer3 -> layer4 + attention pool
                                                        stride 4   8         16        32

CLIP ends in an attention pool that turns the last map into one vector. Here the pool keeps the map: every place asks,
not the mean of all places.

Source: network and weights of Radford et al. 2021 (CLIP), its residual stages through open_clip; the pool that keeps
the grid is that of CRIS (Wang et al. 2022), of its released code.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ris_lib.attention import attend
from ris_lib.encoders.clip_start import clip_sizes, clip_weights, load_clip
from ris_lib.encoders.recompute import run_block, run_blocks


class GridAttentionPool(nn.Module):
    """Attention among all places of a map, into the space where CLIP compares images with sentences.

    Against CLIP's own pool: the token with the mean of the map is left out, and with it the first row of the table of
    positions; every place is a query; the table is resized to the map's size (bicubic); a 1x1 convolution with batch
    norm runs beside the attention, and a ReLU follows their sum.

    Args:
        side: The table of positions is made for maps of ``side x side``.
        dim: Channels that come.
        heads: Heads; must divide ``dim``.
        output_dim: Channels that go.

    Shape:
        ``(B, dim, h, w)`` -> ``(B, output_dim, h, w)``, any h and w.

    Raises:
        ValueError: ``dim`` is not a multiple of ``heads``.

    Example:
        >>> GridAttentionPool(7, dim=8, heads=2, output_dim=6)(torch.zeros(2, 8, 3, 5)).shape
        torch.Size([2, 6, 3, 5])
    """

    def __init__(self, side: int, dim: int, heads: int, output_dim: int):
        super().__init__()
        if dim % heads:
            raise ValueError(f"GridAttentionPool: {dim} channels are not a multiple of heads={heads}.")
        self.heads = heads
        self.positional_embedding = nn.Parameter(torch.randn(side * side, dim) / dim**0.5)
        self.k_proj = nn.Linear(dim, dim)
        self.q_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.c_proj = nn.Linear(dim, output_dim)
        for layer in (self.k_proj, self.q_proj, self.v_proj, self.c_proj):
            nn.init.normal_(layer.weight, std=dim**-0.5)
        self.connect = nn.Sequential(nn.Conv2d(dim, output_dim, 1, bias=False), nn.BatchNorm2d(output_dim))

    def positions(self, size: tuple[int, int]) -> Tensor:
        """The table resized to a map of ``size`` (h, w): ``(h * w, dim)``."""
        side = math.isqrt(len(self.positional_embedding))
        if tuple(size) == (side, side):
            return self.positional_embedding
        grid = self.positional_embedding.transpose(0, 1).unflatten(1, (side, side))[None]
        return F.interpolate(grid, size=size, mode="bicubic", align_corners=False)[0].flatten(1).transpose(0, 1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        size = (x.shape[2], x.shape[3])
        places = x.flatten(2).transpose(1, 2) + self.positions(size)
        query, key, value = (
            layer(places).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed, _ = attend(query, key, value)
        pooled = self.c_proj(mixed.transpose(1, 2).flatten(2)).transpose(1, 2).unflatten(2, size)
        return F.relu(pooled + self.connect(x))


class ClipImage(nn.Module):
    """CLIP's ResNet-50 or ResNet-101 in four stages.

    Args:
        model: ``"RN50"`` or ``"RN101"``: the sizes that the following options do not set, and the weights that
            ``load_start`` fetches.
        layers: Bottlenecks of the four stages; None = the model's.
        width: Channels after the stem; the stages have 4, 8, 16 and 32 times as many.
        heads: Heads of the attention pool; None = one for each 64 channels, as in CLIP.
        output_dim: Channels after the pool; None = the model's.
        resolution: Side in pixels of the pictures for which the table of positions was learned. Other sizes work: the
            table is resized.
        start: None, ``"openai"``, or a path; see ``ris_lib.encoders.clip_start``. The constructor reads nothing.

    Attributes:
        channels: Channels of the four maps.
        strides: (4, 8, 16, 32); sizes are rounded down.
        detail_channels: None: there is no stride-2 map for the detail merge.
        recompute: Compute bottlenecks and the pool again in the backward pass; see ``StagedEncoder.set_recompute``.

    Raises:
        ValueError: Another model, or sizes that do not fit one another.

    Example:
        >>> tower = ClipImage(layers=(1, 1, 1, 1), width=8, heads=4, output_dim=24, resolution=64)
        >>> x, detail = tower.stem(torch.zeros(1, 3, 64, 96))
        >>> for k in range(4):
        ...     x = tower.stage(k, x)
        >>> x.shape, detail, tower.channels
        (torch.Size([1, 24, 2, 3]), None, (32, 64, 128, 24))
    """

    strides = (4, 8, 16, 32)
    detail_channels = None
    detail_stride = None
    recompute = False

    def __init__(
        self,
        model: str = "RN50",
        layers: Sequence[int] | None = None,
        width: int = 64,
        heads: int | None = None,
        output_dim: int | None = None,
        resolution: int = 224,
        start: str | None = None,
    ):
        from open_clip.modified_resnet import ModifiedResNet

        super().__init__()
        sizes = clip_sizes(model)
        layers = tuple(sizes.layers if layers is None else layers)
        output_dim = sizes.embed_dim if output_dim is None else output_dim
        heads = max(1, width * 32 // 64) if heads is None else heads
        if len(layers) != 4 or min(layers) < 1:
            raise ValueError(f"ClipImage: layers={layers}; expected four numbers, at least one bottleneck each.")
        if width < 2 or width % 2 or resolution < 32 or resolution % 32:
            raise ValueError(
                f"ClipImage: width={width}, resolution={resolution}; expected an even width and a multiple of 32 "
                "pixels."
            )
        self.model, self.start = model, start
        self.channels = (4 * width, 8 * width, 16 * width, output_dim)
        # open_clip builds its own pool at once: the smallest there is, since ours takes its place
        self.net = ModifiedResNet(list(layers), output_dim=1, heads=1, image_size=32, width=width)
        self.net.register_module("attnpool", GridAttentionPool(resolution // 32, 32 * width, heads, output_dim))

    def load_start(self) -> None:
        """Load the weights that ``start`` names; None leaves the fresh ones.

        The convolution beside the attention is CRIS's: CLIP has no weights for it, and it stays fresh.

        Raises:
            FileNotFoundError: They are not here and cannot be fetched; see ``clip_weights``.
            ValueError: They belong to another model.
        """
        if self.start is None:
            return
        found = clip_weights(self.model, self.start)
        weights = {name.removeprefix("visual."): value for name, value in found.items() if name.startswith("visual.")}
        table = "attnpool.positional_embedding"
        if table in weights:
            weights[table] = weights[table][1:]  # the first row is that of the mean token
        load_clip(self.net, weights, fresh=("attnpool.connect.",), part="ClipImage")

    def stem(self, images: Tensor) -> tuple[Tensor, None]:
        """What comes before the stages.

        Args:
            images: ``(I, 3, H, W)``, normalised with CLIP's mean and standard deviation; H and W at least 32.

        Returns:
            The input of stage 0, ``(I, width, H / 4, W / 4)``, and None for the detail map that this tower lacks.

        Raises:
            ValueError: The images are smaller than one cell of the coarsest map, or have not three channels.
        """
        if images.shape[1] != 3 or min(images.shape[2:]) < self.strides[-1]:
            raise ValueError(
                f"ClipImage: images have shape {tuple(images.shape)}; expected (I, 3, H, W) with H and W at least "
                f"{self.strides[-1]}. Enlarge them, or convert them with image.convert('RGB')."
            )
        return self.net.stem(images), None

    def stage(self, k: int, x: Tensor) -> Tensor:
        """Stage ``k`` (0 to 3): ``(B, C_before, h, w)`` -> ``(B, C_k, h', w')``; the last one includes the pool."""
        x = run_blocks(getattr(self.net, f"layer{k + 1}"), x, recompute=self.recompute)
        return run_block(self.net.attnpool, x, recompute=self.recompute) if k == 3 else x
