"""The head whose kernel the sentence makes."""

import pytest
import torch
import torch.nn.functional as F

from ris_lib.contract import Encoded, PixelFeatures
from ris_lib.heads.sentence_kernel import SentenceKernel, convolve_each

RANDOM = torch.Generator().manual_seed(0)
FEATURES = PixelFeatures(torch.randn(3, 8, 5, 6, generator=RANDOM), stride=4)
SENTENCE = torch.randn(3, 10, generator=RANDOM)


def encoded(sentence=SENTENCE):
    token = torch.zeros(len(sentence), 2, dtype=torch.long)
    return Encoded([], torch.zeros(len(sentence), 2, 6), sentence, token == 0, token, torch.arange(len(sentence)))


def make(**options):
    torch.manual_seed(0)
    return SentenceKernel(8, 6, 10, (), None, **options)


def test_each_sample_is_convolved_with_its_own_kernels():
    """Two different samples: the query-minor layout swapped gives masks of the right shape and wrong content."""
    maps, kernels = torch.randn(2, 4, 5, 6), torch.randn(2, 3, 4, 3, 3)
    biases = torch.randn(2, 3)
    loop = torch.stack([F.conv2d(maps[s : s + 1], kernels[s], biases[s], padding=1)[0] for s in range(2)])
    folded = convolve_each(maps, kernels, biases)
    torch.testing.assert_close(folded, loop)
    swapped = convolve_each(maps, kernels.transpose(0, 1).reshape(2, 3, 4, 3, 3), biases)
    assert not torch.allclose(swapped, loop, atol=0.1)


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("scaled", [True, False])
def test_by_hand(kernel, scaled):
    head = make(kernel=kernel, scaled=scaled)
    output = head(FEATURES, encoded())
    assert output.logits.shape == (3, 1, 5, 6)
    made = SENTENCE[1] @ head.make_kernel.weight.T + head.make_kernel.bias
    weight = made[:-1].view(1, 8, kernel, kernel) / ((8 * kernel**2) ** 0.5 if scaled else 1)
    expected = F.conv2d(FEATURES.finest[1:2], weight, padding=kernel // 2)[0] + made[-1]
    torch.testing.assert_close(output.logits[1], expected)
    torch.testing.assert_close(output.centre[1], weight[0, :, kernel // 2, kernel // 2])


def test_the_centre_times_the_pixels_is_the_mask_up_to_the_bias():
    output = make(kernel=1)(FEATURES, encoded())
    difference = output.logits[:, 0] - torch.einsum("sc,schw->shw", output.centre, FEATURES.finest)
    torch.testing.assert_close(difference, difference[:, :1, :1].expand_as(difference))


def test_the_sentence_matters_and_only_its_own():
    head = make()
    base, shuffled = head(FEATURES, encoded()).logits, head(FEATURES, encoded(SENTENCE[[1, 0, 2]])).logits
    assert not torch.allclose(shuffled[:2], base[:2], atol=1e-2)
    torch.testing.assert_close(shuffled[2], base[2])


def test_untrained_logits_are_not_saturated_at_cris_sizes():
    torch.manual_seed(0)
    sentence = F.layer_norm(torch.randn(4, 512), (512,))
    features = PixelFeatures(torch.randn(4, 256, 12, 12), stride=4)
    logits = SentenceKernel(256, 512, 512, (), None)(features, encoded(sentence)).logits
    assert -4.5 < logits.mean() < -2.5
    assert logits.std() < 1.5
    plain = SentenceKernel(256, 512, 512, (), None, scaled=False)(features, encoded(sentence)).logits
    assert plain.std() > 10  # what the scale is for


def test_an_untrained_bias_starts_at_the_foreground_share():
    blank = PixelFeatures(torch.zeros(3, 8, 2, 2), stride=4)
    logits = make(foreground=0.1)(blank, encoded(torch.zeros(3, 10))).logits
    torch.testing.assert_close(logits.sigmoid(), torch.full((3, 1, 2, 2), 0.1))


def test_gradients_reach_the_sentence_and_every_parameter():
    head, sentence = make(), SENTENCE.clone().requires_grad_()
    head(FEATURES, encoded(sentence)).logits.square().sum().backward()
    assert all(torch.isfinite(p.grad).all() and p.grad.abs().sum() > 0 for p in head.parameters())
    assert (sentence.grad.abs().sum(dim=1) > 0).all()


def test_explaining_changes_nothing():
    head = make()
    torch.testing.assert_close(head(FEATURES, encoded(), explain=True).logits, head(FEATURES, encoded()).logits)


def test_low_precision_stays_close():
    head = make()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        low = head(FEATURES, encoded()).logits
    torch.testing.assert_close(low.float(), head(FEATURES, encoded()).logits.detach(), atol=0.05, rtol=0.05)


def test_what_it_fills_and_reads():
    assert SentenceKernel.fills == {"centre"}
    assert SentenceKernel.reads == {"sentence"}


@pytest.mark.parametrize(
    "options", [{"kernel": 2}, {"kernel": -1}, {"foreground": 0.0}, {"foreground": 1.0}], ids=lambda o: next(iter(o))
)
def test_bad_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        make(**options)


@pytest.mark.parametrize(
    ("finest", "sentence"), [((3, 7, 5, 5), (3, 10)), ((3, 8, 5, 5), (3, 9)), ((3, 8, 5, 5), (2, 10))]
)
def test_wrong_shapes_are_refused(finest, sentence):
    with pytest.raises(ValueError, match=r"SentenceKernel: pixel features.*sentence"):
        make()(PixelFeatures(torch.zeros(finest), stride=4), encoded(torch.zeros(sentence)))
