"""Files of weights, of our own form and of torch's: a model, or a refusal; nothing runs and nothing swells."""

import io
import json
import os
import pickle
import shutil
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import strategies as some
from safetensors.torch import save

from ris_lib.engine.checkpoint import load_state
from ris_lib.models import ReferringSegmenter, create_model
from ris_lib.models.official.convert import convert, recognise
from ris_lib.models.official.reader import read_checkpoint
from tests.hostile.cases import DAMAGE, MEGABYTE, VALUES, attempt, damaged, fuzz
from tests.hostile.test_pickles import SOUP, programs, text

#: What loading may take: the file three times (read, model, a copy), and torch's own share of its first reading.
BOUND = 32 * MEGABYTE
FOR_EACH_BYTE = 3


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("weights")


@pytest.fixture(scope="module")
def model(place) -> Path:
    """The folder of a small model, loaded once."""
    torch.manual_seed(0)
    create_model("baseline_tiny", preprocess={"size": [32, 32]}).save_pretrained(place / "model")
    ReferringSegmenter.from_pretrained(place / "model")
    return place / "model"


# safetensors.


def load(model: Path, data: bytes):
    """Load the model with other weights in the place of its own."""
    folder = model.parent / "changed"
    shutil.copytree(model, folder, dirs_exist_ok=True)
    file = folder / "model.safetensors"
    file.write_bytes(data)
    bound = BOUND + FOR_EACH_BYTE * len(data)
    return attempt(lambda: ReferringSegmenter.from_pretrained(folder), names=file, bound=bound)


def spliced(whole: bytes, damage) -> bytes:
    """Damage to the header, where everything is decided, and to the first numbers."""
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    return damaged([whole[: header + 64]], damage) + whole[header + 64 :]


@fuzz(20, damage=DAMAGE, anywhere=some.booleans())
def test_damaged_safetensors(model, damage, anywhere):
    whole = (model / "model.safetensors").read_bytes()
    load(model, damaged([whole], damage) if anywhere else spliced(whole, damage))


HEADERS = some.dictionaries(
    some.sampled_from(["head.kernel.bias", "a", "__metadata__", "\x1b[2J", "é" * 100]),
    some.one_of(
        VALUES,
        some.fixed_dictionaries(
            {
                "dtype": some.sampled_from(["F32", "I64", "BOOL", "F8_E8M0", "F4", "C64", "X", None]),
                "shape": some.lists(some.integers(-1, 2**64), max_size=4),
                "data_offsets": some.lists(some.integers(-1, 2**40), min_size=1, max_size=3),
            }
        ),
    ),
    max_size=3,
)


@fuzz(10, header=HEADERS, length=some.sampled_from([None, 0, 2**63, 2**64 - 1, 10**9]), rest=some.binary(max_size=16))
def test_safetensors_of_any_header(model, header, length, rest):
    written = json.dumps(header).encode()
    load(model, struct.pack("<Q", len(written) if length is None else length) + written + rest)


def test_weights_of_another_type_or_size(model):
    own = ReferringSegmenter.from_pretrained(model).state_dict()
    for change in (torch.zeros(1), torch.zeros(0), torch.zeros([1] * 200), torch.zeros(3, dtype=torch.complex64)):
        load(model, save({name: change.clone() for name in own}))
        load(model, save(own | {"\x1b]0;x\x07" * 100: change}))
    answer, _ = load(model, save({name: value.to(torch.float16) for name, value in own.items()}))
    assert answer is not None


# torch's files.


def torch_file(content: object, old: bool = False) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=not old)
    return buffer.getvalue()


CONTENT = {"model": {"module.kernel": torch.arange(12.0).view(3, 4), "module.bias": torch.ones(4)}, "epoch": 3}


def open_file(place: Path, data: bytes, bound: int = BOUND):
    """Through the readers of official checkpoints and of our own."""
    file = place / "last.pth"
    file.write_bytes(data)
    bound += FOR_EACH_BYTE * len(data)
    weights, message = attempt(lambda: read_checkpoint(file), names=file, bound=bound)
    if weights is not None:
        assert sum(value.numel() * value.element_size() for value in weights.values()) <= 100 * len(data)
        attempt(lambda: recognise(weights, file), names=file, bound=bound)
    (place / "step_00000001").mkdir(exist_ok=True)
    (place / "step_00000001" / "state.pt").write_bytes(data)
    attempt(lambda: load_state(place / "step_00000001"), names="state.pt", bound=bound)
    return weights, message


