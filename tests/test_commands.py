"""Every command that the repository prints is run, or at least read by its own parser: the table below says how.

``tests/printed_commands.py`` finds the commands. Each has to fit exactly one row of ``ROWS``.
"""

import functools
import importlib
import importlib.util
import inspect
import itertools
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from ris_lib import cli
from ris_lib.data.sealed import read_key
from ris_lib.engine import TrainConfig, train
from ris_lib.engine.bench_models import find_subjects
from tests.data.conftest import ReferFolder, with_every_split
from tests.printed_commands import ROOT, bash_lines, in_text, is_command, joined, printed, texts, words_of
from tests.test_house import absent_tests, make_targets

COMMANDS = printed()


class Row(NamedTuple):
    """How the commands that fit a pattern are tried.

    Attributes:
        pattern: Of the whole command.
        way: ``run``: for real, in ``place``. ``make``: by ``make -n``. ``parse``: its words are read by its own parser,
            and nothing is done. ``leave``: not at all.
        more: With ``run``, what is put behind the command's words to make it tiny (the last of two equal flags counts;
            {new} is a name that does not exist yet). With the others, why no more is done; tests that are named exist.
        code: With ``run``, how it has to end.
        function: With ``parse``, the function at which the program is stopped, once its words are read.
    """

    pattern: str
    way: str
    more: str = ""
    code: int = 0
    function: str = ""


TRAIN = (
    "--steps 2 --images-per-step 2 --sentences-per-image 2 --limit 4 --size 32 --workers 0 --device cpu --threads 1 "
    "--out {new}"
)
EVAL = "--limit 4 --device cpu --threads 1"
BENCH = "--seconds 0.001 --workers 0 --size 32 --device cpu --threads 1 --json {new}"
LARGE = f"{TRAIN} --model lavt_tiny --evaluate-every 2 --evaluate-limit 2"
HOURS = "Trains for hours. "

