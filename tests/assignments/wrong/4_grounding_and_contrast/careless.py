"""Nearly right: changed in place, NaN where nothing is there, gradients that are cut, pairs that are not used."""

import numpy as np
import torch
import torch.nn.functional as F


# %% hide_words: 2. the ids that came in are changed
def hide_words(token_ids, word_index, mask_id, generator):
    labels = torch.full_like(token_ids, -100)
    for ids, row, index in zip(token_ids, labels, word_index):
        if index.max() >= 0:
            hidden = index == torch.randint(int(index.max()) + 1, (1,), generator=generator)
            row[hidden] = ids[hidden]
            ids[hidden] = mask_id
    return token_ids, labels


# %% hidden_word_loss: 2. NaN where nothing is hidden
def hidden_word_loss(logits, labels):
    return F.cross_entropy(logits.transpose(1, 2), labels)


# %% region_means: 2. an empty mask is divided by nothing
def region_means(feature_map, masks, image_index):
    share = F.adaptive_avg_pool2d(masks[:, None].float(), feature_map.shape[2:])
    total = (feature_map[image_index] * share).sum(dim=(2, 3))
    return total / share.sum(dim=(2, 3)), masks.flatten(1).any(dim=1)


# %% sentence_region_loss: 1. every other sentence is a stranger
def sentence_region_loss(sentences, regions, seen, image_index, object_index, temperature):
    scores = F.normalize(sentences, dim=1) @ F.normalize(regions, dim=1).T / temperature
    own = torch.arange(len(seen))
    return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2


# %% pixel_contrast: 2. the mean keeps its length and has no gradient
def pixel_contrast(pixels, target, temperature):
    if target.all() or not target.any():
        return 0.0 * pixels.sum()
    vectors = F.normalize(pixels.flatten(1).T, dim=1)
    inside, outside = vectors[target.flatten()], vectors[~target.flatten()]
    own = inside @ inside.mean(dim=0).detach() / temperature
    candidates = torch.cat([own[:, None], inside @ outside.T / temperature], dim=1)
    return (candidates.logsumexp(dim=1) - own).mean()


# %% mask_adds: 0. two shares, each with a spread of its own: the pairs are not used
def mask_adds(picture, without, told):
    gain = told.mean() - without.mean()
    reach = 1.96 * np.sqrt((told.var() + without.var()) / len(told))
    low, high = gain - reach, gain + reach
    return {
        "mended": int((told & ~without).sum()),
        "spoiled": int((without & ~told).sum()),
        "gain": float(gain),
        "low": float(low),
        "high": float(high),
        "verdict": "helps" if low > 0 else "hurts" if high < 0 else "no difference seen",
    }
