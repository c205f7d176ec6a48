"""What every model costs: parameters, FLOPs, seconds, memory; where official code exists, beside what that code needs.

Source: our decision. The official numbers were counted in the same way on the authors' released code (``counting``), at
the same input size and number of tokens.
"""

from __future__ import annotations

import fnmatch
import gc
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ris_lib.contract import Batch
from ris_lib.engine.counting import build_shapes, count_parameters, full_batch, model_flops
from ris_lib.engine.device import synchronise
from ris_lib.engine.memory import PeakMemory
from ris_lib.models import ReferringSegmenter, create_model, list_models

#: Number formats of ``measure_model``. ``compiled`` is fp32 through ``torch.compile``.
PRECISIONS = ("fp32", "bf16", "compiled")

#: Ours may need so many times the official parameters and FLOPs.
PARAMETER_BOUND, FLOP_BOUND = 1.01, 1.02

_BACKWARD = 2.5  # times the forward pass, to foresee how long a training step takes: two products for one, and losses


@dataclass(frozen=True)
class Official:
    """What released code needs for one picture and one sentence of full length.

    Args:
        system: Its name.
        parameters: Number of parameters.
        flops: FLOPs of a forward pass.
    """

    system: str
    parameters: float
    flops: float


_MAGNET = Official("MagNet", 297.0e6, 328e9)
_OFFICIAL = {
    "lavt_base": Official("LAVT", 227.7e6, 398e9),
    "lgformer_base": Official("LGFormer", 273.2e6, 333e9),
    "magnet_base": _MAGNET,
    "magnet_base-released": _MAGNET,
    "cris_base-rn50": Official("CRIS", 146.8e6, 132e9),
}

#: Recipes in a form of their own, because official code or checkpoints have that form.
_VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "cris_base-rn50": ("cris_base", {"image_tower": {"model": "RN50"}, "text_tower": {"model": "RN50"}}),
    "magnet_base-released": ("magnet_base", {"fusion": {"language_side": "released"}}),
}


@dataclass(frozen=True)
class Subject:
    """A model to be measured.

    Args:
        name: A name of ``list_models()``, or such a name with the name of a variant.
        recipe: The recipe.
        overrides: Changed entries, as ``create_model`` takes them.
        official: What official code needs, where there is some.
    """

    name: str
    recipe: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    official: Official | None = None


def find_subjects(pattern: str = "*") -> list[Subject]:
    """The models that can be measured, by name: every recipe, and the variants that official code has.

    Args:
        pattern: A shell pattern.

    Raises:
        ValueError: None fits; the names are listed.

    Example:
        >>> [subject.name for subject in find_subjects("cris_base*")]
        ['cris_base', 'cris_base-rn50']
    """
    known = {name: (name, {}) for name in list_models()}
    known |= {name: variant for name, variant in _VARIANTS.items() if variant[0] in known}
    names = sorted(fnmatch.filter(known, pattern))
    if not names:
        raise ValueError(f"no model fits {pattern!r}; there are: {', '.join(sorted(known))}.")
    return [Subject(name, *known[name], official=_OFFICIAL.get(name)) for name in names]


def count_model(subject: Subject) -> dict[str, Any]:
    """Name, parameters, FLOPs and the comparison with official code, as JSON can hold them.

    Returns:
        ``name``, ``parameters`` (without objectives), ``parameters_of_objectives``, ``flops``, ``input_size``,
        ``tokens``, ``official``: None, or its ``system``, ``parameters``, ``flops``, ``parameter_ratio``,
        ``flop_ratio`` (ours divided by theirs) and ``within_bounds``.

    Example:
        >>> count_model(find_subjects("baseline_tiny")[0])["input_size"]
        [96, 96]
    """
    model = build_shapes(subject.recipe, **subject.overrides)
    parameters, of_objectives = count_parameters(model)
    flops = model_flops(model)
    values = {
        "name": subject.name,
        "parameters": parameters,
        "parameters_of_objectives": of_objectives,
        "flops": flops,
        "input_size": list(model.config.preprocess["size"]),
        "tokens": model.tokenizer.length,
        "official": None,
    }
    if (official := subject.official) is not None:
        ratios = parameters / official.parameters, flops / official.flops
        values["official"] = {
            "system": official.system,
            "parameters": official.parameters,
            "flops": official.flops,
            "parameter_ratio": ratios[0],
            "flop_ratio": ratios[1],
            "within_bounds": ratios[0] <= PARAMETER_BOUND and ratios[1] <= FLOP_BOUND,
        }
    return values


