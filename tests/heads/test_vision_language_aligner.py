"""The vision-language aligner: kernels made by queries, scores, and the one mask made of many."""

import itertools
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from ris_lib.contract import Encoded, PixelFeatures
from ris_lib.heads.vision_language_aligner import ResponseGate, VisionLanguageAligner, dynamic_masks

RANDOM = torch.Generator().manual_seed(3)
WORDS = torch.randn(2, 5, 6, generator=RANDOM)
INDEX = torch.tensor([[-1, 0, 1, -1, -1], [-1, 0, 1, 2, -1]])
MASK = torch.tensor([[True] * 4 + [False], [True] * 5])
ENCODED = Encoded([], WORDS, WORDS[:, 0], MASK, INDEX, torch.tensor([0, 0]))
FEATURES = PixelFeatures(
    torch.randn(2, 8, 9, 10, generator=RANDOM),
    stride=4,
    memory=[torch.randn(2, 12, 3, 4, generator=RANDOM), torch.randn(2, 7, 5, 5, generator=RANDOM)],
    context=torch.randn(2, 7, 5, 6, generator=RANDOM),
)
SCORES, MIXES, MODES = ("softmax", "sigmoid", "uniform"), ("logit", "prob"), ("pixels", "queries", "both")
SUMS = list(itertools.product(SCORES, MIXES))


def make(memory=(12, 7), context=7, seed=0, **options):
    torch.manual_seed(seed)
    return VisionLanguageAligner(8, 6, 6, memory, context, **{"queries": 4, "width": 16, "heads": 2, **options})


def busy(seed=0, **options):
    """A head whose kernels and scores differ as much as a trained one's."""
    head = make(seed=seed, **options)
    with torch.no_grad():
        head.kernels.weight.mul_(4.0)
        head.kernels.weight[-1].normal_()
        if head.estimator is not None:
            (head.estimator.rate if isinstance(head.estimator, ResponseGate) else head.estimator[2]).weight.mul_(8.0)
    return head


def made(head, features=FEATURES, encoded=ENCODED):
    """The queries, kernels and biases inside of a head, step by step."""
    content = encoded.word_index >= 0
    queries = head.generator(features.context, encoded.words, content)[0]
    out = queries @ head.kernels.weight.T + head.kernels.bias
    side = round(((out.shape[-1] - 1) / 8) ** 0.5)
    return queries, out[..., :-1].unflatten(-1, (8, side, side)) / (8 * side**2) ** 0.5, out[..., -1]


