"""Wrong axes, wrong layouts, means over the wrong things."""

import math

import torch
import torch.nn.functional as F


# %% query_masks: 3. the batch is folded channel by channel, so that a sentence reads other sentences' pictures
def query_masks(pixels, made, side, image_index):
    own = pixels[image_index]
    channels, height, width = own.shape[1:]
    kernels = made[..., :-1].reshape(-1, channels, side, side) / math.sqrt(channels * side**2)
    side_by_side = own.transpose(0, 1).reshape(1, -1, height, width)
    masks = F.conv2d(side_by_side, kernels, made[..., -1].flatten(), padding=side // 2, groups=len(own))
    return masks.view(len(own), -1, height, width)


# %% one_kernel: 0. the sum runs over the channels instead of the proposals
def one_kernel(kernels, biases, weights):
    return torch.einsum("sn,snchw->snhw", weights, kernels), (weights * biases).sum(dim=1)


# %% find_kernel: 1. the kernel is fitted to the pixels that were given
def find_kernel(read, pixels):
    known = torch.cat([pixels, torch.ones(1, pixels.shape[1])])
    fitted = torch.linalg.pinv(known.T) @ read(pixels)
    return fitted[:-1], fitted[-1], (read(pixels) - fitted @ known).abs().max()


# %% mix: 0. the softmax runs over the sentences
def mix(logits, scores, real):
    w = scores.masked_fill(~real, -math.inf).log_softmax(dim=0)[..., None, None]
    return torch.logsumexp(w + F.logsigmoid(logits), dim=1) - torch.logsumexp(w + F.logsigmoid(-logits), dim=1)


# %% different: 2. the likeness is weighed with the query's own weight
def different(weights, likeness):
    alike = (likeness * weights[:, :, None]).sum(dim=2)
    return (-(weights * alike.clamp(min=1e-12).log()).sum(dim=1)).exp()


# %% diagnose: 1. a mean over pictures of means over their sentences
def diagnose(model, samples):
    number, likeness = [], []
    for sample in samples:
        with torch.no_grad():
            found = model(model.collator()([sample]), explain=True).explanation
        masks, w = (found["query_masks"] > 0.5).flatten(2), found["query_scores"]
        both = (masks[:, :, None] & masks[:, None]).sum(dim=3)
        either = (masks[:, :, None] | masks[:, None]).sum(dim=3)
        share = w[:, :, None] * w[:, None] * (1 - torch.eye(w.shape[1]))
        iou = torch.where(either > 0, both / either.clamp(min=1), 1.0)
        likeness.append(((iou * share).sum(dim=(1, 2)) / share.sum(dim=(1, 2))).mean().item())
        number.append((-(w * w.clamp(min=1e-12).log()).sum(dim=1)).exp().mean().item())
    number, likeness = sum(number) / len(number), sum(likeness) / len(likeness)
    kind = "one voice" if number < 1.5 else "copies" if likeness > 0.9 else "alternatives"
    return {"number": number, "likeness": likeness, "kind": kind}