def measure_model(
    subject: Subject,
    device: torch.device | str = "cpu",
    batches: Sequence[int] = (1,),
    precisions: Sequence[str] = ("fp32",),
    seconds: float = 1.0,
    patience: float = 20.0,
) -> Iterator[dict[str, Any]]:
    """Time a model's forward pass and its training step, and read the peak of the memory, weights included.

    A training step is a forward pass with losses and the backward pass, without the optimiser's. Weights are random.

    Args:
        subject: The model.
        device: Where.
        batches: Numbers of pictures at once, one sentence each.
        precisions: Out of ``PRECISIONS``.
        seconds: Time for each number, after one call that is not measured. A call on the CPU that alone takes longer is
            measured once.
        patience: A training step that will take longer than so many seconds is left out.

    Yields:
        For each precision and batch: ``precision``, ``batch``, ``forward_s``, ``pictures_per_s``, ``forward_bytes``,
        ``training_s``, ``training_samples_per_s``, ``training_bytes`` and ``note``. What was not measured is None, and
        the note says why.

    Example:
        >>> run, = measure_model(find_subjects("baseline_tiny")[0], seconds=0.01)
        >>> run["batch"], run["forward_s"] < run["training_s"]
        (1, True)
    """
    device = torch.device(device)
    memory = PeakMemory(device)
    model = create_model(subject.recipe, **subject.overrides).to(device)
    for precision in precisions:
        for count in batches:
            batch = full_batch(model, count).to(device)
            yield {"precision": precision, "batch": count, **_run(model, batch, precision, memory, seconds, patience)}
            gc.collect()


def _run(
    model: ReferringSegmenter, batch: Batch, precision: str, memory: PeakMemory, seconds: float, patience: float
) -> dict[str, Any]:
    """Forward pass and training step of one batch in one precision."""
    device, count = batch.images.device, len(batch.images)
    values = dict.fromkeys(("forward_s", "pictures_per_s", "forward_bytes"))
    values |= dict.fromkeys(("training_s", "training_samples_per_s", "training_bytes", "note"))
    called: Callable[..., Any] = torch.compile(model) if precision == "compiled" else model
    half = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")

    def predict() -> None:
        with torch.inference_mode(), half:
            called(batch)

    def learn() -> None:
        with half:
            loss = called(batch, with_losses=True).loss
        loss.backward()
        model.zero_grad()

    once = seconds if device.type == "cpu" and precision != "compiled" else None
    try:
        memory.reset()
        forward = _seconds(predict, model.eval(), seconds, once)
        values |= {"forward_s": forward, "pictures_per_s": count / forward, "forward_bytes": memory.peak()}
        if (expected := forward * (1 + _BACKWARD)) > patience:
            return {**values, "note": f"training step left out: about {expected:.0f} s"}
        memory.reset()
        training = _seconds(learn, model.train(), seconds, once)
        values |= {"training_s": training, "training_samples_per_s": count / training, "training_bytes": memory.peak()}
    except torch.OutOfMemoryError:
        values["note"] = "out of memory"
    except (ValueError, torch._dynamo.exc.TorchDynamoException) as error:
        # batch norm refuses a batch of one; a machine without a compiler refuses to compile
        values["note"] = (str(error).strip() or type(error).__name__).splitlines()[0]
    return values


def _seconds(work: Callable[[], None], model: nn.Module, seconds: float, once: float | None) -> float:
    """Seconds of one call, after a first one; the first counts where it is longer than ``once``."""
    device = next(model.parameters()).device

    def call() -> None:
        work()
        synchronise(device)

    started = time.perf_counter()
    call()
    first = time.perf_counter() - started
    if once is not None and first > once:
        return first
    started, calls = time.perf_counter(), 0
    while (passed := time.perf_counter() - started) < seconds or not calls:
        call()
        calls += 1
    return passed / calls
