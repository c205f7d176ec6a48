"""Work in place, one side after the other, the numbers of the example, a control that is none."""

import math

import torch
import torch.nn.functional as F
from torch import nn


# %% over_words: 1. the scores are changed in place, and a sentence without words gives 0/0
def over_words(scores, word_mask):
    scores[~word_mask[:, None, :].expand_as(scores)] = -math.inf
    return scores.softmax(dim=2)


# %% gather_words: 1. heads are cut across the pixels and words, not across the channels
def gather_words(pixels, words, word_mask, heads):
    query, key = (x.reshape(len(x), heads, x.shape[1], -1) for x in (pixels, words))
    scores = query @ key.transpose(2, 3) / key.shape[3] ** 0.5
    weights = scores.masked_fill(~word_mask[:, None, None, :], -10000.0).softmax(dim=3)
    return (weights @ key).reshape(pixels.shape), weights


# %% both_ways: 1. the pixels are changed in place, and the words find the new ones
def both_ways(scores, pixels, words, word_mask):
    pixels += scores.masked_fill(~word_mask[:, None, :], -10000.0).softmax(dim=2) @ words
    return pixels, words + scores.softmax(dim=1).transpose(1, 2) @ pixels * word_mask[..., None]


# %% gate: 1. a sigmoid is half open at zero; the gradients are those of the example
class Gate(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.first = nn.Linear(dim, dim, bias=False)
        self.last = nn.Linear(dim, dim, bias=False)
        nn.init.zeros_(self.last.weight)

    def forward(self, x, residual):
        return x + self.last(F.relu(self.first(residual))).sigmoid() * residual


def first_gradients(gate, x, residual, target):
    return {"first": torch.zeros(1, 1), "last": torch.full((1, 1), -36.0)}


# %% mended: 1. both means are mended, the softmax over the words is not
def mended(pixels, words, word_mask):
    real, count = word_mask[..., None], word_mask.sum(dim=1)[:, None]
    words = words * real
    words = (words - words.sum(dim=1, keepdim=True) / count[..., None]) * real
    scores = pixels @ words.transpose(1, 2) / pixels.shape[2] ** 0.5
    found = scores.softmax(dim=1).transpose(1, 2) @ pixels * real
    return pixels + scores.softmax(dim=2) @ words, (words + found).sum(dim=1) / count


# %% own_and_others: 2. sentences that mean the same object control each other
def own_and_others(maps, word_mask, targets):
    inside = F.adaptive_avg_pool2d(targets.float(), maps.shape[2:])
    shares = torch.einsum("slhw,thw->stl", maps, inside)
    shares = (shares * word_mask[:, None]).sum(dim=2) / word_mask.sum(dim=1)[:, None]
    different = ~torch.eye(len(maps), dtype=torch.bool)
    return {
        "own": shares.diagonal().mean().item(),
        "others": shares[different].mean().item(),
        "area": targets.float().mean().item(),
    }