@pytest.mark.parametrize("size", [1, 3])
def test_the_grouped_convolution_is_a_loop_over_samples(size):
    """EAVL note, pitfall 12: batch-major, query-minor; two different samples tell a swap."""
    pixels, bias = torch.randn(2, 8, 9, 10, generator=RANDOM), torch.randn(2, 4, generator=RANDOM)
    kernels = torch.randn(2, 4, 8, size, size, generator=RANDOM)
    masks = dynamic_masks(pixels, kernels, bias)
    for s, n in itertools.product(range(2), range(4)):
        alone = F.conv2d(pixels[s : s + 1], kernels[s, n : n + 1], bias[s, n : n + 1], padding=size // 2)
        torch.testing.assert_close(masks[s, n], alone[0, 0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [1, 3])
def test_masks_scores_and_centre_by_hand(size):
    head = busy(kernel=size)
    output = head(FEATURES, ENCODED, explain=True)
    queries, kernels, bias = made(head)
    torch.testing.assert_close(output.query_logits, dynamic_masks(FEATURES.finest, kernels, bias))
    hidden = F.relu(queries @ head.estimator[0].weight.T + head.estimator[0].bias)
    scores = (hidden @ head.estimator[2].weight.T)[..., 0].softmax(dim=-1)
    torch.testing.assert_close(output.explanation["query_scores"], scores)
    assert scores.std() > 0.05
    expected = (scores[..., None, None] * output.query_logits).sum(dim=1, keepdim=True)
    torch.testing.assert_close(output.logits, expected)
    torch.testing.assert_close(output.explanation["query_masks"], output.query_logits.sigmoid())
    mixed = (scores[..., None, None, None] * kernels).sum(dim=1)
    torch.testing.assert_close(output.centre, mixed[:, :, size // 2, size // 2])
    assert output.explanation["query_word_attention"].shape == (2, 4, 5)


def test_a_kernel_of_one_pixel_is_the_centre():
    head = busy(kernel=1)
    output = head(FEATURES, ENCODED)
    rest = output.logits[:, 0] - torch.einsum("sc,schw->shw", output.centre, FEATURES.finest)
    torch.testing.assert_close(rest, rest[:, :1, :1].expand_as(rest), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("scores", SCORES)
def test_the_sum_of_masks_collapses_to_one_kernel_and_that_of_probabilities_does_not(scores):
    """EAVL note, 3.8 and pitfall 13."""
    for mix in MIXES:
        head = busy(scores=scores, mix=mix)
        output = head(FEATURES, ENCODED, explain=True)
        _, kernels, bias = made(head)
        weights = output.explanation["query_scores"]
        mixed = torch.einsum("sn,sncij->scij", weights, kernels)[:, None]
        one = dynamic_masks(FEATURES.finest, mixed, (weights * bias).sum(dim=1, keepdim=True))
        if mix == "logit":
            torch.testing.assert_close(output.logits, one, atol=1e-5, rtol=1e-5)
        else:
            assert (output.logits.sigmoid() - one.sigmoid()).abs().max() > 0.02


@pytest.mark.parametrize("scores", SCORES)
def test_the_mixture_of_probabilities_by_hand(scores):
    output = busy(scores=scores, mix="prob")(FEATURES, ENCODED, explain=True)
    weights = output.explanation["query_scores"]
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(2))
    expected = torch.einsum("sn,snhw->shw", weights, output.explanation["query_masks"])
    torch.testing.assert_close(output.logits[:, 0].sigmoid(), expected)


@pytest.mark.parametrize("mix", MIXES)
def test_gates_by_hand(mix):
    head = busy(scores="sigmoid", mix=mix)
    output = head(FEATURES, ENCODED, explain=True)
    queries, gate = made(head)[0], head.estimator
    masks = output.explanation["query_masks"]
    response = torch.einsum("snhw,schw->snc", masks, FEATURES.finest) / masks.sum(dim=(2, 3))[..., None]
    both = torch.cat([gate.query(queries).clamp(min=0), gate.response(response).clamp(min=0)], dim=-1)
    expected = gate.rate(gate.both(both).clamp(min=0))[..., 0].sigmoid()
    if mix == "prob":
        expected = expected / expected.sum(dim=1, keepdim=True)
    torch.testing.assert_close(output.explanation["query_scores"], expected, atol=1e-5, rtol=1e-4)


def test_a_gate_stays_finite_over_an_empty_mask():
    torch.manual_seed(0)
    gate, queries, pixels = ResponseGate(16, 8), torch.randn(1, 2, 16), torch.randn(1, 8, 3, 3)
    rating = gate(queries, pixels, torch.full((1, 2, 3, 3), -300.0, requires_grad=True))
    torch.testing.assert_close(rating, gate(queries, pixels, torch.full((1, 2, 3, 3), 5.0)))


@pytest.mark.parametrize(("scores", "mix"), SUMS)
def test_one_query_is_a_head_with_a_single_kernel(scores, mix):
    """EAVL note, pitfall 13."""
    head = busy(queries=1, scores=scores, mix=mix)
    output = head(FEATURES, ENCODED, explain=True)
    _, kernels, bias = made(head)
    single = torch.cat([F.conv2d(FEATURES.finest[s : s + 1], kernels[s], bias[s], padding=1) for s in range(2)])
    weight = output.explanation["query_scores"][..., None, None]
    if (scores, mix) == ("sigmoid", "logit"):
        assert head.estimator is not None
    else:
        assert head.estimator is None
        torch.testing.assert_close(weight, torch.ones(2, 1, 1, 1))
    torch.testing.assert_close(output.logits, weight * single, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("scores", "mix"), SUMS)
@pytest.mark.parametrize("mode", MODES)
def test_the_order_of_the_queries_does_not_matter(scores, mix, mode):
    """EAVL note, pitfall 13."""
    head, order = busy(scores=scores, mix=mix, decoder_mode=mode), [2, 0, 3, 1]
    base = head(FEATURES, ENCODED)
    with torch.no_grad():
        head.generator.look.weight.copy_(head.generator.look.weight[order].clone())
    other = head(FEATURES, ENCODED)
    torch.testing.assert_close(other.query_logits, base.query_logits[:, order], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(other.logits, base.logits, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(other.centre, base.centre, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_another_sentence_gives_another_mask(mode):
    """EAVL note, pitfall 13: sentences shuffled in the batch, the pixels staying where they are."""
    head = busy(decoder_mode=mode)
    base = head(FEATURES, ENCODED).logits
    shuffled = replace(ENCODED, words=WORDS.flip(0), word_mask=MASK.flip(0), word_index=INDEX.flip(0))
    assert (head(FEATURES, shuffled).logits - base).abs().max() > 0.02


def test_padding_and_special_tokens_never_matter():
    """EAVL note, pitfalls 8 and 9."""
    head = busy()
    base = head(FEATURES, ENCODED, explain=True)
    assert base.explanation["query_word_attention"].masked_select((INDEX < 0)[:, None]).max() == 0
    words = WORDS.clone()
    words[INDEX < 0] = 50.0
    longer = replace(
        ENCODED,
        words=torch.cat([words, torch.full((2, 3, 6), 9.0)], dim=1),
        word_mask=F.pad(MASK, (0, 3)),
        word_index=F.pad(INDEX, (0, 3), value=-1),
    )
    torch.testing.assert_close(head(FEATURES, longer).logits, base.logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_gradients_reach_the_words_through_the_kernels_alone(mode):
    """EAVL note, pitfall 13: nothing but the queries knows the words here."""
    words = WORDS.clone().requires_grad_()
    head = make(scores="uniform", decoder_mode=mode)
    head(FEATURES, replace(ENCODED, words=words)).logits.square().sum().backward()
    assert (words.grad[INDEX >= 0].abs().sum(dim=-1) > 0).all()
    assert (words.grad[INDEX < 0] == 0).all()


@pytest.mark.parametrize("mode", MODES)
def test_pixels_are_read_where_the_mode_says(mode):
    head = busy(decoder_mode=mode)
    base = head(FEATURES, ENCODED).logits
    other = replace(FEATURES, memory=[m.flip(-1) for m in FEATURES.memory])
    assert torch.equal(head(other, ENCODED).logits, base) == (mode != "both")
    assert ("memory" in head.reads) == (mode == "both")
    assert {"words", "context"} <= head.reads
    parameters = sum(p.numel() for p in head.parameters())
    assert (parameters > sum(p.numel() for p in make().parameters())) == (mode != "pixels")


@pytest.mark.parametrize(("scores", "mix"), SUMS)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("queries", "size"), [(4, 3), (1, 1)])
def test_every_parameter_learns_after_one_step(scores, mix, mode, queries, size):
    head = make(queries=queries, kernel=size, scores=scores, mix=mix, decoder_mode=mode)
    target = (torch.rand(2, 1, 9, 10, generator=torch.Generator().manual_seed(0)) > 0.8).float()
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
    F.binary_cross_entropy_with_logits(head(FEATURES, ENCODED).logits, target).backward()
    optimizer.step()
    optimizer.zero_grad()
    F.binary_cross_entropy_with_logits(head(FEATURES, ENCODED).logits, target).backward()
    for name, p in head.named_parameters():
        assert torch.isfinite(p.grad).all(), name
        assert p.grad.abs().max() > 1e-8, name


@pytest.mark.parametrize(("scores", "mix"), SUMS)
@pytest.mark.parametrize("queries", [1, 2, 16])
def test_an_untrained_head_starts_near_the_foreground_share(scores, mix, queries):
    torch.manual_seed(0)
    head = VisionLanguageAligner(64, 6, 6, (), 7, queries=queries, width=64, scores=scores, mix=mix)
    features = replace(FEATURES, finest=torch.randn(2, 64, 24, 24, generator=torch.Generator().manual_seed(1)))
    logits = head(features, ENCODED).logits
    assert 0.02 < logits.sigmoid().mean() < 0.05
    assert -4 < logits.mean() < -3
    assert logits.std() < 1


@pytest.mark.parametrize("scores", ["softmax", "sigmoid"])
def test_untrained_scores_favour_no_query(scores):
    """EAVL note, pitfall 10: scores may collapse in training, but must not begin so."""
    for seed in range(5):
        head = make(seed=seed, queries=16, width=32, scores=scores, mix="prob")
        weights = head(FEATURES, ENCODED, explain=True).explanation["query_scores"]
        effective = (-(weights * weights.log()).sum(dim=1)).exp()
        assert (effective > 15).all()


@pytest.mark.parametrize(("scores", "mix"), SUMS)
@pytest.mark.parametrize("mode", MODES)
def test_explain_does_not_change_the_masks(scores, mix, mode):
    head = busy(scores=scores, mix=mix, decoder_mode=mode)
    base, explained = head(FEATURES, ENCODED), head(FEATURES, ENCODED, explain=True)
    assert base.explanation == {}
    assert set(explained.explanation) == {"query_masks", "query_scores", "query_word_attention"}
    for field in ("logits", "query_logits", "centre"):
        torch.testing.assert_close(getattr(explained, field), getattr(base, field), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("scores", "mix"), SUMS)
def test_bfloat16(scores, mix):
    head = busy(scores=scores, mix=mix, decoder_mode="both")
    loud = replace(FEATURES, finest=FEATURES.finest * 1000)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        close, far = head(FEATURES, ENCODED, explain=True), head(loud, ENCODED)
        far.logits.float().sum().backward()
    assert torch.isfinite(far.logits).all()
    assert all(torch.isfinite(p.grad).all() for p in head.parameters())
    base = head(FEATURES, ENCODED).logits
    assert (close.logits.float() - base).abs().mean() < 0.15 * base.std()


def test_any_grid_and_a_batch_of_one():
    head = make().train()
    for size, coarse in [((7, 5), (1, 1)), ((24, 24), (3, 3))]:
        features = PixelFeatures(torch.randn(1, 8, *size), stride=2, context=torch.randn(1, 7, *coarse))
        alone = replace(ENCODED, words=WORDS[:1], word_mask=MASK[:1], word_index=INDEX[:1])
        output = head(features, alone)
        assert output.logits.shape == (1, 1, *size)
        assert torch.isfinite(output.logits).all()


def test_paper_size():
    """Generator 8.41 million, kernel head 1.18 million (2305 outputs), estimator 0.26 million."""
    head = VisionLanguageAligner(256, 512, 512, (), 512)
    count = {name: sum(p.numel() for p in part.parameters()) for name, part in head.named_children()}
    assert count == {"generator": 8_412_672, "kernels": 512 * 2305 + 2305, "estimator": 512 * 513 + 512}


@pytest.mark.parametrize(
    "options",
    [
        {"queries": 0},
        {"kernel": 2},
        {"kernel": 0},
        {"scores": "none"},
        {"mix": "mean"},
        {"decoder_mode": "words"},
        {"norm": "layer"},
        {"heads": 3, "decoder_mode": "queries"},
    ],
)
def test_bad_options_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        make(**options)


def test_a_decoder_that_lacks_what_is_read_is_refused():
    with pytest.raises(ValueError, match="gives no context map"):
        make(context=None)
    with pytest.raises(ValueError, match=r"decoder_mode='both'.*gives none"):
        make(memory=(), decoder_mode="both")
    assert make(memory=(), decoder_mode="queries")(FEATURES, ENCODED).logits.shape == (2, 1, 9, 10)


def test_bad_input_is_refused():
    head = make()
    for finest in (FEATURES.finest[:, :7], FEATURES.finest[:1], FEATURES.finest[0]):
        with pytest.raises(
            ValueError, match=r"VisionLanguageAligner: finest has shape .* expected \(S, 8, h, w\) with S=2"
        ):
            head(replace(FEATURES, finest=finest), ENCODED)
    with pytest.raises(ValueError, match="VisionLanguageAligner: word_mask must be bool"):
        head(FEATURES, replace(ENCODED, word_mask=MASK.float()))
    with pytest.raises(ValueError, match="all False"):
        head(FEATURES, replace(ENCODED, word_index=torch.full_like(INDEX, -1)))