ROWS = [
    Row(r"ris (\w+ )?--help", "run"),
    Row(r"ris train --model \w+_tiny .*", "run", TRAIN),
    Row(r"ris train --model lavt_base ((?!estimate).)*", "run", LARGE),
    Row(r"ris train --model lavt_base .* --estimate .*", "run", LARGE),
    Row(r"ris train --out runs/a --resume", "run"),
    Row(r"-m ris_lib train --out runs/eight --resume", "run"),
    Row(r"accelerate launch --config_file .* -m ris_lib train .*", "run", LARGE),
    Row(r"ris eval --(run|submission) .*", "run", EVAL),
    Row(r"ris predict .*", "run", "--device cpu --threads 1 --out {new}"),
    Row(r"ris models", "run", "baseline_tiny"),
    Row(r"ris models .*", "run"),
    Row(r"ris bench (data|metrics|data metrics)( --.*)?", "run", BENCH),
    Row(r"ris bench train .*", "run", f"{BENCH} --models baseline_tiny --batch 1"),
    Row(r"ris bench models .*", "run", f"{BENCH} --models baseline_tiny --batch 1 --precision fp32"),
    Row(
        r"ris bench (data )?index( .*)?",
        "parse",
        "Makes files of full size; `tests/engine/test_bench_index.py::test_every_number_comes_from_a_fresh_process`",
        function="bench",
    ),
    Row(
        r"ris convert .*",
        "parse",
        "The file has 900 MB; `tests/models/official/test_convert.py::"
        "test_a_checkpoint_becomes_a_model_with_the_same_weights`",
        function="convert",
    ),
    Row(r"python -m ris_lib", "run", "--help"),
    Row(
        r"python -m ris_lib\.data\.scenes\.build",
        "leave",
        "Started by the library, not by a reader; `tests/data/test_scenes_build.py::"
        "test_a_failed_process_is_told_and_nothing_stays`",
    ),
    Row(
        r"python data_scripts/download\.py --root .*",
        "parse",
        "Needs the network; `tests/data/download/test_official.py::test_the_script_does_it_all`",
        function="download",
    ),
    Row(
        r"python data_scripts/download\.py --weights .*",
        "parse",
        "Needs the network; `tests/models/official/test_published.py::"
        "test_a_published_file_is_fetched_checked_converted_and_kept`",
        function="download",
    ),
    Row(r"python data_scripts/verify\.py ((?!fix-leaks).)*", "run", code=1),  # 1: these files are not the official ones
    Row(r"python data_scripts/verify\.py .* --fix-leaks clean", "run", "--fix-leaks {new}", code=1),
    Row(r"python data_scripts/build_index\.py .*", "run"),
    Row(r"python data_scripts/export_scenes\.py .*", "run", "--limit 2 --size 32 --out {new}"),
    Row(r"python -m studies( .*)?", "run", "--list"),
    Row(
        r"python -m studies\.run lavt 0",
        "parse",
        HOURS + "`tests/studies/test_run.py::test_a_result_that_was_deleted_comes_again`",
        function="run",
    ),
    Row(
        r"python -m studies\.encoders",
        "parse",
        HOURS + "What it wrote is looked at: `tests/encoders/test_tiny_start.py::"
        "test_the_report_says_what_the_encoders_know`",
        function="train_image",
    ),
    Row(
        r"python -m studies\.weights( \w+)?",
        "parse",
        HOURS + "What it wrote is looked at: `tests/models/test_shipped.py::"
        "test_the_numbers_are_reproduced_on_some_pictures`",
        function="ship",
    ),
    Row(
        r"python -m studies\.tables",
        "leave",
        "Has no flags, writes into the book; `tests/studies/test_tables.py::"
        "test_the_table_of_the_book_is_that_of_the_runs`",
    ),
    Row(
        r"python -m studies\.controls",
        "leave",
        "Has no flags, looks at all of val and test; `tests/studies/test_looking.py::"
        "test_a_choice_is_scored_like_a_model`",
    ),
    Row(
        r"python -m tests\.golden\.check FOLDER",
        "parse",
        "FOLDER is the reader's; `tests/golden/test_check.py::test_the_files_of_this_repository_pass`",
        function="check",
    ),
    Row(
        r"python -m book\._assignments( \w+)?",
        "parse",
        "Runs notebooks; `tests/assignments/test_grading.py::"
        "test_the_student_sees_no_solution_and_no_hidden_check` makes them.",
        function="make",
    ),
    Row(
        r"(\.venv/bin/)?python -m book\._grade .*",
        "parse",
        "Needs an assignment; `tests/assignments/test_grading.py::test_a_class_is_graded_into_a_table`",
        function="grade_all",
    ),
    Row(r"\.venv/bin/python book/_setup_cell\.py --new .*", "run"),
    Row(
        r"python book/_links\.py",
        "leave",
        "Has no flags, writes into the book; `tests/book/test_links.py::test_the_list_is_current`",
    ),
    Row(
        r"python book/_links\.py --visit",
        "leave",
        "Needs the network; `tests/book/test_links.py::test_the_dead_are_named_and_the_run_fails`",
    ),
    Row(r"python -c '.*' > key\.txt", "run"),
    Row(r"\.venv/bin/otter grade .*", "parse", "Needs Docker."),
    Row(
        r"\.venv/bin/otter run .*",
        "parse",
        "Runs a notebook; `tests/assignments/test_grading.py::"
        "test_the_solution_scores_every_point_that_was_promised` does what it does.",
    ),
    Row(r"\.venv/bin/pytest tests/assignments", "leave", "These tests, which `make test` runs."),
    Row(
        r"\.venv/bin/jupyter lab", "leave", "Opens a browser and waits for its reader; it comes with the extra `book`."
    ),
    Row(r"source \.venv/bin/activate", "leave", "Changes the reader's shell; `make setup` makes the file."),
    Row(
        r"pre-commit install",
        "leave",
        "Writes into .git; `tests/test_house.py::test_pre_commit_uses_the_versions_of_the_lock` reads its settings.",
    ),
    Row(r"make [a-z-]+( [A-Z]+=\S*)?", "make"),
]

