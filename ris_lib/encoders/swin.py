"""Swin Transformer (Liu et al. 2021), stage by stage: the image tower of the ``_base`` and ``_small`` recipes.

::

    image -> patches of 4 x 4 -> stage 0 -> [merge 2 x 2, stage 1] -> [merge, stage 2] -> [merge, stage 3]

LAVT, LGFormer and MagNet let words in after the blocks of a stage and *before* its patch merging. Here the merging
stands at the beginning of the next stage, so that whatever stands between two stages has the same effect.

Source: the layers are those of the library ``transformers``. Called with ``always_partition=True`` they pad a map to
whole windows first and shift it afterwards, like the Swin that those three systems share; without it a layer shrinks
its own window, for good, when it meets a small map. (timm shifts first and pads afterwards: other numbers where a map
is no multiple of the window, unless just the shift is left over.) Layer norms of the four maps belong to the fusion
blocks that want them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from ris_lib.encoders.recompute import run_block
from ris_lib.encoders.starting_weights import check_fit, check_settings, read_pretrained

#: Side of a patch in pixels.
PATCH = 4


class SwinImage(nn.Module):
    """Swin's four stages, without its output norm and classifier.

    Args:
        embed_dim: Channels of the first stage; each further stage has twice as many. 128 in Swin-B, 96 in Swin-T and S.
        depths: Blocks of the four stages. (2, 2, 18, 2) in Swin-B and S, (2, 2, 6, 2) in Swin-T.
        heads: Attention heads of the four stages; each divides its stage's channels.
        window: Side of a window in map pixels. 12 for weights trained at 384 px, 7 for those trained at 224.
        drop_path: Chance that the last block is left out while training (0 to below 1); it rises from 0 at the first
            block. 0.3 in LAVT's released code.
        mlp_ratio: Width of the feed-forward networks as a multiple of the channels.
        start: Published weights for ``load_start``, such as ``"microsoft/swin-base-patch4-window12-384-in22k"`` or
            ``"microsoft/swin-tiny-patch4-window7-224"``; None = fresh weights.

    Attributes:
        channels: Channels of the four maps.
        strides: (4, 8, 16, 32). A side that is no multiple is padded with zeros, at the bottom and on the right.
        stages: Four lists of blocks.
        merging: Three patch mergings; number k stands between stages k and k + 1.
        recompute: Compute blocks again in the backward pass; see ``StagedEncoder.set_recompute``.

    Raises:
        ValueError: Not four stages, heads that do not divide the channels, or ``drop_path`` out of range.

    Example:
        >>> import torch
        >>> tower = SwinImage(embed_dim=8, depths=(1, 2, 1, 1), heads=(1, 2, 2, 4), window=4)
        >>> x, detail = tower.stem(torch.zeros(1, 3, 50, 71))
        >>> tower.stage(0, x).shape, tower.stage(1, tower.stage(0, x)).shape, detail
        (torch.Size([1, 8, 13, 18]), torch.Size([1, 16, 7, 9]), None)
    """

    strides = (4, 8, 16, 32)
    detail_channels = None
    detail_stride = None
    recompute = False

    def __init__(
        self,
        embed_dim: int = 128,
        depths: Sequence[int] = (2, 2, 18, 2),
        heads: Sequence[int] = (4, 8, 16, 32),
        window: int = 12,
        drop_path: float = 0.3,
        mlp_ratio: float = 4.0,
        start: str | None = None,
    ):
        super().__init__()
        # Imported here, because it takes seconds, and models with other towers never need it.
        from transformers import SwinConfig, SwinModel

        self.channels = tuple(embed_dim * 2**k for k in range(4))
        if len(depths) != 4 or len(heads) != 4 or min(depths) < 1:
            raise ValueError(f"SwinImage: depths={tuple(depths)}, heads={tuple(heads)}; expected four of each, from 1.")
        if any(channels % count for channels, count in zip(self.channels, heads)):
            raise ValueError(f"SwinImage: heads={tuple(heads)} must divide the stages' channels, {self.channels}.")
        if not 0 <= drop_path < 1:
            raise ValueError(f"SwinImage: drop_path={drop_path}; expected 0 to below 1.")
        self.start = start
        self._settings = {
            "window_size": window,
            "num_heads": list(heads),
            "patch_size": PATCH,
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-5,
            "use_absolute_embeddings": False,
        }
        config = SwinConfig(
            embed_dim=embed_dim, depths=list(depths), mlp_ratio=mlp_ratio, drop_path_rate=drop_path, **self._settings
        )
        parts = _parts(SwinModel(config, add_pooling_layer=False))
        self.embeddings, self.stages, self.merging = parts["embeddings"], parts["stages"], parts["merging"]
        rates = [drop_path * k / max(sum(depths) - 1, 1) for k in range(sum(depths))]
        for block, rate in zip((block for stage in self.stages for block in stage), rates):
            block.mlp = _FeedForward(block.mlp, rate)

    def stem(self, images: Tensor) -> tuple[Tensor, None]:
        """Cut the pictures into patches.

        Args:
            images: ``(I, 3, H, W)``, normalised, of any size from 4 x 4 on.

        Returns:
            ``(I, channels[0], ceil(H / 4), ceil(W / 4))``, and None: there is no finer map.

        Raises:
            ValueError: Other channels, or images smaller than a patch.
        """
        if images.dim() != 4 or images.shape[1] != 3 or min(images.shape[2:]) < PATCH:
            raise ValueError(
                f"SwinImage: images have shape {tuple(images.shape)}; expected (I, 3, H, W) with H and W of at least "
                f"one patch, {PATCH} pixels."
            )
        tokens, size = self.embeddings(images)
        return _as_map(tokens, size), None

    def stage(self, k: int, x: Tensor) -> Tensor:
        """Stage ``k`` (0 to 3): patch merging, but for the first, then the blocks.

        Args:
            k: Number of the stage.
            x: ``(B, C, h, w)``, the result of ``stem`` or of the stage before. B is the number of images, or of
                sentences where words have touched the map.

        Returns:
            ``(B, channels[k], ceil(h / 2), ceil(w / 2))``; at stage 0 ``(B, channels[0], h, w)``.

        Raises:
            ValueError: ``x`` has other channels than the stage before.
        """
        if x.shape[1] != self.channels[max(k - 1, 0)]:
            raise ValueError(
                f"SwinImage: stage {k} got a map of shape {tuple(x.shape)}; expected {self.channels[max(k - 1, 0)]} "
                "channels."
            )
        if k:
            x = self.merge(k - 1, x)
        size, tokens = tuple(x.shape[2:]), _as_tokens(x)
        for block in self.stages[k]:
            tokens = run_block(block, tokens, size, always_partition=True, recompute=self.recompute)[0]
        return _as_map(tokens, size)

    def merge(self, k: int, x: Tensor) -> Tensor:
        """The patch merging between stages ``k`` and ``k + 1``: 2 x 2 cells become one with twice the channels.

        Args:
            k: 0 to 2.
            x: ``(B, channels[k], h, w)``.

        Returns:
            ``(B, channels[k + 1], ceil(h / 2), ceil(w / 2))``.
        """
        height, width = x.shape[2:]
        return _as_map(self.merging[k](_as_tokens(x), (height, width)), (-(-height // 2), -(-width // 2)))

    def load_start(self) -> None:
        """Read the published weights that ``start`` names.

        Raises:
            FileNotFoundError: They are not on this machine and cannot be fetched.
            ValueError: No ``start`` was named, or weights that do not fit: sizes, or a window of another side (a table
                of relative positions cannot be used with another window).
        """
        from transformers import SwinModel

        if self.start is None:
            raise ValueError("SwinImage: no starting weights were named; build it with start=...")
        model = read_pretrained(SwinModel, self.start, "SwinImage", add_pooling_layer=False)
        weights = _parts(model).state_dict()
        check_fit(self, weights, self.start)
        check_settings(model.config.to_dict(), self._settings, self.start, "SwinImage")
        self.load_state_dict(weights)


class _FeedForward(nn.Module):
    """A block's feed-forward network that is left out at random, as a whole, while training.

    The library leaves out the attention alone. Swin (Liu et al. 2021) leaves out both branches, and so do we.
    """

    def __init__(self, net: Any, drop_path: float):
        super().__init__()
        from torchvision.ops import StochasticDepth  # imported here for the same reason as the library above

        self.fc1, self.activation, self.fc2 = net.fc1, net.activation_fn, net.fc2
        self.drop_path = StochasticDepth(drop_path, mode="row")

    def forward(self, tokens: Tensor) -> Tensor:
        return self.drop_path(self.fc2(self.activation(self.fc1(tokens))))


def _parts(model: Any) -> Any:
    """What we use of the library's model, in our order: an ``nn.ModuleDict``."""
    layers = model.encoder.layers
    return nn.ModuleDict(
        {
            "embeddings": model.embeddings,
            "stages": nn.ModuleList(layer.blocks for layer in layers),
            "merging": nn.ModuleList(layer.downsample for layer in layers[:-1]),
        }
    )


def _as_map(tokens: Tensor, size: Sequence[int]) -> Tensor:
    return tokens.transpose(1, 2).unflatten(2, size)


def _as_tokens(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)
