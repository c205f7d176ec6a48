"""The wrong axis, the wrong width, the wrong matrix."""

import torch
import torch.nn.functional as F
from torch import nn


# %% over_words: 0. a softmax over the pixels
def over_words(scores, word_mask):
    return scores.masked_fill(~word_mask[:, None, :], -10000.0).softmax(dim=1)


# %% gather_words: 2. divided by the root of all channels
def gather_words(pixels, words, word_mask, heads):
    query, key = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (pixels, words))
    scores = query @ key.transpose(2, 3) / pixels.shape[2] ** 0.5
    weights = scores.masked_fill(~word_mask[:, None, None, :], -10000.0).softmax(dim=3)
    return (weights @ key).transpose(1, 2).flatten(2), weights


# %% both_ways: 2. the weights of the rows, transposed, serve the words too
def both_ways(scores, pixels, words, word_mask):
    weights = scores.masked_fill(~word_mask[:, None, :], -10000.0).softmax(dim=2)
    return pixels + weights @ words, words + weights.transpose(1, 2) @ pixels * word_mask[..., None]


# %% gate: 2. the first matrix is zero, which ReLU keeps so; gradients pile up
class Gate(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.first = nn.Linear(dim, dim, bias=False)
        self.last = nn.Linear(dim, dim, bias=False)
        nn.init.zeros_(self.first.weight)

    def forward(self, x, residual):
        return x + self.last(F.relu(self.first(residual))).tanh() * residual


def first_gradients(gate, x, residual, target):
    F.mse_loss(gate(x, residual), target).backward()
    return {"first": gate.first.weight.grad, "last": gate.last.weight.grad}


# %% mended: 0. only the softmax over the words is mended
def mended(pixels, words, word_mask):
    words = words * word_mask[..., None]
    words = words - words.mean(dim=1, keepdim=True)
    scores = pixels @ words.transpose(1, 2) / pixels.shape[2] ** 0.5
    heard = scores.masked_fill(~word_mask[:, None], -10000.0).softmax(dim=2) @ words
    found = scores.softmax(dim=1).transpose(1, 2) @ pixels * word_mask[..., None]
    return pixels + heard, (words + found).mean(dim=1)


# %% own_and_others: 1. of each cell one pixel is looked at
def own_and_others(maps, word_mask, targets):
    cell = targets.shape[1] // maps.shape[2], targets.shape[2] // maps.shape[3]
    inside = targets[:, :: cell[0], :: cell[1]].float()
    shares = torch.einsum("slhw,thw->stl", maps, inside)
    shares = (shares * word_mask[:, None]).sum(dim=2) / word_mask.sum(dim=1)[:, None]
    different = (targets[:, None] != targets[None]).flatten(2).any(dim=2)
    return {
        "own": shares.diagonal().mean().item(),
        "others": shares[different].mean().item(),
        "area": targets.float().mean().item(),
    }
