"""Instance norm with positions before channels."""

import pytest
import torch
from torch import nn

from ris_lib.instance_norm import InstanceNorm


def test_it_is_that_of_torch_with_axes_swapped():
    x = torch.randn(2, 12, 8, generator=torch.Generator().manual_seed(0))
    expected = nn.InstanceNorm1d(8)(x.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(InstanceNorm("PWAM", "")(x), expected)


def test_half_precision_is_normed_in_float32_and_given_back_as_it_came():
    x = 300 * torch.randn(1, 4000, 2, generator=torch.Generator().manual_seed(0))
    normed = InstanceNorm("PWAM", "")(x.half())
    assert normed.dtype == torch.float16
    torch.testing.assert_close(normed.float(), InstanceNorm("PWAM", "")(x), atol=2e-3, rtol=2e-3)


def test_a_single_position_is_refused():
    with pytest.raises(ValueError, match=r"PWAM: .* single position, shape \(1, 1, 8\).*larger image"):
        InstanceNorm("PWAM", "use a larger image")(torch.zeros(1, 1, 8))
