"""Docstrings of the reference: a colon is a colon, a command is a block, and what says nothing is left out."""

from typing import Annotated, NamedTuple

from sphinx.ext.napoleon import Config, GoogleDocstring

from book._ext.docstrings import plain_words, says_nothing


class Pair(NamedTuple):
    left: int


def changed(what, text):
    lines = text.split("\n")
    plain_words(None, what, "name", None, None, lines)
    return lines


def read_by_napoleon(what, text):
    return str(GoogleDocstring(changed(what, text), Config(), what=what, name="name")).strip()


def test_the_description_of_a_value_keeps_what_stands_before_its_colon():
    said = "Two ends: the first and the last."
    assert read_by_napoleon("attribute", said) == said
    assert ":type:" in str(GoogleDocstring([said], Config(), what="attribute", name="name"))


def test_what_is_returned_keeps_what_stands_before_its_colon():
    said = read_by_napoleon("function", "Add.\n\nReturns:\n    Two numbers: the sum, and the rest.\n    More.")
    assert said.startswith("Add.")
    assert ":rtype:" not in said
    assert ":returns: Two numbers: the sum, and the rest." in said


def test_other_lines_are_left_alone():
    text = "Add.\n\nArgs:\n    one: The first.\n\nReturns:\n    See ``a::b``."
    assert changed("function", text) == text.split("\n")


def test_commands_are_a_block():
    assert changed("function", "Measure.\n\n$ ris bench\n$ ris models\n\nArgs:\n    one: The first.") == [
        "Measure.", "", ".. code-block:: console", "", "    $ ris bench", "    $ ris models", "",
        "Args:", "    one: The first.",
    ]  # fmt: skip
    assert changed("module", "$ ris") == [".. code-block:: console", "", "    $ ris"]


def test_options_are_code_and_keep_their_hyphens():
    assert changed("function", "With --json FILE, as ``ris --json``; not 1--2.") == [
        "With ``--json`` FILE, as ``ris --json``; not 1--2."
    ]
    assert changed("function", ">>> x--json") == [">>> x--json"]


def test_counted_fields_and_types_for_the_command_line_are_left_out():
    assert says_nothing(None, "class", "left", Pair.left, False, None)
    assert says_nothing(None, "module", "Name", Annotated[str, "help"], False, None)
    assert says_nothing(None, "module", "Pair", Pair, False, None) is None