def with_program(program: bytes, how: int = zipfile.ZIP_STORED) -> bytes:
    """An archive of torch's form with another pickle in it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(torch_file(CONTENT))) as archive, zipfile.ZipFile(buffer, "w", how) as changed:
        for entry in archive.infolist():
            own = program if entry.filename.endswith("data.pkl") else archive.read(entry)
            changed.writestr(entry.filename, own)
    return buffer.getvalue()


def old_form(program: bytes) -> bytes:
    """A file of torch before 1.6 with this pickle in the place of its content."""
    mark, version, rest = torch_file(CONTENT, old=True).partition(b"M\xe9\x03.")
    assert rest
    return mark + version + pickle.dumps({}, 2) + program + pickle.dumps([], 2)


@fuzz(25, damage=DAMAGE)
def test_damaged_torch_files(place, damage):
    open_file(place, damaged([torch_file(CONTENT), torch_file(CONTENT, old=True), torch_file([CONTENT])], damage))


@fuzz(15, soup=SOUP, old=some.booleans())
def test_opcodes_in_any_order(place, soup, old):
    program = b"\x80\x02" + b"".join(soup) + b"."
    open_file(place, old_form(program) if old else with_program(program))


@fuzz(10, value=VALUES)
def test_torch_files_of_any_content(place, value):
    try:
        data = torch_file(value)
    except (UnicodeEncodeError, ValueError):  # torch's own writer
        return
    open_file(place, data)


@pytest.mark.parametrize("opcode", programs(Path("folder")))
@pytest.mark.parametrize("old", [False, True])
def test_no_opcode_runs_code(opcode, old, tmp_path):
    program = programs(tmp_path / "canary")[opcode]
    data = old_form(program) if old else with_program(program)
    _, message = open_file(tmp_path, data)
    assert message is not None
    assert not (tmp_path / "canary").exists()


def test_a_refused_file_leaves_no_folder(tmp_path):
    (tmp_path / "evil.pth").write_bytes(with_program(programs(tmp_path / "canary")["GLOBAL"]))
    _, message = attempt(lambda: convert(tmp_path / "evil.pth", tmp_path / "out"), tmp_path, names="evil.pth")
    assert message is not None
    assert sorted(os.listdir(tmp_path)) == ["evil.pth"]


# What would fill the memory.

SIZE = b"\x8a\x04\x00\xca\x9a\x3b"  # the number 1,000,000,000

ROOM = {
    "an array of zeros": b"\x80\x02cbuiltins\nbytearray\n" + SIZE + b"\x85R.",
    "a number of numpy's as long": b"\x80\x02cnumpy._core.multiarray\nscalar\ncnumpy\ndtype\n"
    + text("V1000000000")
    + b"\x85R\x85R.",
    "a tensor": b"\x80\x02ctorch\nFloatTensor\n" + SIZE + b"\x85R.",
}


@pytest.mark.parametrize("what", ROOM)
def test_a_few_bytes_never_ask_for_gigabytes(what, place):
    for data in (with_program(ROOM[what]), old_form(ROOM[what])):
        _, message = open_file(place, data, bound=4 * MEGABYTE)
        assert message is not None


@pytest.mark.parametrize("behind", [False, True])
def test_a_pickle_beside_an_archive_is_not_overlooked(behind, place):
    """torch goes by the beginning of a file, zipfile by its end."""
    program, archive = old_form(ROOM["an array of zeros"]), torch_file(CONTENT)
    _, message = open_file(place, archive + program if behind else program + archive, bound=4 * MEGABYTE)
    assert behind or message is not None


def test_packed_weights_are_refused(place):
    packed, whole = io.BytesIO(), torch_file({"a": torch.zeros(20_000_000)})
    with zipfile.ZipFile(io.BytesIO(whole)) as archive, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as changed:
        for entry in archive.infolist():
            changed.writestr(entry.filename, archive.read(entry))
    del whole
    _, message = open_file(place, packed.getvalue(), bound=4 * MEGABYTE)
    assert "packed" in message


def test_entries_that_share_their_bytes_are_refused(place):
    data = torch_file({"a": torch.zeros(1000)})
    start, end = data.index(b"PK\1\2"), data.rindex(b"PK\5\6")
    length = struct.unpack("<H", data[start + 28 : start + 30])[0]
    first = data[start : start + 46 + length]
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        big = next(entry for entry in archive.infolist() if entry.filename.endswith("data/0"))
    many = b"".join(
        first[:16]
        + struct.pack("<III", big.CRC, big.file_size, big.file_size)
        + first[28:42]
        + struct.pack("<I", big.header_offset)
        + first[46:]
        for _ in range(50)
    )
    directory = data[start:end].split(b"PK\6\6")[0] + many
    count = directory.count(b"PK\1\2")
    tail = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, count, count, len(directory), start, 0)
    _, message = open_file(place, data[:start] + directory + tail, bound=4 * MEGABYTE)
    assert "together larger than the file" in message


def test_a_weight_that_is_one_number_seen_a_billion_times_is_refused(place):
    _, message = open_file(place, torch_file({"a": torch.zeros(1).expand(30_000, 30_000)}), bound=4 * MEGABYTE)
    assert "fewer numbers" in message
