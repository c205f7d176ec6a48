"""What every model costs: parameters, FLOPs, seconds, memory; where official code exists, beside what that code needs.

Source: our decision. The official numbers were counted in the same way on the authors' released code (``counting``), at
the same input size and number of tokens.
"""

from __future__ import annotations

import fnmatch
import gc
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from ris_lib.contract import Batch
from ris_lib.engine.bench_external import External, try_external
from ris_lib.engine.bench_timing import Timing, interleave, matrix_product
from ris_lib.engine.counting import build_shapes, count_parameters, full_batch, model_flops
from ris_lib.engine.memory import PeakMemory
from ris_lib.models import ReferringSegmenter, create_model, list_models

if TYPE_CHECKING:
    import torch._dynamo.exc  # PyTorch itself imports it where it is asked for

#: Number formats of ``measure_model``. ``compiled`` is fp32 through ``torch.compile``.
PRECISIONS = ("fp32", "bf16", "compiled")

#: Ours may need so many times the official parameters and FLOPs.
PARAMETER_BOUND, FLOP_BOUND = 1.01, 1.02

_OF_RUN = (
    *("forward_s", "forward_low_s", "forward_high_s", "rounds", "pictures_per_s", "forward_bytes"),
    *("flop_per_s", "product_flop_per_s", "share_of_product"),
    *("training_s", "training_low_s", "training_high_s", "training_rounds", "training_samples_per_s"),
    *("training_bytes", "note"),
)
_OF_SEVERAL = ("one_by_one_s", "one_by_one_low_s", "one_by_one_high_s", "one_by_one_ratio")
_OF_EXTERNAL = ("external_s", "external_low_s", "external_high_s", "external_ratio")

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
    sentences: Sequence[int] = (1,),
    precisions: Sequence[str] = ("fp32",),
    seconds: float = 1.0,
    patience: float = 20.0,
    flops: float | None = None,
    external: External | None = None,
) -> Iterator[dict[str, Any]]:
    """Time a model's forward pass and its training step, and read the peak of the memory, weights included.

    A training step is a forward pass with losses and the backward pass, without the optimiser's (``bench_train`` times
    that, too). Weights are random. In each of the five rounds a product of two matrices is timed beside the forward
    pass: what the device can do at that moment.

    Args:
        subject: The model.
        device: Where.
        batches: Numbers of pictures at once.
        sentences: Numbers of sentences of each picture. Where there are several, the same sentences one by one, each
            with its picture anew, are timed in the same rounds.
        precisions: Out of ``PRECISIONS``.
        seconds: Time for each number, after one call that is not measured.
        patience: What takes longer than so many seconds for five rounds is timed once; a training step that alone will
            take longer is left out.
        flops: Of a forward pass of one picture, as ``count_model`` counts them.
        external: A function that is timed in the same rounds as the forward pass.

    Yields:
        For each precision, batch and number of sentences: ``precision``, ``batch``, ``sentences``, ``rounds``,
        ``forward_s`` (the median, as all numbers) with ``forward_low_s`` and ``forward_high_s``, ``pictures_per_s``,
        ``forward_bytes``, ``flop_per_s``, ``product_flop_per_s`` and their ratio ``share_of_product`` (for one
        sentence); ``training_s``, ``training_low_s``, ``training_high_s``, ``training_rounds``,
        ``training_samples_per_s``, ``training_bytes`` and ``note``; with ``external`` also ``external_s``,
        ``external_low_s``, ``external_high_s`` and ``external_ratio`` (its time divided by ours); with several
        sentences the same four of ``one_by_one``. What was not measured is None, and the note says why.

    Raises:
        ValueError: The external function fails.

    Example:
        >>> run, = measure_model(find_subjects("baseline_tiny")[0], seconds=0.01)
        >>> run["batch"], run["forward_s"] < run["training_s"]
        (1, True)
    """
    device = torch.device(device)
    memory = PeakMemory(device)
    model = create_model(subject.recipe, **subject.overrides).to(device)
    for precision in precisions:
        for count, each in itertools.product(batches, sentences):
            batch = full_batch(model, count, each).to(device)
            single = None if each == 1 else full_batch(model, count).to(device)
            if external is not None:
                with _inference(device, precision):
                    try_external(external, *_inputs(batch))
            run = _run(model, batch, single, precision, memory, seconds, patience, external)
            if flops is not None and each == 1 and run["forward_s"] is not None:
                run["flop_per_s"] = flops * count / run["forward_s"]
                run["share_of_product"] = run["flop_per_s"] / run["product_flop_per_s"]
            yield {"precision": precision, "batch": count, "sentences": each, **run}
            gc.collect()


