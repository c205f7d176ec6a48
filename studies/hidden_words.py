"""Mask grounding's own test: how often a model names a hidden word, and what it was told for that.

Three models are trained for it, each with another mask grounding: told the other words alone, the picture too, and the
target's mask too. If a mask helps to name words, words can help to find masks: that is the idea of the loss.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.utils.data import DataLoader

from ris_lib.data import ReferringDataset
from ris_lib.models import ReferringSegmenter
from ris_lib.objectives.hidden_words import choose_hidden

LOSS = "mask_grounding"


@torch.inference_mode()
def naming_accuracy(model: ReferringSegmenter, dataset: ReferringDataset, seed: int = 0) -> dict[str, Any]:
    """How often the most probable word is the hidden one.

    Args:
        model: With the objective ``mask_grounding`` and its trained weights.
        dataset: With masks.
        seed: Of the choice of hidden words; the same seed hides the same words from every model.

    Returns:
        ``words``, how many were hidden; ``accuracy``, the share that was named; ``most_frequent``, the share that the
        single best constant guess would name.

    Raises:
        ValueError: The model has no mask grounding.
    """
    if LOSS not in model.objectives:
        raise ValueError(f"{model.config.recipe} has no objective {LOSS!r}; it has {', '.join(model.objectives)}.")
    objective, device = model.objectives[LOSS], next(model.parameters()).device
    model.eval()
    torch.manual_seed(seed)
    asked, named = [], []
    for batch in DataLoader(dataset, batch_size=8, collate_fn=model.collator()):
        hidden = choose_hidden(batch.word_index, batch.word_mask, objective.share)  # the same on every device
        batch, hidden = batch.to(device), hidden.to(device)
        guesses = objective.predict(model.compute(batch), batch, hidden).argmax(dim=-1)
        asked.append(batch.token_ids[hidden].cpu())
        named.append(guesses[hidden].cpu())
    words, guesses = torch.cat(asked), torch.cat(named)
    return {
        "words": len(words),
        "accuracy": (words == guesses).double().mean().item(),
        "most_frequent": (words.bincount().max() / len(words)).item(),
    }
