"""One process is a group of one; two are tested in tests/engine/test_two_processes.py."""

import torch

from ris_lib.processes import Place, gather_rows, highest, places, process_count


def test_one_process_gets_back_what_it_gave():
    x = torch.randn(3, 2, requires_grad=True)
    place, none = places([3, 0], x.device)
    assert (place, none) == (Place(0, 3, 3), Place(0, 0, 0))
    assert gather_rows(x, place) is x
    assert highest(1.5, x.device) == 1.5
    assert process_count() == 1


def test_own_rows_of_a_gathered_tensor():
    assert list(range(7))[Place(before=2, count=3, total=7).own] == [2, 3, 4]