def run_name(model: str, run: Mapping[str, Any]) -> str:
    """What a message or a table calls one run of ``measure_model``.

    Args:
        model: Its name.
        run: As ``measure_model`` yields it.

    Example:
        >>> run_name("eavl_base", {"precision": "fp32", "batch": 1, "sentences": 5})
        'eavl_base, fp32, batch 1, 5 sentences'
    """
    several = f", {run['sentences']} sentences" if run["sentences"] > 1 else ""
    return f"{model}, {run['precision']}, batch {run['batch']}{several}"


def _inputs(batch: Batch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What an external function gets."""
    return batch.images, batch.token_ids, batch.word_mask


@contextmanager
def _inference(device: torch.device, precision: str) -> Iterator[None]:
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
        yield


def _run(
    model: ReferringSegmenter,
    batch: Batch,
    single: Batch | None,
    precision: str,
    memory: PeakMemory,
    seconds: float,
    patience: float,
    external: External | None,
) -> dict[str, Any]:
    """Forward pass and training step of one batch in one precision; ``single`` has one sentence of each picture."""
    device, count = batch.images.device, len(batch.images)
    of_others = (*(_OF_EXTERNAL if external else ()), *(_OF_SEVERAL if single else ()))
    values: dict[str, Any] = dict.fromkeys((*_OF_RUN, *of_others))
    called: Callable[..., Any] = torch.compile(model) if precision == "compiled" else model

    def predict() -> None:
        with _inference(device, precision):
            called(batch)

    def compare(external: External) -> None:
        with _inference(device, precision):
            external(*_inputs(batch))

    def one_by_one(single: Batch) -> None:
        for _ in range(len(batch.sentences) // count):
            with _inference(device, precision):
                called(single)

    def learn() -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            loss = called(batch, with_losses=True).loss
        loss.backward()
        model.zero_grad()

    try:
        model.eval()
        memory.reset()
        predict()
        values["forward_bytes"] = memory.peak()
        multiply, product_flops = matrix_product(device, torch.bfloat16 if precision == "bf16" else torch.float32)
        works: dict[str, Callable[[], object]] = {"forward": predict, "product": multiply}
        if external is not None:
            works["external"] = partial(compare, external)
        if single is not None:
            works["one_by_one"] = partial(one_by_one, single)
        timings = interleave(works, seconds, patience, device)
        forward, product = timings["forward"].median, timings["product"].median
        values |= _spread("forward", timings["forward"]) | {"rounds": len(timings["forward"].rounds)}
        values |= {"pictures_per_s": count / forward, "product_flop_per_s": product_flops / product}
        for other in timings.keys() - {"forward", "product"}:
            values |= _spread(other, timings[other]) | {f"{other}_ratio": timings[other].median / forward}
        if (expected := forward * (1 + _BACKWARD)) > patience:
            return {**values, "note": f"training step left out: about {expected:.0f} s"}
        model.train()
        memory.reset()
        timing = interleave({"training": learn}, seconds, patience, device)["training"]
        values |= _spread("training", timing) | {"training_rounds": len(timing.rounds)}
        values |= {"training_samples_per_s": count / timing.median, "training_bytes": memory.peak()}
    except torch.OutOfMemoryError:
        values["note"] = "out of memory"
    except (ValueError, torch._dynamo.exc.TorchDynamoException) as error:
        # batch norm refuses a batch of one; a machine without a compiler refuses to compile
        values["note"] = (str(error).strip() or type(error).__name__).splitlines()[0]
    return values


def _spread(name: str, timing: Timing) -> dict[str, float]:
    """Median, fastest and slowest round under the names of a run."""
    return {f"{name}_s": timing.median, f"{name}_low_s": timing.low, f"{name}_high_s": timing.high}
