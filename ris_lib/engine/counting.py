"""Parameters and FLOPs of a model, counted without computing anything.

The model is built on PyTorch's device ``meta``, where tensors have shapes and no numbers. A multiplication with its
addition counts as two, as usual; matrix products and convolutions count, everything else is left out. Fused kernels
would count as nothing, so attention is counted in its open form.

Source: our decision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from ris_lib.contract import Batch
from ris_lib.models import ReferringSegmenter, create_model


def build_shapes(name: str, **overrides: Any) -> ReferringSegmenter:
    """A model on the device ``meta``: it has every shape and no weights, and takes neither memory nor time.

    Args:
        name: As in ``create_model``.
        overrides: As in ``create_model``.

    Example:
        >>> build_shapes("baseline_tiny").head.kernel.weight.device
        device(type='meta')
    """
    with torch.device("meta"):
        return create_model(name, **overrides)


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Parameters of a model and, apart, of its objectives, which a trained model does not need.

    Example:
        >>> count_parameters(build_shapes("baseline_tiny"))[1]
        0
    """
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    objectives = sum(size for name, size in sizes.items() if name.startswith("objectives."))
    return sum(sizes.values()) - objectives, objectives


class _ShapesOnly(TorchFunctionMode):
    """Lets checks of numbers pass where tensors have none: a part asks ``if not bool(mask.any())``."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function is torch.Tensor.__bool__ and args[0].is_meta:
            return True
        return function(*args, **(kwargs or {}))


@contextmanager
def _without_numbers() -> Iterator[None]:
    """What lets parts run on the device ``meta``: checks that pass, and no ``torch.autocast``, which PyTorch refuses
    there even where it is to be switched off.
    """
    autocast = torch.autocast
    torch.autocast = lambda device_type, *more, **options: (
        nullcontext() if device_type == "meta" else autocast(device_type, *more, **options)
    )
    try:
        with _ShapesOnly():
            yield
    finally:
        torch.autocast = autocast


def count_flops(work: Callable[[], Any]) -> int:
    """FLOPs of matrix products and convolutions in a call, attention in its open form.

    Args:
        work: Calls modules. On the device ``meta`` nothing is computed.

    Example:
        >>> layer, x = nn.Linear(4, 3, device="meta"), torch.zeros(5, 4, device="meta")
        >>> count_flops(lambda: layer(x)) == 2 * 5 * 4 * 3
        True
    """
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with (
            torch.enable_grad(),  # without, PyTorch's counter loses its way where a module's input is a parameter
            sdpa_kernel(SDPBackend.MATH),
            _without_numbers(),
            FlopCounterMode(display=False) as counter,
        ):
            work()
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return counter.get_total_flops()


def model_flops(model: ReferringSegmenter) -> int:
    """FLOPs of one picture at the recipe's input size with one sentence of full length.

    Args:
        model: On the device ``meta`` (``build_shapes``) in a second, elsewhere in the time of a forward pass.

    Example:
        >>> model_flops(build_shapes("baseline_tiny")) > 1e8
        True
    """
    device = next(model.parameters()).device
    batch = full_batch(model, 1).to(device)

    def forward() -> None:  # part by part, since the model's own check of a batch reads numbers
        encoded = model.encoder(batch)
        features = model.decoder(encoded)
        model.head(features if model.merge is None else model.merge(features, encoded), encoded)

    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        return count_flops(forward)
    finally:
        for module, training in modes:
            module.training = training


def full_batch(model: ReferringSegmenter, count: int, sentences: int = 1) -> Batch:
    """Pictures of noise at the model's input size, with sentences that fill the model's length.

    Args:
        model: Its configuration and tokeniser are used.
        count: Number of pictures.
        sentences: Of each picture.

    Example:
        >>> from ris_lib.models import create_model
        >>> full_batch(create_model("baseline_tiny"), 2).word_mask.all().item()
        True
    """
    generator = torch.Generator().manual_seed(0)
    height, width = model.config.preprocess["size"]
    texts = [" ".join(["left"] * model.tokenizer.length)] * (count * sentences)
    tokens = model.tokenizer(texts)
    return Batch(
        images=torch.randn(count, 3, height, width, generator=generator, device="cpu"),
        token_ids=tokens.token_ids,
        word_mask=tokens.word_mask,
        word_index=tokens.word_index,
        spans=tokens.spans,
        image_index=torch.arange(count).repeat_interleave(sentences),
        original_size=torch.tensor([[height, width]] * count),
        to_network=torch.tensor([[[1.0, 0.0], [1.0, 0.0]]] * count),
        sentences=texts,
        referent_id=torch.arange(len(texts)),
        masks=torch.rand(len(texts), height, width, generator=generator, device="cpu") < 0.1,
    )
