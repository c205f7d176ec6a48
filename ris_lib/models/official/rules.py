"""Rules that rename the weights of another code base, and complain about what they do not know.

A checkpoint is a dictionary of names and tensors. A rule says what becomes of the names that match a pattern: another
name, several names (their tensor is cut into equal parts), or nothing, with the reason.

Source: our decision. Names of other people's parameters are facts that are needed to read their files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from torch import Tensor

from ris_lib._shown import listing as _listing

#: How many names an error lists before it stops.
LISTED = 12


class Rule(NamedTuple):
    """What becomes of official names.

    Args:
        pattern: Regular expression that must match a whole official name.
        target: Our name, in which ``\\\\1`` stands for the first group; or several names, among which the tensor is
            split along its first axis; or None: the weight is left behind.
        change: Applied to the tensor before it is stored, or None.
        why: Why a weight, or what ``change`` takes away from it, is left behind; for the model card.

    Example:
        >>> Rule(r"fuse\\.(weight|bias)", r"mix.\\1").target
        'mix.\\\\1'
    """

    pattern: str
    target: str | tuple[str, ...] | None
    change: Callable[[Tensor], Tensor] | None = None
    why: str = ""


def translate(weights: Mapping[str, Tensor], rules: Sequence[Rule]) -> dict[str, Tensor]:
    """Rename a whole checkpoint.

    Args:
        weights: Tensors by official name.
        rules: The first rule that matches a name decides.

    Returns:
        Tensors by our names.

    Raises:
        ValueError: No rule matches a name, or two tensors would get one name; the names are listed.

    Example:
        >>> import torch
        >>> rules = [Rule(r"in_proj", ("query", "key")), Rule(r"count", None, why="a counter")]
        >>> ours = translate({"in_proj": torch.arange(4.0), "count": torch.tensor(3)}, rules)
        >>> {name: tensor.tolist() for name, tensor in ours.items()}
        {'query': [0.0, 1.0], 'key': [2.0, 3.0]}
    """
    ours: dict[str, Tensor] = {}
    strange, twice, misshapen = [], [], []
    for name, tensor in weights.items():
        match, rule = _first(name, rules)
        if match is None or rule is None:
            strange.append(name)
            continue
        if rule.target is None:
            continue
        targets = (rule.target,) if isinstance(rule.target, str) else rule.target
        try:
            value = tensor if rule.change is None else rule.change(tensor)
            parts = value.chunk(len(targets)) if len(targets) > 1 else (value,)
        except (IndexError, RuntimeError):  # fewer axes than the change needs
            misshapen.append(f"{name} {tuple(tensor.shape)}")
            continue
        for target, part in zip(targets, parts):
            key = match.expand(target)
            if key in ours:
                twice.append(key)
            ours[key] = part
    if strange or twice or misshapen:
        raise ValueError(
            f"{len(strange)} names of the checkpoint are not known ({listing(strange)}), {len(twice)} of ours would be "
            f"filled twice ({listing(twice)}), and {len(misshapen)} weights have too few axes ({listing(misshapen)}). "
            "Is it a file of the code base that was named?"
        )
    return ours


def unknown_names(weights: Iterable[str], rules: Sequence[Rule]) -> list[str]:
    """The official names that no rule matches.

    Example:
        >>> unknown_names(["count", "weight"], [Rule("weight", "weight")])
        ['count']
    """
    return [name for name in weights if _first(name, rules)[1] is None]


def left_behind(weights: Iterable[str], rules: Sequence[Rule]) -> dict[str, str]:
    """The official names that ``translate`` leaves behind, as a whole or in part, with the reasons.

    Example:
        >>> left_behind(["count", "weight"], [Rule("count", None, why="a counter"), Rule("weight", "weight")])
        {'count': 'a counter'}
    """
    found = {}
    for name in weights:
        rule = _first(name, rules)[1]
        if rule is not None and (rule.target is None or rule.why):
            found[name] = rule.why
    return found


def official_name(ours: str, rules: Sequence[Rule]) -> str:
    """The official name that becomes one of ours: the rules backwards, for messages.

    Args:
        ours: Our name.
        rules: Rules whose patterns consist of plain text, escaped dots, groups, and ``(?:...)?``, which is left out.

    Returns:
        The official name; our own where no rule leads to it.

    Example:
        >>> official_name("mix.bias", [Rule(r"(?:module\\.)?fuse\\.(weight|bias)", r"mix.\\1")])
        'fuse.bias'
    """
    for rule in rules:
        for pattern, theirs in _backwards(rule):
            match = pattern.fullmatch(ours)
            name = match and theirs.format(**match.groupdict())
            if name and _first(name, rules)[1] is rule:
                return name
    return ours


def under(theirs: str, ours: str, rules: Iterable[Rule]) -> list[Rule]:
    """The same rules for a part inside a larger model.

    Args:
        theirs: Regular expression of the official prefix, with its final dot and without capturing groups.
        ours: Our prefix, with its final dot.
        rules: Rules of the part alone.

    Example:
        >>> under(r"backbone\\.", "encoder.", [Rule(r"norm\\.(weight|bias)", r"norm.\\1")])[0].target
        'encoder.norm.\\\\1'
    """

    def prefixed(target: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        if target is None:
            return None
        return ours + target if isinstance(target, str) else tuple(ours + name for name in target)

    return [rule._replace(pattern=theirs + rule.pattern, target=prefixed(rule.target)) for rule in rules]


def drop_kernel(tensor: Tensor) -> Tensor:
    """The weight of a convolution with kernel 1, ``(out, in, 1)`` or ``(out, in, 1, 1)``, as that of a linear layer.

    Example:
        >>> import torch
        >>> drop_kernel(torch.zeros(4, 3, 1)).shape
        torch.Size([4, 3])
    """
    return tensor.flatten(1)


def listing(names: Sequence[str]) -> str:
    """Names for a message, cut after ``LISTED``.

    Example:
        >>> listing(["a", "b"]), listing([])
        ('a, b', 'none')
    """
    return _listing(names, LISTED) or "none"


_compiled = lru_cache(maxsize=8192)(re.compile)  # a whole model has more patterns than re itself remembers


def _first(name: str, rules: Sequence[Rule]) -> tuple[re.Match[str] | None, Rule | None]:
    """The first rule that matches a name, with its match."""
    return next(((m, rule) for rule in rules if (m := _compiled(rule.pattern).fullmatch(name))), (None, None))


@lru_cache(maxsize=8192)
def _backwards(rule: Rule) -> list[tuple[re.Pattern[str], str]]:
    """For each target of a rule: a pattern of our names, and the official name with places for the pattern's groups."""
    theirs, groups, k = "", [], 0
    pattern = rule.pattern
    while k < len(pattern):
        if pattern[k] == "(":
            end, depth = k + 1, 1
            while depth:
                depth += {"(": 1, ")": -1}.get(pattern[end], 0)
                end += 1
            optional = pattern.startswith("(?:", k)
            if not optional:
                groups.append(pattern[k + 1 : end - 1])
                theirs += f"{{g{len(groups)}}}"
            k = end + optional  # and the question mark behind it
        else:
            k += pattern[k] == "\\"
            theirs += pattern[k]
            k += 1
    targets = (rule.target,) if isinstance(rule.target, str) else rule.target or ()
    return [(re.compile(_with_groups(target, groups)), theirs) for target in targets]


def _with_groups(target: str, groups: Sequence[str]) -> str:
    """A target as the pattern of our names; groups are called ``g1``, ``g2``, ..."""
    return "".join(
        f"(?P<g{piece[1:]}>{groups[int(piece[1:]) - 1]})" if piece.startswith("\\") else re.escape(piece)
        for piece in re.split(r"(\\\d)", target)
    )
