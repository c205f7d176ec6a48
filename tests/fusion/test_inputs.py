"""What every fusion block refuses."""

import pytest
import torch

from ris_lib.fusion import FUSIONS

SIZE = (3, 4)
REAL = torch.ones(2, 5, dtype=torch.bool)


@pytest.mark.parametrize("name", FUSIONS)
@pytest.mark.parametrize(
    ("pixels", "size", "words", "real", "message"),
    [
        ((2, 12, 15), SIZE, (2, 5, 8), REAL, r"expected \(S, N, 16\) and \(S, L, 8\)"),
        ((2, 12, 16), SIZE, (2, 5, 7), REAL, r"expected \(S, N, 16\) and \(S, L, 8\)"),
        ((2, 16, 3, 4), SIZE, (2, 5, 8), REAL, r"expected \(S, N, 16\) and \(S, L, 8\)"),
        ((1, 12, 16), SIZE, (2, 5, 8), REAL, "expected the same S sentences"),
        ((2, 12, 16), (3, 3), (2, 5, 8), REAL, r"expected 3 x 3 = 9 pixels for size=\(3, 3\)"),
        ((2, 12, 16), SIZE, (2, 5, 8), REAL.float(), "word_mask must be bool"),
        ((2, 12, 16), SIZE, (2, 5, 8), REAL & False, "a row of word_mask"),
    ],
)
def test_what_does_not_fit_is_refused_by_every_block(name, pixels, size, words, real, message):
    block = FUSIONS[name](16, 8)
    with pytest.raises(ValueError, match=f"{type(block).__name__}: .*{message}"):
        block(torch.zeros(pixels), size, torch.zeros(words), real)
