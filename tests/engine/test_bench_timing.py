"""The clock: rounds in turns, medians with spread."""

import pytest
import torch

from ris_lib.engine import bench_timing
from ris_lib.engine.bench_timing import ROUNDS, Timing, interleave, matrix_product


@pytest.fixture
def clock(monkeypatch):
    """A clock that moves only when a work says so."""
    now = [0.0]
    monkeypatch.setattr(bench_timing.time, "perf_counter", lambda: now[0])

    def takes(seconds, log=None, name=""):
        def work():
            now[0] += next(seconds) if hasattr(seconds, "__next__") else seconds
            if log is not None:
                log.append(name)

        return work

    return takes


def test_works_take_turns_and_the_first_call_is_not_counted(clock):
    log = []
    timings = interleave({"one": clock(1.0, log, "one"), "two": clock(2.0, log, "two")}, seconds=0.1)
    assert log == ["one", "two"] * (ROUNDS + 1)
    assert timings == {"one": Timing((1.0,) * ROUNDS), "two": Timing((2.0,) * ROUNDS)}


def test_the_median_is_of_rounds_and_the_spread_is_kept(clock):
    timing = interleave({"one": clock(iter([99, 5, 1, 2, 4, 3]))}, seconds=0.1)["one"]
    assert (timing.median, timing.low, timing.high) == (3, 1, 5)


def test_short_works_are_called_until_their_time_is_over(clock):
    log = []
    timing = interleave({"one": clock(0.25, log)}, seconds=5.0)["one"]
    assert len(log) == 1 + 4 * ROUNDS
    assert timing.median == 0.25


def test_what_takes_too_long_for_all_rounds_is_timed_once(clock):
    assert interleave({"one": clock(3.0)}, seconds=1.0, patience=14.0)["one"] == Timing((3.0,))
    assert interleave({"one": clock(3.0)}, seconds=1.0, patience=15.0)["one"] == Timing((3.0,) * ROUNDS)
    slow_at_first = iter([60.0] + [1.0] * (ROUNDS + 1))
    assert interleave({"one": clock(slow_at_first)}, seconds=1.0, patience=15.0)["one"] == Timing((1.0,) * ROUNDS)


def test_entries_are_of_one_item():
    timing = Timing((2.0, 1.0, 4.0))
    assert timing.entry("a", items=2) == {"what": "a", "value": 1, "low": 0.5, "high": 2, "unit": "s", "rounds": 3}
    rate = timing.entry("a", "masks/s", items=8, memory_bytes=7)
    assert (rate["value"], rate["low"], rate["high"], rate["memory_bytes"]) == (4, 2, 8, 7)


def test_the_product_is_one(monkeypatch):
    monkeypatch.setitem(bench_timing._SIDE, "cpu", 4)
    multiply, flops = matrix_product("cpu", torch.bfloat16)
    assert multiply().shape == (4, 4)
    assert multiply().dtype == torch.bfloat16
    assert flops == 2 * 4**3
