"""Padding takes part, in one way or another."""

import math

import torch
import torch.nn.functional as F
from torch import nn


# %% over_words: 0. the mask comes behind the softmax: real words do not get the whole unit
def over_words(scores, word_mask):
    return scores.softmax(dim=2) * word_mask[:, None, :]


# %% gather_words: 2. padded words are zeros, and taken for silent
def gather_words(pixels, words, word_mask, heads):
    words = words * word_mask[..., None]
    query, key = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (pixels, words))
    weights = (query @ key.transpose(2, 3) / key.shape[3] ** 0.5).softmax(dim=3)
    return (weights @ key).transpose(1, 2).flatten(2), weights


# %% both_ways: 3. minus infinity in both readings: a clean answer with a spoilt gradient
def both_ways(scores, pixels, words, word_mask):
    scores = scores.masked_fill(~word_mask[:, None, :], -math.inf)
    found = scores.softmax(dim=1).transpose(1, 2) @ pixels
    return pixels + scores.softmax(dim=2) @ words, torch.where(word_mask[..., None], words + found, words)


# %% gate: 2. both matrices are zero; the error is a sum, not a mean
class Gate(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.first = nn.Linear(dim, dim, bias=False)
        self.last = nn.Linear(dim, dim, bias=False)
        for layer in (self.first, self.last):
            nn.init.zeros_(layer.weight)

    def forward(self, x, residual):
        return x + self.last(F.relu(self.first(residual))).tanh() * residual


def first_gradients(gate, x, residual, target):
    error = (gate(x, residual) - target).square().sum()
    return dict(zip(("first", "last"), torch.autograd.grad(error, [gate.first.weight, gate.last.weight])))


# %% mended: 2. real words are counted and taken from the front
def mended(pixels, words, word_mask):
    new_pixels, sentences = [], []
    for x, rows, count in zip(pixels, words, word_mask.sum(dim=1)):
        rows = rows[:count] - rows[:count].mean(dim=0)
        scores = x @ rows.T / x.shape[1] ** 0.5
        new_pixels.append(x + scores.softmax(dim=1) @ rows)
        sentences.append((rows + scores.softmax(dim=0).T @ x).mean(dim=0))
    return torch.stack(new_pixels), torch.stack(sentences)


# %% own_and_others: 1. the mean runs over padding, which looks everywhere alike
def own_and_others(maps, word_mask, targets):
    inside = F.adaptive_avg_pool2d(targets.float(), maps.shape[2:])
    shares = torch.einsum("slhw,thw->stl", maps, inside).mean(dim=2)
    different = (targets[:, None] != targets[None]).flatten(2).any(dim=2)
    return {
        "own": shares.diagonal().mean().item(),
        "others": shares[different].mean().item(),
        "area": targets.float().mean().item(),
    }
