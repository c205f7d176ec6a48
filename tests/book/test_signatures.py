"""Signatures in the reference: without what types carry for the command line."""

from dataclasses import dataclass, field
from typing import Annotated

from book._ext.signatures import plain_types


def asked(name: Annotated[str, "words of the help"], count: "Annotated[int | None, 'more']" = None) -> list[str]:
    return [name] * (count or 0)


class Kept:
    def __init__(self, place: Annotated[str, "words"] = "here"):
        self.place = place


def shown(member, signature="(name: Annotated[str, 'words of the help'])"):
    return plain_types(None, "function", "asked", member, None, signature, "list[str]")


def test_types_stay_and_their_annotations_go():
    assert shown(asked) == ("(name: str, count: int | None = None)", "list[str]")
    assert shown(Kept) == ("(place: str = 'here')", "list[str]")


def test_what_has_no_annotations_is_left_to_sphinx():
    assert shown(asked, "(name: str)") is None
    assert shown(asked, None) is None


@dataclass
class Made:
    place: Annotated[str, "words"]
    names: list[str] = field(default_factory=list)


def test_a_default_that_is_made_anew_is_three_dots():
    both = "(place: Annotated[str, 'words'], names: list[str] = <factory>)"
    assert shown(Made, both) == ("(place: str, names: list[str] = ...)", "list[str]")
    assert shown(Kept, "(names: ~typing.Any = <factory>)") == ("(names: ~typing.Any = ...)", "list[str]")
