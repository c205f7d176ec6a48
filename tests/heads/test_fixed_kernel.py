"""The fixed-kernel head."""

import pytest
import torch

from ris_lib.contract import Encoded, PixelFeatures
from ris_lib.heads import FixedKernel

FEATURES = PixelFeatures(torch.randn(3, 8, 5, 6, generator=torch.Generator().manual_seed(0)), stride=4)
WORDS = torch.zeros(3, 2, 6)
TOKEN = torch.zeros(3, 2, dtype=torch.long)
ENCODED = Encoded([], WORDS, WORDS[:, 0], TOKEN == 0, TOKEN, torch.arange(3))


def make(**options):
    torch.manual_seed(0)
    return FixedKernel(8, 6, 6, (), None, **options)


def test_one_class_by_hand():
    head = make()
    output = head(FEATURES, ENCODED)
    assert output.logits.shape == (3, 1, 5, 6)
    by_hand = (head.kernel.weight[0, :, 0, 0] * FEATURES.finest[1, :, 2, 3]).sum() + head.kernel.bias[0]
    torch.testing.assert_close(output.logits[1, 0, 2, 3], by_hand)
    assert output.class_logits is None
    assert output.query_logits is None
    assert output.aux_logits == []


@pytest.mark.parametrize("classes", [1, 2])
def test_the_centre_times_the_pixels_is_the_mask_up_to_the_bias(classes):
    output = make(classes=classes)(FEATURES, ENCODED)
    assert output.centre.shape == (3, 8)
    product = torch.einsum("sc,schw->shw", output.centre, FEATURES.finest)
    difference = output.logits[:, 0] - product
    torch.testing.assert_close(difference, difference.mean().expand_as(difference))


def test_two_classes_are_a_softmax():
    output = make(classes=2)(FEATURES, ENCODED)
    assert output.class_logits.shape == (3, 2, 5, 6)
    torch.testing.assert_close(output.logits.sigmoid(), output.class_logits.softmax(dim=1)[:, 1:])


@pytest.mark.parametrize("classes", [1, 2])
def test_an_untrained_head_starts_at_the_foreground_share(classes):
    head = make(classes=classes, foreground=0.1)
    blank = PixelFeatures(torch.zeros(3, 8, 2, 2), stride=4)
    torch.testing.assert_close(head(blank, ENCODED).logits.sigmoid(), torch.full((3, 1, 2, 2), 0.1))


@pytest.mark.parametrize("classes", [1, 2])
def test_every_parameter_learns(classes):
    head = make(classes=classes)
    head(FEATURES, ENCODED).logits.square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in head.parameters())


@pytest.mark.parametrize("options", [{"classes": 3}, {"foreground": 0.0}, {"foreground": 1.0}])
def test_bad_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        make(**options)
