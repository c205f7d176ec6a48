"""Tokens for words, wrong axes, maps and pictures mixed up."""

import numpy as np
import torch
import torch.nn.functional as F


# %% hide_words: 1. a token is drawn and hidden, not a word
def hide_words(token_ids, word_index, mask_id, generator):
    hidden = torch.zeros_like(word_index, dtype=torch.bool)
    for row, index in enumerate(word_index):
        places = (index >= 0).nonzero()[:, 0]
        if len(places):
            hidden[row, places[torch.randint(len(places), (1,), generator=generator)]] = True
    return token_ids.masked_fill(hidden, mask_id), token_ids.masked_fill(~hidden, -100)


# %% hidden_word_loss: 1. the softmax runs over the places of the sentence
def hidden_word_loss(logits, labels):
    hidden = labels != -100
    log_p = logits.log_softmax(dim=1)[hidden]
    return -log_p.gather(1, labels[hidden][:, None]).sum() / hidden.sum().clamp(min=1)


# %% region_means: 2. the maps are taken in turn, whichever picture the sentence is about
def region_means(feature_map, masks, image_index):
    maps = feature_map[torch.arange(len(masks)) % len(feature_map)]
    share = F.adaptive_avg_pool2d(masks[:, None].float(), maps.shape[2:])
    seen = masks.flatten(1).any(dim=1)
    return (maps * share).sum(dim=(2, 3)) / share.sum(dim=(2, 3)).clamp(min=1e-6), seen


# %% sentence_region_loss: 1. the strangers are other pictures only
def sentence_region_loss(sentences, regions, seen, image_index, object_index, temperature):
    cosines = F.normalize(sentences, dim=1) @ F.normalize(regions, dim=1).T
    strangers = (image_index[:, None] != image_index) & seen
    left_out = ~strangers & ~torch.eye(len(seen), dtype=torch.bool)
    losses = 0
    for scores in (cosines / temperature, cosines.T / temperature):
        losses = losses + 0.5 * (scores.masked_fill(left_out, -torch.inf).logsumexp(dim=1) - scores.diagonal())
    counted = seen & strangers.any(dim=1)
    return losses[counted].sum() / counted.sum().clamp(min=1)


# %% pixel_contrast: 1. lengths are still taken over the pixels, not over the channels
def pixel_contrast(pixels, target, temperature):
    if target.all() or not target.any():
        return 0.0 * pixels.sum()
    vectors = F.normalize(pixels.flatten(1).T, dim=0)
    inside, outside = vectors[target.flatten()], vectors[~target.flatten()]
    own = inside @ F.normalize(inside.mean(dim=0), dim=0) / temperature
    candidates = torch.cat([own[:, None], inside @ outside.T / temperature], dim=1)
    return (candidates.logsumexp(dim=1) - own).mean()


# %% mask_adds: 2. every word counts as independent
def mask_adds(picture, without, told):
    difference = told.astype(float) - without
    gain, count = difference.mean(), len(difference)
    reach = 1.96 * np.sqrt(count / (count - 1) * ((difference - gain) ** 2).sum()) / count
    low, high = gain - reach, gain + reach
    return {
        "mended": int((told & ~without).sum()),
        "spoiled": int((without & ~told).sum()),
        "gain": float(gain),
        "low": float(low),
        "high": float(high),
        "verdict": "helps" if low > 0 else "hurts" if high < 0 else "no difference seen",
    }
