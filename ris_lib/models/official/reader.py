"""Reading somebody else's checkpoint file without running anything that is in it.

PyTorch's files are pickles, and a pickle can name any function to be called. So nothing is admitted but tensors,
containers, strings, numbers, numpy's numbers and ``argparse.Namespace``, which LAVT's files hold.
"""

from __future__ import annotations

import argparse
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ris_lib._shown import plain, short
from ris_lib._torch_files import check_torch_file


def _number(dtype: np.dtype, data: bytes = b"") -> np.generic:
    """One of numpy's numbers from its bytes; of its other kinds some are of any size."""
    if dtype.kind not in "biufc":
        raise pickle.UnpicklingError(f"a number of kind {dtype}")
    return np._core.multiarray.scalar(dtype, data)  # pyright: ignore[reportAttributeAccessIssue]


#: What a file may hold beside PyTorch's own kinds.
_NUMBERS = np.typecodes["AllInteger"] + np.typecodes["AllFloat"] + "?"
_ADMITTED = [
    argparse.Namespace,
    (_number, "numpy.core.multiarray.scalar"),
    (_number, "numpy._core.multiarray.scalar"),
    np.dtype,
    *{type(np.dtype(code)) for code in _NUMBERS},
]

#: Under which entry a training script keeps the model; the first that is there counts.
_ENTRIES = ("model", "state_dict", "model_state_dict")

#: What a parallel wrapper puts before every name.
_WRAPPER = "module."


def read_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """The weights in a checkpoint file under their official names, without a parallel wrapper's ``module.``.

    A second state dict, such as LAVT's ``bert_model``, is found under its entry's name: ``bert_model.embeddings...``.

    Args:
        path: The file. Nothing in it is executed.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged, or holds no state dict, or objects that are neither weights nor settings.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "last.pth"
        >>> torch.save({"model": {"module.kernel": torch.ones(2)}, "args": argparse.Namespace(lr=1e-4)}, path)
        >>> read_checkpoint(path)
        {'kernel': tensor([1., 1.])}
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; expected a checkpoint of LAVT, CRIS, MagNet or LGFormer.")
    if path.suffix == ".safetensors":
        raise ValueError(
            f"{path} is a safetensors file; expected the PyTorch checkpoint that the authors published. A model of "
            "this library needs no conversion: its folder is used as it is."
        )
    content = _load(path)
    entry = next(
        (name for name in _ENTRIES if isinstance(content, Mapping) and _is_state_dict(content.get(name))), None
    )
    main = content if entry is None else content[entry]
    if not _is_state_dict(main):
        raise ValueError(
            f"{path} holds {_outline(content)}; expected a state dict, names and tensors, as a whole or under "
            f"{' or '.join(map(repr, _ENTRIES))}."
        )
    weights = _unwrapped(main, "")
    if entry is not None:
        for name, part in content.items():
            if name != entry and _is_state_dict(part):
                weights |= _unwrapped(part, f"{name}.")
    for name, tensor in weights.items():
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise ValueError(
                f"{path}: the weight {plain(name)} has the shape {plain(tuple(tensor.shape))}, but the file holds "
                "fewer numbers for it; fetch it again."
            )
    return weights


def _load(path: Path) -> Any:
    """The content of a file of tensors and plain values."""
    try:
        check_torch_file(path)
        with torch.serialization.safe_globals(_ADMITTED):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch, pickle and zipfile raise many kinds for damaged files
        foreign = re.search(r"GLOBAL ([\w.]+\.\w+)|but got <class '([\w.]+)'>|holds an object of (\S+)", str(error))
        if isinstance(error, pickle.UnpicklingError | ValueError) and foreign:
            name = plain(next(filter(None, foreign.groups())))
            raise ValueError(
                f"{path} is not read, because it holds an object of {name}, and reading that could run foreign code or "
                "fill the memory. Expected weights, settings and numbers only: save its state dict alone."
            ) from error
        why = "" if isinstance(error, pickle.UnpicklingError) else f": {type(error).__name__} {plain(error)}"
        raise ValueError(
            f"{path} is damaged or no PyTorch checkpoint; compare its size with the source and fetch it again{why}"
        ) from error


def _is_state_dict(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(name, str) and isinstance(part, Tensor) for name, part in value.items())
    )


def _unwrapped(part: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {prefix + name.removeprefix(_WRAPPER): tensor for name, tensor in part.items()}


def _outline(content: Any) -> str:
    """What a file holds, in a few words."""
    if not isinstance(content, Mapping):
        return f"a {type(content).__name__}"
    if not content:
        return "nothing"
    return "the entries " + ", ".join(
        f"{short(name)} ({type(value).__name__})" for name, value in list(content.items())[:8]
    )
