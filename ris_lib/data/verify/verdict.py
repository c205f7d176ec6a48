"""The answer to one question about a data set: ok, differs, leaks, or cannot be checked here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

State = Literal["ok", "differs", "leaks", "cannot"]
#: What a verdict can be.
STATES: tuple[State, ...] = get_args(State)

#: Faults that a line names; JSON holds all of them.
SHOWN = 3
#: Letters of one fault that a line shows.
_LONGEST = 240


@dataclass(frozen=True)
class Verdict:
    """One line of the report.

    Args:
        check: What was looked at.
        state: ``ok``; ``differs``: a fault; ``leaks``: pictures of a training part that another set is scored on, which
            is how the sets were made and no fault of the files; ``cannot``: it cannot be checked here.
        came: What was found; for ``cannot`` the reason.
        expected: What should have been found.
        faults: Each thing that is wrong.

    Example:
        >>> print(judge("every sentence has words", ["ref 7: sentence 71 is empty"], "", "words in each"))
        differs  every sentence has words: 1 fault; expected words in each. First: ref 7: sentence 71 is empty
        >>> print(judge("every sentence has words", [], "12 sentences", "words in each"))
        ok       every sentence has words: 12 sentences
    """

    check: str
    state: State
    came: str
    expected: str = ""
    faults: tuple[str, ...] = ()

    def __str__(self) -> str:
        """The line that is shown."""
        wanted = f"; expected {self.expected}" if self.expected and self.state == "differs" else ""
        first = [fault if len(fault) <= _LONGEST else fault[:_LONGEST] + "..." for fault in self.faults[:SHOWN]]
        named = f". First: {'; '.join(first)}" if first else ""
        reason = "cannot be checked here, because " if self.state == "cannot" else ""
        line = f"{self.state:<8} {self.check}: {reason}{self.came}{wanted}{named}"
        return "".join(letter if letter.isprintable() else "?" for letter in line)

    def to_dict(self) -> dict[str, Any]:
        """As a dictionary that JSON can hold."""
        return asdict(self) | {"faults": list(self.faults)}


def judge(check: str, faults: Sequence[str], fine: str, expected: str) -> Verdict:
    """The verdict of a list of faults.

    Args:
        check: What was looked at.
        faults: Each names its place; none = ok.
        fine: What was found where there is no fault.
        expected: What should have been found.
    """
    if not faults:
        return Verdict(check, "ok", fine, expected)
    came = f"{len(faults):,} fault{'s' if len(faults) > 1 else ''}"
    return Verdict(check, "differs", came, expected, tuple(faults))


def cannot(check: str, why: str) -> Verdict:
    """The verdict of a check for which something is missing.

    Example:
        >>> print(cannot("masks", "instances.json holds none"))
        cannot   masks: cannot be checked here, because instances.json holds none
    """
    return Verdict(check, "cannot", why)
