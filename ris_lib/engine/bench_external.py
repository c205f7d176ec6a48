"""A model that somebody else supplies, as a function, to be timed in the same rounds as one of ours.

Official code cannot stand in this repository. Whoever has it writes a module beside it::

    # peer.py
    model = build_their_model().eval()

    def forward(images, token_ids, word_mask):
        return model(images, token_ids, word_mask.long())

and calls ``ris bench models --models lavt_base --external peer:forward``.

Source: our decision.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from torch import Tensor

#: ``(images, token_ids, word_mask) -> anything``. Images are (I, 3, H, W) float32, normalised; token ids (I, L) long;
#: the word mask (I, L) bool, True = token. All are on the device of the measurement. It is called in inference mode,
#: under autocast where the precision is bf16; its first call is not measured and may build a model.
External = Callable[[Tensor, Tensor, Tensor], Any]


def load_external(name: str) -> External:
    """Import a function.

    Args:
        name: ``MODULE:FUNCTION``; the module is looked for where Python looks, and in the current folder.

    Raises:
        ValueError: The name has another form, the module cannot be imported, or there is no such function in it.

    Example:
        >>> load_external("torch.nn.functional:normalize").__name__
        'normalize'
    """
    module_name, colon, function_name = name.partition(":")
    if not colon or not module_name or not function_name.isidentifier():
        raise ValueError(f"--external {name}; expected MODULE:FUNCTION, such as peer:forward.")
    if os.getcwd() not in sys.path:  # the program `ris` does not look there, as `python -m` does
        sys.path.append(os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a foreign module may raise anything
        raise ValueError(
            f"--external {name}: the module {module_name!r} cannot be imported ({type(error).__name__}: {error}). It "
            "must be on PYTHONPATH or in the current folder."
        ) from error
    function = getattr(module, function_name, None)
    if not callable(function):
        there = sorted(key for key, value in vars(module).items() if callable(value) and not key.startswith("_"))
        what = "is no function" if function_name in vars(module) else "is not there"
        raise ValueError(
            f"--external {name}: {function_name!r} {what}; {module_name} has {', '.join(there[:10]) or 'none'}. "
            "Expected a function of (images, token_ids, word_mask)."
        )
    return function


def try_external(function: External, *inputs: Tensor) -> None:
    """Call a function for the first time.

    Raises:
        ValueError: It raised an error; the message says which, and with which shapes it was called.
    """
    try:
        function(*inputs)
    except Exception as error:  # a foreign function may raise anything
        shapes = ", ".join(str(tuple(value.shape)) for value in inputs)
        raise ValueError(
            f"the function of --external raised {type(error).__name__}: {error}. It was called with images, token_ids "
            f"and word_mask of the shapes {shapes}."
        ) from error
