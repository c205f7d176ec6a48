"""The refs files are pickles, and a pickle is a program: none runs, whatever stands in it."""

import copyreg
import io
import os
import pickle
import struct
from pathlib import Path

import pytest
from hypothesis import strategies as some

from ris_lib.data.refer import unpickle_refs
from ris_lib.data.unpickle import load_pickle
from tests.hostile.cases import CHANGES, DAMAGE, MEGABYTE, VALUES, attempt, damaged, fuzz, replaced

#: What an unpickled file may take in memory, for each byte of the file: an empty set has 216 bytes and one in the file.
FOR_EACH_BYTE = 300

REFS = [
    {
        "ref_id": k,
        "ann_id": 10 + k,
        "image_id": k % 3,
        "split": "val",
        "sentences": [{"sent": f"cup {k}", "raw": f"Cup {k}", "sent_id": k, "tokens": ["cup", str(k)]}],
    }
    for k in range(5)
]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("pickles")


@pytest.fixture(scope="module")
def real_files(request) -> list[bytes]:
    """Refs as every protocol writes them, and those of the real data where they are."""
    files = [pickle.dumps(REFS, protocol=protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    if folder := os.environ.get("RIS_TEST_DATA"):
        files += [file.read_bytes()[:200_000] for file in sorted(Path(folder).rglob("refs(*).p"))]
    return files


def read(place: Path, data: bytes):
    file = place / "refs(unc).p"
    file.write_bytes(data)
    return attempt(
        lambda: unpickle_refs(file), place, names="refs(unc).p", bound=8 * MEGABYTE + FOR_EACH_BYTE * len(data)
    )


# Every opcode that imports or calls.


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def programs(path: Path) -> dict[str, bytes]:
    """For each opcode that imports or calls, a pickle that makes a folder with its help."""
    where, short = text(str(path)), lambda word: b"\x8c" + bytes([len(word)]) + word
    canary = b"ctests.hostile.canary\nCanary\n"
    return {
        "GLOBAL": b"cos\nmkdir\n(" + where + b"tR.",
        "STACK_GLOBAL": b"\x80\x04" + short(b"os") + short(b"mkdir") + b"\x93" + where + b"\x85R.",
        "REDUCE": b"cos\nmkdir\n" + where + b"\x85R.",
        "BUILD": canary + b")\x81" + where + b"b.",
        "INST": b"(" + where + b"ios\nmkdir\n.",
        "OBJ": b"(cos\nmkdir\n" + where + b"o.",
        "NEWOBJ": canary + where + b"\x85\x81.",
        "NEWOBJ_EX": b"\x80\x04" + canary + b")}" + text("here") + where + b"s\x92.",
        "EXT1": b"\x82\xf0" + where + b"\x85R.",
        "EXT2": b"\x83\xf0\x00" + where + b"\x85R.",
        "EXT4": b"\x84\xf0\x00\x00\x00" + where + b"\x85R.",
        "PERSID": b"P" + str(path).encode() + b"\n.",
        "BINPERSID": where + b"Q.",
    }


@pytest.fixture
def extension():
    """A registered extension: only so does EXT mean anything."""
    copyreg.add_extension("os", "mkdir", 0xF0)
    yield
    copyreg.remove_extension("os", "mkdir", 0xF0)


class Persistent(pickle.Unpickler):
    """An unpickler to which persistent ids mean something."""

    def persistent_load(self, pid):
        os.mkdir(pid)


@pytest.mark.parametrize("opcode", programs(Path("folder")))
def test_no_opcode_runs_code(opcode, tmp_path, extension):
    canary = tmp_path / "canary"
    program = programs(canary)[opcode]
    Persistent(io.BytesIO(program)).load()
    assert canary.is_dir(), "the program does nothing under Python's own unpickler; this test would prove nothing"
    canary.rmdir()
    _, message = read(tmp_path, program)
    assert message is not None
    assert not canary.exists()


NAMES = [
    "os\nsystem", "builtins\nexec", "builtins\neval", "__builtin__\nset", "builtins\ngetattr", "_codecs\nencode",
    "collections\nOrderedDict", "collections\nOrderedDict.__init__", "copyreg\n_reconstructor", "subprocess\nPopen",
    "builtins\nbytes", "builtins\nset", "ris_lib.data.unpickle\nload_pickle", "\x1b[2J\nx", "os", "builtins\nfrozenset",
    "tests.hostile.canary\nCanary",
]  # fmt: skip
ARGUMENTS = [b"", b"\n", b"1\n", b"'a'\n", b"I01\n", b"\x00", b"\xff", b"\x00\x00\x00\x00", b"\xff\xff\xff\x7f"]
ARGUMENTS += [text("canary"), b"".join([b"(", text("echo > canary"), b"t"]), b"\x08\0\0\0\0\0\0\0", b"\xff" * 8]
OPCODES = [bytes([code]) for code in b"(.012FIJKLMNPQRSTUVXabcdeghijloprst}]G)qBC"] + [
    bytes([code]) for code in range(0x80, 0x99)
]
SOUP = some.lists(
    some.one_of(
        some.sampled_from(OPCODES),
        some.builds(lambda code, argument: code + argument, some.sampled_from(OPCODES), some.sampled_from(ARGUMENTS)),
        some.builds(
            lambda code, name: code + name.encode() + b"\n", some.sampled_from([b"c", b"i"]), some.sampled_from(NAMES)
        ),
        some.builds(lambda code, k: code + bytes([k]), some.sampled_from([b"q", b"h", b"K"]), some.integers(0, 5)),
        some.builds(lambda t: text("".join(c for c in t if c.isascii())), some.text(max_size=5)),
    ),
    max_size=30,
)


@fuzz(30, soup=SOUP, protocol=some.sampled_from([b"", b"\x80\x02", b"\x80\x04", b"\x80\x05"]))
def test_opcodes_in_any_order(place, soup, protocol):
    read(place, protocol + b"".join(soup) + b".")
    assert [path.name for path in place.iterdir()] == ["refs(unc).p"]


@fuzz(25, damage=DAMAGE)
def test_damaged_files(place, real_files, damage):
    read(place, damaged(real_files, damage))


@fuzz(15, value=VALUES, changes=CHANGES, protocol=some.integers(0, 5), whole=some.booleans())
def test_values_of_any_shape(place, value, changes, protocol, whole):
    refs = value if whole else replaced(pickle.loads(pickle.dumps(REFS)), changes)
    read(place, pickle.dumps(refs, protocol=protocol).replace(b"\xed\xa0\x80", b"   "))


def test_a_number_that_python_will_not_write(place):
    assert read(place, pickle.dumps([{**REFS[0], "ref_id": 10**5000}]))[1] is not None


# What would fill the memory.


@pytest.mark.parametrize(
    "program",
    [
        b"]r\xff\xff\xff\x0f.",  # a memo of 268 million places
        b"]p268435455\n.",
        b"\x80\x04]\x8e\xff\xff\xff\xff\x0f\0\0\0.",  # bytes, text, numbers, a frame: longer than the file
        b"\x80\x05]\x96\xff\xff\xff\xff\x0f\0\0\0.",
        b"B\xff\xff\xff\x3f.",
        b"X\xff\xff\xff\x3f.",
        b"\x8b\xff\xff\xff\x3f.",
        b"\x80\x04\x95\xff\xff\xff\xff\x0f\0\0\0].",
    ],
)
def test_a_few_bytes_never_ask_for_gigabytes(program, place):
    assert read(place, program)[1] is not None


@pytest.mark.parametrize(
    "name", ["builtins\nset", "builtins\nfrozenset", "collections\nOrderedDict", "_codecs\nencode"]
)
def test_content_is_not_copied_again_and_again(name, place):
    if "codecs" in name:
        argument = text("a" * 100_000) + b"\x85"
    else:
        argument = b"(" + b"".join(b"(M" + struct.pack("<H", k) + b"Nt" for k in range(20_000)) + b"l\x85"
    copies = b"".join(b"(h\x00h\x01R" for _ in range(3000))
    program = b"\x80\x02c" + name.encode() + b"\nq\x00" + argument + b"q\x01" + copies + b"."
    file = place / "refs(unc).p"
    file.write_bytes(program)
    _, message = attempt(
        lambda: load_pickle(file), place, names=file, bound=8 * MEGABYTE + FOR_EACH_BYTE * len(program)
    )
    assert "again and again" in message
