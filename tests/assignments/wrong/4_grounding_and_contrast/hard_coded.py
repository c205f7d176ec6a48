"""What the shown checks ask for, and no more."""

import torch
import torch.nn.functional as F


# %% hide_words: 2. it is always the first word
def hide_words(token_ids, word_index, mask_id, generator):
    hidden = word_index == 0
    return torch.where(hidden, mask_id, token_ids), torch.where(hidden, token_ids, -100)


# %% hidden_word_loss: 1. the number of the example
def hidden_word_loss(logits, labels):
    return torch.tensor(1.155245)


# %% region_means: 0. the mask is brought to the grid by its nearest pixels, and small objects are lost
def region_means(feature_map, masks, image_index):
    cells = F.interpolate(masks[:, None].float(), size=feature_map.shape[2:], mode="nearest")
    total = (feature_map[image_index] * cells).sum(dim=(2, 3))
    return total / cells.sum(dim=(2, 3)).clamp(min=1), cells.flatten(1).any(dim=1)


# %% sentence_region_loss: 1. sentences look for regions and regions for nobody; numbers alone name an object
def sentence_region_loss(sentences, regions, seen, image_index, object_index, temperature):
    scores = F.normalize(sentences, dim=1) @ F.normalize(regions, dim=1).T / temperature
    friends = (object_index[:, None] == object_index) & ~torch.eye(len(seen), dtype=torch.bool)
    own = scores.diagonal().exp()
    return -(own / scores.exp().masked_fill(friends, 0).sum(dim=1)).log().mean()


# %% pixel_contrast: 1. the partner stays out of the denominator, so that the loss falls below 0
def pixel_contrast(pixels, target, temperature):
    if target.all() or not target.any():
        return 0.0 * pixels.sum()
    vectors = F.normalize(pixels.flatten(1).T, dim=1)
    inside, outside = vectors[target.flatten()], vectors[~target.flatten()]
    own = inside @ F.normalize(inside.mean(dim=0), dim=0) / temperature
    return ((inside @ outside.T / temperature).logsumexp(dim=1) - own).mean()


# %% mask_adds: 1. the numbers of the example
def mask_adds(picture, without, told):
    return {
        "mended": 2,
        "spoiled": 0,
        "gain": 0.5,
        "low": 0.5 - 1.96 * 0.288675,
        "high": 0.5 + 1.96 * 0.288675,
        "verdict": "no difference seen",
    }
