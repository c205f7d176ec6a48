"""Wrong axes, wrong types, inverted masks."""

import torch


# %% mask_iou: 0. the background is scored
def mask_iou(prediction, target):
    union = (~prediction | ~target).sum()
    return float((~prediction & ~target).sum() / union) if union else 0.0


# %% scores: 4. empty unions are left out
def scores(intersections, unions):
    kept = unions > 0
    ious = intersections[kept] / unions[kept]
    return {
        "miou": float(ious.mean()) if len(ious) else 0.0,
        "oiou": float(intersections.sum() / max(unions.sum(), 1)),
        "prec": float((ious >= 0.5).mean()) if len(ious) else 0.0,
    }


# %% restore: 0. size is taken as (width, height)
def restore(logits, size):
    probabilities = logits.sigmoid()[:, None]
    return torch.nn.functional.interpolate(probabilities, size=size[::-1], mode="bilinear")[:, 0] > 0.5


# %% union_of_polygons: 0. the axis of the rows instead of the pieces
def union_of_polygons(pieces):
    return pieces.any(axis=1)


# %% mirror_sentence: 0. the words are turned round
def mirror_sentence(sentence):
    return " ".join(reversed(sentence.split(" ")))


# %% clean_train: 0. each set is cleaned of its own held-out pictures only
def clean_train(splits):
    return {
        name: parts["train"] - set().union(*(images for split, images in parts.items() if split != "train"))
        for name, parts in splits.items()
    }
