"""Any feature pyramid of the library ``timm`` (Wightman 2019): ResNet, ConvNeXt, EfficientNet, its own Swin, ...

Source: the networks are timm's, built with ``features_only=True``. Most of them are lists of modules that run one after
the other; such a list is cut where a feature level ends, so that words can join between the stages. The others give all
levels at once, and words can join after the last.
"""

from __future__ import annotations

import difflib
import re
from collections import OrderedDict
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ris_lib.encoders.recompute import run_block, run_blocks
from ris_lib.encoders.starting_weights import check_fit, not_here

#: The last four levels of a network's features.
LEVELS = (-4, -3, -2, -1)

#: How timm's mobile networks name their children; they are a list, although not of timm's list class.
MOBILE = (["conv_stem", "bn1", "blocks"], ["conv_stem", "bn1", "act1", "blocks"])

#: Families whose modules hand on several tensors; such a list cannot be cut.
SEVERAL = ("dpn", "selecsls")


class TimmImage(nn.Module):
    """The last four feature levels of a timm network. What comes after them is not built.

    Args:
        model: A name that ``timm.list_models()`` knows, with or without the tag of published weights: ``"resnet50"``,
            ``"resnet50.a1_in1k"``.
        start: Weights for ``load_start``: True = those published under the model's name, by its tag or by timm's
            default; a tag; or a file or folder that holds them. False = fresh weights.

    Attributes:
        channels: Channels of the four maps.
        strides: Input pixels per map pixel of the four maps, as timm states them.
        separable: The network is a list of modules: there are ``stem`` and ``stage``. Otherwise there is ``maps``.
        recompute: Compute again in the backward pass, see ``StagedEncoder.set_recompute``: block by block where the
            network is a list of lists, else module by module, and as a whole where it is not separable.

    Raises:
        ValueError: timm has no such model, or has it without feature levels; there are fewer than four; all have the
            same stride (a vision transformer's), or a stride is neither its predecessor's nor twice that.

    Example:
        >>> import torch
        >>> tower = TimmImage("resnet18")
        >>> tower.separable, tower.channels, tower.strides
        (True, (64, 128, 256, 512), (4, 8, 16, 32))
        >>> x, detail = tower.stem(torch.zeros(1, 3, 64, 96))
        >>> tower.stage(0, x).shape
        torch.Size([1, 64, 16, 24])
    """

    detail_channels = None
    detail_stride = None
    recompute = False

    def __init__(self, model: str = "resnet50", start: bool | str = False):
        super().__init__()
        self.model = model
        self.start = start or None
        net, windowed = self._build()
        info = net.feature_info
        self.channels = tuple(info.channels())
        self.strides = tuple(info.reduction())
        _check_strides(model, self.strides)
        self.multiple = self.strides[0] if windowed else 1
        self.channels_last = str(getattr(net, "output_fmt", "NCHW")).endswith("NHWC")
        stages = _cut(net, model)
        self.separable = stages is not None
        if stages is not None:
            self.stages = stages
        else:
            self.net = net

    def stem(self, images: Tensor) -> tuple[Tensor, None]:
        """The pictures themselves, checked: everything up to the first map is stage 0. And None: no finer map.

        Windowed transformers take whole patches: for them zeros are added at the bottom and on the right, as in
        ``SwinImage``.

        Args:
            images: ``(I, 3, H, W)``, normalised, H and W of at least the coarsest stride.

        Raises:
            ValueError: Other channels, or images smaller than the coarsest stride.
        """
        if images.dim() != 4 or images.shape[1] != 3 or min(images.shape[2:]) < self.strides[-1]:
            raise ValueError(
                f"TimmImage ({self.model}): images have shape {tuple(images.shape)}; expected (I, 3, H, W) with H and "
                f"W of at least the coarsest stride, {self.strides[-1]} pixels."
            )
        height, width = images.shape[2:]
        return F.pad(images, (0, -width % self.multiple, 0, -height % self.multiple)), None

    def stage(self, k: int, x: Tensor) -> Tensor:
        """Stage ``k`` (0 to 3): ``(B, C_before, h, w)`` -> ``(B, channels[k], h', w')``.

        Raises:
            ValueError: ``x`` has other channels than the stage before, or the network is not separable.
        """
        if not self.separable:
            raise ValueError(f"TimmImage ({self.model}): this network gives all of its maps at once; use maps(images).")
        expected = (3, *self.channels)[k]
        if x.shape[1] != expected:
            raise ValueError(
                f"TimmImage ({self.model}): stage {k} got a map of shape {tuple(x.shape)}; expected {expected} "
                "channels."
            )
        if not self.channels_last:
            return self._run(self.stages[k], x)
        return self._run(self.stages[k], x.permute(0, 2, 3, 1) if k else x).permute(0, 3, 1, 2)

    def maps(self, images: Tensor) -> list[Tensor]:
        """All four maps, fine to coarse.

        Args:
            images: ``(I, 3, H, W)`` as for ``stem``.

        Returns:
            Four maps ``(I, channels[k], h, w)``.

        Raises:
            ValueError: As ``stem``; or a size that the network was not built for.
        """
        x, _ = self.stem(images)
        if self.separable:
            return [x := self.stage(k, x) for k in range(4)]
        found = self._run(self.net, x)
        return [level.permute(0, 3, 1, 2) for level in found] if self.channels_last else list(found)

    def load_start(self) -> None:
        """Read the published weights that ``start`` names, through timm.

        Raises:
            FileNotFoundError: They are not on this machine and cannot be fetched.
            ValueError: No ``start`` was named, timm knows no such weights, or they cannot be read or do not fit.
        """
        if self.start is None:
            raise ValueError(f"TimmImage ({self.model}): no starting weights were named; build it with start=...")
        own, weights = self.state_dict(), {}
        for name, tensor in self._published().state_dict().items():
            target = next((target for target in self._targets(name) if target in own), None)
            if target is not None:  # what is left over comes after the last map: norm and classifier
                weights[target] = tensor
        check_fit(self, weights, str(self.start))
        self.load_state_dict(weights)

    def _build(self) -> tuple[Any, bool]:
        """The network in timm's wrapper for features, with fresh weights; and whether it works in windows."""
        import timm

        name = self.model.split(".")[0]
        if not timm.is_model(name):  # also names such as hf-hub:..., which would fetch a file
            near = difflib.get_close_matches(name, timm.list_models(), n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "see timm.list_models()."
            raise ValueError(f"TimmImage: timm knows no model {self.model!r}; {hint}")
        options = {"features_only": True, "out_indices": LEVELS}
        try:
            try:  # windowed transformers of timm take one size only, unless they are told otherwise
                return timm.create_model(name, strict_img_size=False, **options), True
            except TypeError as error:
                if "strict_img_size" not in str(error):
                    raise
                return timm.create_model(name, **options), False
        except (RuntimeError, IndexError, AssertionError) as error:
            raise ValueError(
                f"TimmImage: timm's {self.model!r} gives no pyramid of four levels ({error}); take a network that "
                "does, such as 'resnet50'."
            ) from error

    def _published(self) -> nn.Module:
        """The whole classifier with its published weights: only so does timm insist that none is missing."""
        import timm

        name, tag = self.model.split(".")[0], self.model.partition(".")[2]
        options: dict[str, Any] = {}
        if isinstance(self.start, str) and Path(self.start).exists():
            path = Path(self.start)
            options["pretrained_cfg_overlay"] = {"file": str(path / "model.safetensors" if path.is_dir() else path)}
        elif isinstance(self.start, str):
            tag = self.start.removeprefix(f"{name}.")
        full = f"{name}.{tag}" if tag else name
        try:
            return timm.create_model(full, pretrained=True, **options)
        except OSError as error:
            known = timm.get_pretrained_cfg(full)
            hub_id = (known and known.hf_hub_id) or f"timm/{full}"
            raise not_here("TimmImage", full, str(error), hub_id=hub_id) from error
        except Exception as error:  # whatever a damaged or foreign file does to its reader
            raise ValueError(
                f"TimmImage ({self.model}): the starting weights {self.start!r} cannot be read: {error}"
            ) from error

    def _targets(self, name: str) -> list[str]:
        """The names that a weight of the classifier may have here; timm's wrapper turns ``a.0`` into ``a_0``."""
        if not self.separable:
            return [f"net.{prefix}{name}" for prefix in ("", "model.", "body.")]
        flat = [name, name.replace(".", "_", 1)]
        return [f"stages.{k}.{choice}" for k in range(4) for choice in flat]

    def _run(self, net: nn.Module, x: Tensor) -> Any:
        try:
            return self._call(net, x)
        except (AssertionError, RuntimeError) as error:  # timm asserts a size, or torch stumbles over it
            if isinstance(error, torch.OutOfMemoryError) or not re.search("size|shape|height|width", str(error)):
                raise
            raise ValueError(
                f"TimmImage ({self.model}): the network refuses a map of shape {tuple(x.shape)} ({error}); resize the "
                "images to the size that it was made for, or take another network."
            ) from error

    def _call(self, net: nn.Module, x: Tensor) -> Any:
        if not self.recompute or not isinstance(net, nn.Sequential):  # a stage is one, a whole network is not
            return run_block(net, x, recompute=self.recompute)
        for module in net:
            if type(module) is nn.Sequential:
                x = run_blocks(module, x, recompute=True)
            else:
                x = run_block(module, x, recompute=True)
        return x


def _cut(net: Any, model: str) -> nn.ModuleList | None:
    """Four stages, each ending with a map; None where the network is no list of modules."""
    from timm.models import FeatureDictNet

    children = [name for name, _ in net.named_children()]
    if isinstance(net, FeatureDictNet) and not model.startswith(SEVERAL):
        steps, ends = list(net.items()), set(net.return_layers)
    elif children in MOBILE:
        steps = [(name, child) for name, child in net.named_children() if name != "blocks"]
        steps += [(f"blocks_{index}", block) for index, block in enumerate(net.get_submodule("blocks").children())]
        ends = {name.replace(".", "_") for name in net.feature_info.module_name()}
    else:
        return None
    stages, stage = [], OrderedDict()
    for name, module in steps:
        stage[name] = module
        if name in ends:
            stages.append(nn.Sequential(stage))
            stage = OrderedDict()
    return nn.ModuleList(stages)


def _check_strides(model: str, strides: tuple[int, ...]) -> None:
    growth = [after / before for before, after in pairwise(strides)]
    if set(growth) == {1.0}:
        raise ValueError(
            f"TimmImage: all levels of timm's {model!r} have stride {strides[0]}: that is no pyramid, and its masks "
            "could be no finer. Take a network whose maps shrink from stage to stage, such as 'resnet50'."
        )
    if any(step not in (1.0, 2.0) for step in growth):
        raise ValueError(
            f"TimmImage: the levels of timm's {model!r} have strides {strides}; expected growth by 1x or 2x."
        )