#: What has no flag and is made small all the same: constants of the library.
SMALLER = {
    ("ris_lib.engine.estimate", "WARM_UP"): 1,
    ("ris_lib.engine.estimate", "MEASURED"): 2,
    ("ris_lib.engine.bench_data", "_PICTURES"): 4,
    ("ris_lib.engine.bench_data", "_JPEG_SIDE"): 64,
    ("ris_lib.engine.bench_metrics", "_SCORED"): 50,
    ("ris_lib.engine.bench_timing", "ROUNDS"): 1,
    ("ris_lib.engine.bench_timing", "_SIDE"): {"cpu": 64},
}


def rows_of(command: str) -> list[Row]:
    return [row for row in ROWS if re.fullmatch(row.pattern, command)]


def test_enough_commands_are_found_and_in_every_kind_of_place():
    assert len(COMMANDS) >= 85
    places = "\n".join(place for places in COMMANDS.values() for place in places)
    kinds = [
        "README.md",
        "CONTRIBUTING.md",
        "book/teach.md",
        "14_training_at_scale.ipynb, cell",
        "5_capstone.ipynb, cell",
    ]
    kinds += ["ris_lib/cli/bench.py, bench", "data_scripts/", "studies/", "book/_links.py"]
    assert [kind for kind in kinds if kind not in places] == []


def test_every_command_has_one_row():
    wrong = [(command, len(rows_of(command))) for command in COMMANDS if len(rows_of(command)) != 1]
    assert not wrong, "\n".join(
        f"`{command}` (in {'; '.join(COMMANDS[command])}) fits {number} rows of ROWS in tests/test_commands.py. "
        + ("Let one of them go." if number else "Add one: run it with flags that make it tiny, or say why not.")
        for command, number in wrong
    )


def test_every_row_is_used_and_gives_its_reason():
    assert [row.pattern for row in ROWS if not any(row in rows_of(command) for command in COMMANDS)] == []
    assert [row.pattern for row in ROWS if row.way in {"parse", "leave"} and not row.more] == []
    assert absent_tests("\n".join(row.more for row in ROWS if row.way in {"parse", "leave"})) == []


