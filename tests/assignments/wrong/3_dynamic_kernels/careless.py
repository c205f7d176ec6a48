"""Nearly right: a factor too many, a sign, a zero, an infinity."""

import math

import torch
import torch.nn.functional as F


# %% query_masks: 2. the root divides the bias, too
def query_masks(pixels, made, side, image_index):
    channels = pixels.shape[1]
    masks = []
    for s, i in enumerate(image_index):
        kernels = made[s, :, :-1].unflatten(1, (channels, side, side))
        masks.append(F.conv2d(pixels[i][None], kernels, made[s, :, -1], padding=side // 2))
    return torch.cat(masks) / math.sqrt(channels * side**2)


# %% one_kernel: 1. the weights are made to sum to one
def one_kernel(kernels, biases, weights):
    weights = weights / weights.sum(dim=1, keepdim=True)
    return (weights[..., None, None, None] * kernels).sum(dim=1), (weights * biases).sum(dim=1)


# %% find_kernel: 2. the largest difference with its sign is no distance
def find_kernel(read, pixels):
    bias = read(torch.zeros(len(pixels), 1))[0]
    kernel = read(torch.eye(len(pixels))) - bias
    return kernel, bias, (read(pixels) - kernel @ pixels - bias).max()


# %% mix: 2. probabilities are cut off before the logarithm
def mix(logits, scores, real):
    w = scores.masked_fill(~real, -math.inf).softmax(dim=1)
    p = (w[..., None, None] * logits.sigmoid()).sum(dim=1).clamp(1e-6, 1 - 1e-6)
    return (p / (1 - p)).log()


# %% different: 2. zero times minus infinity
def different(weights, likeness):
    alike = torch.einsum("snm,sm->sn", likeness, weights)
    return (-(weights * alike.log()).sum(dim=1)).exp()


# %% diagnose: 0. every pair counts the same, whatever its scores
def diagnose(model, samples):
    number, likeness = [], []
    for sample in samples:
        with torch.no_grad():
            found = model(model.collator()([sample]), explain=True).explanation
        masks, w = (found["query_masks"] > 0.5).flatten(2), found["query_scores"]
        both = (masks[:, :, None] & masks[:, None]).sum(dim=3)
        either = (masks[:, :, None] | masks[:, None]).sum(dim=3)
        other = ~torch.eye(w.shape[1], dtype=torch.bool)
        likeness.append(torch.where(either > 0, both / either.clamp(min=1), 1.0)[:, other].mean(dim=1))
        number.append((-(w * w.clamp(min=1e-12).log()).sum(dim=1)).exp())
    number, likeness = torch.cat(number).mean().item(), torch.cat(likeness).mean().item()
    kind = "one voice" if number < 1.5 else "copies" if likeness > 0.9 else "alternatives"
    return {"number": number, "likeness": likeness, "kind": kind}
