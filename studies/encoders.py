"""The common start of the tiny recipes: both encoders, trained once without a single sentence-mask pair.

    python -m studies.encoders

The papers begin with encoders that know pictures (ImageNet, CLIP) and texts (BERT). Those cannot be had at this size,
so the tiny image tower learns to name what lies under each pixel of the drawn scenes (category, colour, texture, size),
and the tiny text tower to guess hidden words of their sentences. **The first uses labels that RefCOCO does not have.**

Source: our decision. Guessing hidden words is BERT's (Devlin et al. 2019).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn
from tqdm import tqdm

from ris_lib.data import load_dataset
from ris_lib.data.cache import atomic_write
from ris_lib.data.collate import Preprocess
from ris_lib.data.scenes import SPLITS, VERSION, Scene, draw, make_scene
from ris_lib.data.scenes.vocabulary import CATEGORIES, COLOURS, SIZES, TEXTURES
from ris_lib.data.tokenizers.base import Tokenizer, Tokens
from ris_lib.encoders.tiny_image import TinyImage
from ris_lib.encoders.tiny_start import IMAGE, REPORT, TEXT, shipped_folder, stored_weights
from ris_lib.encoders.tiny_text import TinyText
from ris_lib.engine.environment import describe_environment
from ris_lib.engine.optimizer import learning_rate_at, make_optimizer, set_learning_rate
from ris_lib.layers import ConvNormAct, resize_map
from ris_lib.models import create_model, recipe
from ris_lib.objectives.hidden_words import choose_hidden

#: What the image tower names, and the names; a pixel of the surface has none of them but "nothing".
LABELS = {
    "category": (*CATEGORIES, "nothing"),
    "colour": tuple(COLOURS),
    "texture": tuple(TEXTURES),
    "size": tuple(SIZES),
}
#: Pixels that a label is not asked of.
IGNORED = 255
#: Height and width of the pictures, and input pixels per pixel that is named: the stride of the tower's detail map.
SIDE, STRIDE = 96, 2
#: Weight of "nothing", which covers three quarters of a picture.
NOTHING = 0.3
#: Peak of the learning rate, its warm-up, and how many pictures and sentences a step has.
RATE, WARMUP, PICTURES, SENTENCES = 3e-3, 60, 16, 128


def label_maps(scene: Scene, ids: np.ndarray) -> np.ndarray:
    """The labels under each pixel.

    Args:
        scene: A scene.
        ids: Its id map ``(h, w)``, as ``draw`` returns it.

    Returns:
        ``(4, h, w)`` uint8 in the order of ``LABELS``; ``IGNORED`` where the surface has no such label.
    """
    surface = {"category": len(CATEGORIES)}
    tables = [
        [surface.get(label, IGNORED), *(names.index(thing[label]) for thing in scene.symbols())]
        for label, names in LABELS.items()
    ]
    return np.array(tables, np.uint8)[:, ids]


def load_pictures(split: str, count: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Pictures and their label maps, all in memory (37 kB each).

    Args:
        split: A split of the scenes.
        count: The first so many; None = all.

    Returns:
        ``(n, SIDE, SIDE, 3)`` uint8 and ``(n, 4, SIDE / STRIDE, SIDE / STRIDE)`` uint8.
    """
    count = SPLITS[split] if count is None else count
    pictures = np.empty((count, SIDE, SIDE, 3), np.uint8)
    labels = np.empty((count, len(LABELS), SIDE // STRIDE, SIDE // STRIDE), np.uint8)
    for k in tqdm(range(count), desc=f"drawing {split}", delay=2):
        scene = make_scene(split, k)
        pictures[k], ids = draw(scene, SIDE)
        labels[k] = label_maps(scene, ids[::STRIDE, ::STRIDE])
    return pictures, labels


class PixelLabels(nn.Module):
    """Names for every stride-2 pixel, from all maps of an image tower; all but the tower is thrown away afterwards.

    Args:
        tower: The image tower.
        width: Channels in which the maps are summed.

    Shape:
        images ``(I, 3, H, W)`` -> one ``(I, names, H / 2, W / 2)`` for each of ``LABELS``.
    """

    def __init__(self, tower: TinyImage, width: int = 48):
        super().__init__()
        self.tower = tower
        self.maps = nn.ModuleList(nn.Conv2d(c, width, 1) for c in (tower.detail_channels, *tower.channels))
        self.mix = ConvNormAct(width, width)
        self.names = nn.ModuleList(nn.Conv2d(width, len(names), 1) for names in LABELS.values())

    def forward(self, images: Tensor) -> list[Tensor]:
        """See the class."""
        x, detail = self.tower.stem(images)
        mixed = self.maps[0](detail)
        for k, project in enumerate(self.maps[1:]):
            x = self.tower.stage(k, x)
            mixed = mixed + resize_map(project(x), tuple(detail.shape[2:]))
        mixed = self.mix(mixed)
        return [name(mixed) for name in self.names]

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Sum of the four cross-entropies; labels ``(I, 4, H / 2, W / 2)`` long."""
        weight = images.new_ones(len(LABELS["category"]))
        weight[-1] = NOTHING
        weights = [weight, None, None, None]
        guesses = zip(self(images), labels.unbind(1), weights)
        return sum(F.cross_entropy(guess, label, w, ignore_index=IGNORED) for guess, label, w in guesses)


class HiddenWords(nn.Module):
    """Guesses for hidden words; all but the tower is thrown away afterwards.

    Args:
        tower: The text tower.

    Shape:
        token_ids ``(S, L)``, word_mask and hidden ``(S, L)`` bool -> ``(number of hidden words, vocabulary)`` logits.
    """

    def __init__(self, tower: TinyText):
        super().__init__()
        self.tower = tower
        self.words = nn.Linear(tower.width, tower.vocabulary_size)

    def forward(self, token_ids: Tensor, word_mask: Tensor, hidden: Tensor) -> Tensor:
        """See the class."""
        words = self.tower.embed(token_ids, word_mask, hidden)
        for k in range(self.tower.groups):
            words = self.tower.group(k, words, word_mask)
        return self.words(self.tower.finish(words)[hidden])


def fit(model: nn.Module, loss_at: Callable[[np.random.Generator], Tensor], steps: int, seed: int, what: str) -> float:
    """Train with AdamW and a cosine.

    Args:
        model: The model.
        loss_at: Draws a batch and returns its loss.
        steps: Number of steps.
        seed: Of the batches.
        what: For the progress bar.

    Returns:
        Seconds of processor time.
    """
    optimizer = make_optimizer(model, RATE, 0.01, (0.9, 0.98))
    random = np.random.default_rng(seed)
    began = time.process_time()
    for step in tqdm(range(steps), desc=what, mininterval=10):
        set_learning_rate(optimizer, learning_rate_at(step, steps, RATE, WARMUP))
        loss_at(random).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return time.process_time() - began


def train_image(tower: TinyImage, steps: int, seed: int) -> dict[str, Any]:
    """Train the image tower; what it was made with and how often it is right on ``val``, where there is an object."""
    model = PixelLabels(tower)
    pictures, labels = load_pictures("train")
    preprocess = Preprocess.from_dict(recipe("baseline_tiny").preprocess)
    mean, std = (torch.tensor(values) * 255 for values in (preprocess.mean, preprocess.std))

    def tensors(pictures: np.ndarray, labels: np.ndarray) -> tuple[Tensor, Tensor]:
        images = ((torch.from_numpy(pictures).float() - mean) / std).permute(0, 3, 1, 2)
        return images, torch.from_numpy(labels).long()

    def loss_at(random: np.random.Generator) -> Tensor:
        chosen = random.integers(0, len(pictures), PICTURES)
        return model.loss(*tensors(pictures[chosen], labels[chosen]))

    seconds = fit(model, loss_at, steps, seed, "image tower")
    model.eval()
    right, asked = np.zeros(len(LABELS)), np.zeros(len(LABELS))
    held, held_labels = load_pictures("val")
    for start in range(0, len(held), PICTURES):
        images, answers = tensors(held[start : start + PICTURES], held_labels[start : start + PICTURES])
        thing = answers[:, 1] != IGNORED
        with torch.inference_mode():
            for k, guess in enumerate(model(images)):
                right[k] += (guess.argmax(1) == answers[:, k])[thing].sum().item()
                asked[k] += thing.sum().item()
    accuracy = dict(zip(LABELS, (right / asked).round(4).tolist()))
    return {
        "task": "labels of each pixel",
        "samples": steps * PICTURES,
        "cpu_seconds": round(seconds),
        "accuracy": accuracy,
    }


def train_text(tower: TinyText, tokenizer: Tokenizer, steps: int, seed: int) -> dict[str, Any]:
    """Train the text tower; what it was made with and how often it names a hidden word of ``val``."""
    model = HiddenWords(tower)
    train, held = (tokenizer(load_dataset("scenes", split).sentences()) for split in ("train", "val"))

    def hide(tokens: Tokens, chosen: Tensor) -> tuple[Tensor, Tensor]:
        ids, mask = tokens.token_ids[chosen], tokens.word_mask[chosen]
        hidden = choose_hidden(tokens.word_index[chosen], mask)
        return model(ids, mask, hidden), ids[hidden]

    def loss_at(random: np.random.Generator) -> Tensor:
        return F.cross_entropy(*hide(train, torch.from_numpy(random.integers(0, len(train.token_ids), SENTENCES))))

    seconds = fit(model, loss_at, steps, seed, "text tower")
    with torch.inference_mode():
        guesses, answers = hide(held, torch.arange(len(held.token_ids)))
    accuracy = (guesses.argmax(1) == answers).float().mean().item()
    return {
        "task": "hidden words",
        "samples": steps * SENTENCES,
        "cpu_seconds": round(seconds),
        "accuracy": {"hidden word": round(accuracy, 4)},
    }


def main() -> None:
    """Train both towers and write them as 16-bit numbers, with a report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--image-steps", type=int, default=4000)
    parser.add_argument("--text-steps", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=shipped_folder(), help="default: where the package looks for them")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    torch.manual_seed(asked.seed)
    model = create_model("baseline_tiny")
    image, text = model.encoder.image_tower, model.encoder.text_tower
    report = {"scenes": VERSION, "size": SIDE, "split": "train", "measured_on": "val", "seed": asked.seed}
    report["environment"] = describe_environment()
    report["image"] = train_image(image, asked.image_steps, asked.seed)
    report["text"] = train_text(text, model.collator().tokenizer, asked.text_steps, asked.seed)
    with atomic_write(asked.out) as folder:
        folder.mkdir()
        for tower, name in ((image, IMAGE), (text, TEXT)):
            save_file(stored_weights(tower), folder / name)
        (folder / REPORT).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