def test_blocks_called_bash_hold_commands_only():
    strange = {
        (place, line)
        for place, text in texts()
        for line in joined(bash_lines(text), all_lines=True)
        if not is_command(line)
    }
    assert not strange, (
        f"add the program to PROGRAMS in tests/printed_commands.py, or call the block otherwise: {strange}"
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with everything that the commands name: runs, files of RefCOCO's kind, a photograph, a key."""
    folder = tmp_path_factory.mktemp("place")
    small = {"steps": 2, "images_per_step": 2, "limit": 4, "device": "cpu", "threads": 1}
    run = train(TrainConfig(out=folder / "runs" / "first", model="baseline_tiny", **small), progress=False)
    copies = ["runs/second", "runs/a", "runs/b", "runs/refcoco", "runs/eight", "runs/my_name", "handed_in/anna"]
    for copy in [*copies, "models/lavt_refcoco"]:
        shutil.copytree(run, folder / copy)
    for name, cut in [("refcoco", "unc"), ("refcoco+", "unc"), ("refcocog", "umd"), ("refcocog", "google")]:
        with_every_split(ReferFolder(folder / "DATA", name, cut)).write()
    shutil.copytree(folder / "DATA", folder / "data")
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(picture).save(folder / "photo.jpg")
    for name in ("key.txt", "KEY"):
        (folder / name).write_text("a key of some letters\n")
    (folder / "peer.py").write_text("def forward(*inputs):\n    return inputs[0].sum()\n")
    for name in ("NOTEBOOK", "AUTOGRADER"):
        (folder / name).touch()
    for name in ("FOLDER", "book/chapters"):
        (folder / name).mkdir(parents=True)
    return folder


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a command reached for the network")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


class ParsedError(Exception):
    """Raised in place of what a command would do."""


def program(words: list[str]) -> tuple[Callable, list[str]]:
    """The function that a command calls, and the arguments that it gets."""
    match words:
        case ["ris", *arguments] | ["-m", "ris_lib", *arguments] | ["python", "-m", "ris_lib", *arguments]:
            return cli.main, arguments
        case ["accelerate", "launch", *arguments]:
            from accelerate.commands.launch import launch_command_parser

            asked = launch_command_parser().parse_args(arguments)
            assert asked.module
            assert (ROOT / asked.config_file).is_file()
            return program(["-m", asked.training_script, *asked.training_script_args])
        case ["python", "-m", name, *arguments]:
            found = importlib.util.find_spec(name)
            return importlib.import_module(
                f"{name}.__main__" if found.submodule_search_locations else name
            ).main, arguments
        case ["python", file, *arguments]:
            spec = importlib.util.spec_from_file_location(f"{Path(file).stem}_printed", ROOT / file)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module.main, arguments
    raise AssertionError(f"program() in tests/test_commands.py does not know how to start {words[0]}")


def ended(main: Callable, arguments: list[str], monkeypatch) -> int:
    """Run a command in this process; its exit code."""
    monkeypatch.setattr(sys, "argv", ["program", *arguments])
    try:
        return (main(arguments) if inspect.signature(main).parameters else main()) or 0
    except SystemExit as end:
        return end.code or 0


def tiny(words: list[str], more: str, new: Path) -> list[str]:
    """The words of a command, and behind them those that make it tiny; the models that it names have to exist."""
    for flag, value in itertools.pairwise(words):
        if flag in {"--model", "--models"}:
            find_subjects(value)
    return [*words, *(word.format(new=new) for word in shlex.split(more))]


def run(words: list[str], row: Row, new: Path, monkeypatch) -> None:
    if words[:2] == ["python", "-c"]:
        code, arrow, file = words[2:]
        assert arrow == ">"
        with open("made.txt", "w") as out:
            subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
        assert read_key(Path("made.txt"))
        assert file == "key.txt"
        return
    if "--against" in words:  # an earlier measurement has to be there
        place = words.index("--against")
        earlier = [*words[:place], *words[place + 2 :]]
        assert ended(*program([*tiny(earlier, row.more, new), "--json", words[place + 1]]), monkeypatch) == 0
    assert ended(*program(tiny(words, row.more, new)), monkeypatch) == row.code


def parse(words: list[str], row: Row, monkeypatch) -> None:
    if words[0] == "otter":
        from otter.cli import cli as otter

        otter.commands[words[1]].make_context(words[1], words[2:])
        return
    main, arguments = program(words)
    home = vars(importlib.import_module(f"ris_lib.cli.{row.function}")) if words[0] == "ris" else main.__globals__

    @functools.wraps(home[row.function])  # tyro makes flags of its arguments
    def stop(*_, **__):
        raise ParsedError

    monkeypatch.setitem(home, row.function, stop)
    with pytest.raises(ParsedError):
        ended(main, arguments, monkeypatch)


def dry_run(words: list[str]) -> None:
    assert words[1] in make_targets()
    clean = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MFLAGS", "MAKELEVEL"}}
    done = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", [c for c in COMMANDS if rows_of(c) and rows_of(c)[0].way != "leave"])
def test_a_printed_command_works(command, place, tmp_path, monkeypatch, capsys):
    (row,), words = rows_of(command), words_of(command)
    monkeypatch.chdir(place)
    for (module, name), value in SMALLER.items():
        monkeypatch.setattr(importlib.import_module(module), name, value)
    if row.way == "run":
        run(words, row, tmp_path / "new", monkeypatch)
    elif row.way == "parse":
        parse(words, row, monkeypatch)
    else:
        dry_run(words)
    assert "Traceback" not in capsys.readouterr().err


def test_a_command_that_does_not_work_is_seen(place, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(place)
    for command, row in [
        ("ris eval --run runs/none", Row("", "run")),
        ("ris models --jsno models.json", Row("", "run")),
        ("ris train --model lavt_huge --data scenes", Row("", "run", TRAIN)),
        ("python data_scripts/export_scenes.py --into scenes", Row("", "run", "--limit 2")),
    ]:
        with pytest.raises((AssertionError, ValueError)):
            run(words_of(command), row, tmp_path / "new", monkeypatch)
    for command, function in [
        ("ris convert one.pth", "convert"),
        ("python data_scripts/download.py --sets refcoco", "download"),
        ("python -m studies.run lavt zero", "run"),
        ("python -m book._assignments 9_nothing", "make"),
    ]:
        with pytest.raises(pytest.fail.Exception):
            parse(words_of(command), Row("", "parse", function=function), monkeypatch)
    with pytest.raises(AssertionError):
        dry_run(["make", "tea"])


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("```bash\nmake book  # the book\nmake test\n```", ["make book", "make test"]),
        ("```\nris eval --run a\nmIoU 0.5\n```", ["ris eval --run a"]),
        ("~~~bash\nris eval --run a\n~~~", ["ris eval --run a"]),
        ("```python\nmake = 1\n```\n`make test`", ["make test"]),
        ("```bash\nris train --out a \\\n    --steps 2  # two\n```", ["ris train --out a --steps 2"]),
        ('```bash\nris predict a.jpg "number #1"  # a name\n```', ['ris predict a.jpg "number #1"']),
        ("Run:\n\n    python -m studies --list     # all\n\nand see.", ["python -m studies --list"]),
        ("Args:\n    make the same again.\n", []),
        ("A list:\n    ris train --out a\n", []),
        ("Text.\n\n$ ris models\n$ ris convert a \\\n    b\n\nArgs:", ["ris models", "ris convert a b"]),
        ("Run `make lock`, then ``ris eval --run\na``.", ["make lock", "ris eval --run a"]),
        ("```{warning}\n`make lock`\n```\n```bash\nmake pdf\n```", ["make lock", "make pdf"]),
        ("````{tab} Shell\n```bash\nmake pdf\n```\n````\n`make lock`", ["make pdf", "make lock"]),
        ("`.venv/bin/otter run A -o B` and `-m ris_lib train --resume`", None),
        ("`accelerate launch --config_file a -m ris_lib train --out b`", None),
        ("`ris --help` and `ris train --help`", ["ris --help", "ris train --help"]),
        ("`ris`, `ris train`, `ris eval --sentences`, `accelerate launch`, `otter grade`, `python -m`", []),
        ("`accelerate launch -m ris_lib train ...`, {cite:p}`key`, `model.train()`", []),
    ],
)
def test_what_is_found_in_a_text(text, found):
    assert in_text(text) == (re.findall("`(.*?)`", text) if found is None else found)


def test_a_line_of_a_block_that_is_no_known_program_is_seen():
    text = "```bash\nmake test\nmystery --now  # odd\nris train \\\n    --out a\n```"
    assert joined(bash_lines(text), all_lines=True) == ["make test", "mystery --now", "ris train --out a"]
    assert [line for line in joined(bash_lines(text), all_lines=True) if not is_command(line)] == ["mystery --now"]


def test_words_are_those_of_a_shell():
    assert words_of('.venv/bin/python a.py "3 · Image encoders"') == ["python", "a.py", "3 · Image encoders"]
    assert words_of("python -c 'import a; print(1)' > key.txt") == [
        "python",
        "-c",
        "import a; print(1)",
        ">",
        "key.txt",
    ]
