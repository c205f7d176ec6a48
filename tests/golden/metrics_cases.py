"""Adapters of ``metrics.*``: from masks or small logits to scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ris_lib.data.transforms import resize_mask
from ris_lib.metrics import Accumulator, Scores, binarise, count_pixels, resize_maps
from tests.golden.case import Case, adapter
from tests.golden.warp import warp


@adapter("metrics.lavt_arithmetic")
def lavt_arithmetic(case: Case) -> dict[str, Any]:
    counted, union = count_pixels(*_stored_masks(case))
    return _lavt_outputs(case, counted, union)


@adapter("metrics.cris_arithmetic")
def cris_arithmetic(case: Case) -> dict[str, Any]:
    counted, union = count_pixels(*_stored_masks(case))
    scores = _scores("cris_035", counted, union)
    return {"iou": _iou(counted, union), "mIoU": 100 * scores.miou, "pr50_strict": 100 * scores.prec["0.5"]}


@adapter("metrics.lavt_480", "metrics.lgformer_480", "metrics.magnet_480")
def at_480(case: Case) -> dict[str, Any]:
    """Small logits are resized as ``config["prediction"]`` says, targets by nearest neighbour."""
    size = (case.config["size"],) * 2
    logits = torch.from_numpy(case.inputs["logits"][:, 0])
    probabilities = resize_maps(logits, size, align_corners="align_corners=True" in case.config["prediction"]).sigmoid()
    targets = np.stack([_nearest(target, size) for target in _packed_targets(case)])
    counted, union = count_pixels(binarise(probabilities, "network_480"), targets)
    return _lavt_outputs(case, counted, union) | {"targets_resized_packed": np.packbits(targets[:10])}


@adapter("metrics.cris_chain")
def cris_chain(case: Case) -> dict[str, Any]:
    """Sigmoid, bicubic to the network's size, cubic warp to the original size with zeros around, threshold 0.35."""
    size = (int(case.inputs["input_size"]),) * 2
    probabilities = torch.from_numpy(case.inputs["logits"][:, 0]).sigmoid()
    upsampled = resize_maps(probabilities, size, mode="bicubic", align_corners=True).double().numpy()
    targets = _packed_targets(case)
    warped = [
        torch.from_numpy(warp(image, forward, target.shape, "cubic"))
        for image, forward, target in zip(upsampled, case.inputs["forward"], targets)
    ]
    masks = [binarise(image, "cris_035") for image in warped]
    counted, union = np.array([count_pixels(mask, target) for mask, target in zip(masks, targets)]).T
    scores = _scores("cris_035", counted, union)
    return {
        "iou": _iou(counted, union),
        "mIoU": scores.miou,
        "pr": list(scores.prec.values()),
        "prob_first3": np.concatenate([image.numpy().ravel() for image in warped[:3]]),
        "bin_area": np.array([int(mask.sum()) for mask in masks]),
    }


def _stored_masks(case: Case) -> tuple[np.ndarray, np.ndarray]:
    shape = tuple(int(n) for n in case.inputs["shape"])
    return tuple(_unpack(case.inputs[name], shape) for name in ("pred", "target"))


def _packed_targets(case: Case) -> list[np.ndarray]:
    """The masks of different sizes that stand one after the other, each beginning a new byte."""
    ends = np.cumsum(case.inputs["packed_len"])
    pieces = np.split(case.inputs["targets_packed"], ends[:-1])
    return [_unpack(piece, tuple(int(n) for n in size)) for piece, size in zip(pieces, case.inputs["sizes"])]


def _unpack(packed: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.unpackbits(packed, count=int(np.prod(shape))).reshape(shape).astype(bool)


def _nearest(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    scales = [new / old for new, old in zip(size, mask.shape)]
    to_network = torch.tensor([[scale, 0.5 * scale - 0.5] for scale in scales], dtype=torch.float64)
    return resize_mask(mask, to_network, size).numpy()


def _scores(protocol: str, counted: np.ndarray, union: np.ndarray) -> Scores:
    accumulator = Accumulator(protocol)
    accumulator.update(counted, union, range(len(counted)))
    return accumulator.result(intervals=False)


def _iou(counted: np.ndarray, union: np.ndarray) -> np.ndarray:
    return np.array([i / u if u else 0.0 for i, u in zip(counted, union)])


def _lavt_outputs(case: Case, counted: np.ndarray, union: np.ndarray) -> dict[str, Any]:
    """The outputs under the names of these files; scores in percent, ``printed`` with two decimals."""
    scores = _scores("network_480", counted, union)
    precisions = [100 * scores.prec[f"{threshold:.1f}"] for threshold in case.config["thresholds"]]
    percent = [100 * scores.miou, *precisions, 100 * scores.oiou]
    return {
        "I": counted,
        "U": union,
        "iou": _iou(counted, union),
        "mIoU": percent[0],
        "oIoU": percent[-1],
        "pr": precisions,
        "printed": [float(f"{value:.2f}") for value in percent],
    }
