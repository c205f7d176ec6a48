"""Everything nearly right: means in the wrong order, signs that are strict, work done in place."""

import numpy as np
import torch


# %% mask_iou: 1. Dice, not IoU
def mask_iou(prediction, target):
    total = prediction.sum() + target.sum()
    return float(2 * (prediction & target).sum() / total) if total else 0.0


# %% scores: 1. mIoU pools, oIoU averages, and a tie is lost
def scores(intersections, unions):
    ious = intersections / np.maximum(unions, 1)
    return {
        "miou": intersections.sum() / max(unions.sum(), 1),
        "oiou": float(ious.mean()),
        "prec": float((ious > 0.5).mean()),
    }


# %% restore: 2. the mask is made first, and resized
def restore(logits, size):
    masks = (logits > 0).float()[:, None]
    return torch.nn.functional.interpolate(masks, size=size, mode="bilinear", align_corners=False)[:, 0] > 0.5


# %% union_of_polygons: 0. the pixels that all pieces share
def union_of_polygons(pieces):
    return pieces.all(axis=0)


# %% mirror_sentence: 2. one after the other: what became "right" becomes "left" again
def mirror_sentence(sentence):
    words = sentence.split(" ")
    for old, new in (("left", "right"), ("leftmost", "rightmost")):
        if old in words or new not in words:
            words = [new if word == old else word for word in words]
        else:
            words = [old if word == new else word for word in words]
    return " ".join(words)


# %% clean_train: 2. the sets that came in are changed
def clean_train(splits):
    for parts in splits.values():
        for other in splits.values():
            for name, images in other.items():
                if name != "train":
                    parts["train"] -= images
    return {name: parts["train"] for name, parts in splits.items()}
