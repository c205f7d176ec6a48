"""The multi-query generator, and the layers in which queries read pixels."""

import pytest
import torch
import torch.nn.functional as F

from ris_lib.heads.query_decoder import QueryDecoder
from ris_lib.heads.query_generator import QueryAttention, QueryGenerator
from ris_lib.layers import coordinates

WORDS = torch.randn(3, 5, 6, generator=torch.Generator().manual_seed(1))
# A start token in front, an end token behind, padding after it.
CONTENT = torch.tensor(
    [[False, True, True, True, False], [False, True, False, False, False], [False, True] * 2 + [True]]
)


def make(queries=4, width=16, **options):
    torch.manual_seed(0)
    return QueryGenerator(8, 6, queries=queries, width=width, **options)


def picture(height=6, width=7, seed=2):
    return torch.randn(3, 8, height, width, generator=torch.Generator().manual_seed(seed))


def cosines(queries):
    """Cosine of each pair of different queries."""
    unit = F.normalize(queries, dim=-1)
    return (unit @ unit.transpose(1, 2))[:, ~torch.eye(queries.shape[1], dtype=torch.bool)]


def test_queries_by_hand():
    generator, context = make(), picture()
    queries, attention = generator(context, WORDS, CONTENT, explain=True)
    places = coordinates((6, 7), context).T.reshape(1, 2, 6, 7).expand(3, -1, -1, -1)
    located = torch.cat([context, places], dim=1)
    where = generator.look(generator.body(located)).flatten(2).softmax(dim=-1)
    flat = located.flatten(2)
    spread = (flat - flat.mean(-1, keepdim=True)) / (flat.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    seen = torch.einsum("snp,scp->snc", where, spread)
    seeds = F.layer_norm(seen, (10,)) @ generator.seed.weight.T + generator.seed.bias
    seeds = seeds.clamp(min=0)
    parts = generator.attention
    scores = parts.query(seeds) @ parts.key(WORDS).transpose(1, 2) / 16**0.5
    weights = scores.masked_fill(~CONTENT[:, None], -torch.inf).softmax(dim=-1)
    torch.testing.assert_close(attention, weights)
    expected = generator.norm(seeds + parts.out(weights @ parts.value(WORDS)))
    torch.testing.assert_close(queries, expected)
    torch.testing.assert_close(queries.mean(-1), torch.zeros(3, 4), atol=1e-5, rtol=0)


@pytest.mark.parametrize("size", [(1, 1), (3, 9), (12, 12)])
def test_one_generator_serves_every_grid(size):
    queries, attention = make()(picture(*size), WORDS, CONTENT, explain=True)
    assert queries.shape == (3, 4, 16)
    assert torch.isfinite(queries).all()
    torch.testing.assert_close(attention.sum(-1), torch.ones(3, 4))


def test_the_same_picture_on_a_grid_twice_as_fine_gives_the_same_queries():
    """Where the convolutions see single pixels and no coordinates, four copies of each pixel change nothing."""
    generator, context = make(), picture()
    with torch.no_grad():
        for block in generator.body:
            block[0].weight[:, :, [0, 0, 0, 1, 1, 2, 2, 2], [0, 1, 2, 0, 2, 0, 1, 2]] = 0
        generator.body[0][0].weight[:, 8:] = 0
    fine = context.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    here, there = generator._look(context), generator._look(fine)
    torch.testing.assert_close(there[..., :8], here[..., :8], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("common", [0.0, 20.0])
def test_queries_differ_at_the_start_whatever_all_places_have_in_common(common):
    """EAVL note, pitfall 11: plain means of places that are alike would give one kernel for all queries."""
    for seed in range(3):
        torch.manual_seed(seed)
        generator = QueryGenerator(8, 6, queries=8, width=32)
        smooth = F.interpolate(picture(4, 4, seed), size=(12, 12), mode="bicubic") + common
        pairs = cosines(generator(smooth, WORDS, CONTENT)[0])
        assert pairs.mean() < 0.6
        assert pairs.median() < 0.9


def test_only_content_words_are_heard():
    """Neither special tokens nor padding: the start token of a causal encoder knows no word of the sentence."""
    generator, context = make(), picture()
    base, attention = generator(context, WORDS, CONTENT, explain=True)
    assert attention.masked_select(~CONTENT[:, None]).max() == 0
    deaf, heard = WORDS.clone(), WORDS.clone()
    deaf[~CONTENT] = 99.0
    heard[:, 1] += 1.0
    torch.testing.assert_close(generator(context, deaf, CONTENT)[0], base)
    assert not torch.allclose(generator(context, heard, CONTENT)[0], base, atol=1e-3)
    longer = torch.cat([WORDS, torch.full((3, 4, 6), 7.0)], dim=1)
    torch.testing.assert_close(generator(context, longer, F.pad(CONTENT, (0, 4)))[0], base)


def test_queries_depend_on_the_picture_and_on_the_place():
    generator, context = make(), picture()
    base = generator(context, WORDS, CONTENT)[0]
    assert not torch.allclose(generator(picture(seed=5), WORDS, CONTENT)[0], base, atol=1e-2)
    assert not torch.allclose(generator(context.flip(-1), WORDS, CONTENT)[0], base, atol=1e-2)


def test_explain_does_not_change_the_queries():
    generator = make()
    base, nothing = generator(picture(), WORDS, CONTENT)
    assert nothing is None
    torch.testing.assert_close(generator(picture(), WORDS, CONTENT, explain=True)[0], base, atol=1e-5, rtol=1e-5)


def test_group_norm_takes_a_batch_of_one_in_training_like_any_other():
    generator = make().train()
    together = generator(picture(), WORDS, CONTENT)[0]
    torch.testing.assert_close(generator(picture()[:1], WORDS[:1], CONTENT[:1])[0], together[:1], atol=1e-5, rtol=1e-5)


def test_batch_norm_is_an_option():
    generator = make(norm="batch")
    assert sum(isinstance(m, torch.nn.BatchNorm2d) for m in generator.modules()) == 3
    assert torch.isfinite(generator(picture(), WORDS, CONTENT)[0]).all()


@pytest.mark.parametrize("norm", ["group", "batch"])
def test_every_parameter_learns(norm):
    generator = make(norm=norm)
    queries = generator(picture(), WORDS, CONTENT)[0]
    (queries * torch.randn_like(queries)).sum().backward()
    for name, p in generator.named_parameters():
        assert torch.isfinite(p.grad).all(), name
        assert p.grad.abs().max() > 1e-6, name


def test_bfloat16():
    generator = make()
    base = generator(picture(), WORDS, CONTENT)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half, attention = generator(picture() * 1000, WORDS, CONTENT, explain=True)
        close = generator(picture(), WORDS, CONTENT)[0]
    assert torch.isfinite(half).all()
    assert torch.isfinite(attention).all()
    assert (close.float() - base).abs().mean() < 0.1


def test_paper_size():
    """8.41 million parameters; the Vision-Language Transformer's form, tied to a grid of 26 x 26, would have 8.5."""
    assert sum(p.numel() for p in QueryGenerator(512, 512).parameters()) == 8_412_672


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="queries=0"):
        make(queries=0)
    with pytest.raises(ValueError, match="norm='layer'"):
        make(norm="layer")
    generator = make()
    with pytest.raises(ValueError, match=r"QueryGenerator: context has shape \(3, 7, 6, 7\).*8"):
        generator(picture()[:, :7], WORDS, CONTENT)
    with pytest.raises(ValueError, match=r"QueryGenerator: context.*S=2"):
        generator(picture(), WORDS[:2], CONTENT[:2])
    with pytest.raises(ValueError, match="QueryGenerator: words have 5 channels; expected 6"):
        generator(picture(), WORDS[..., :5], CONTENT)
    with pytest.raises(ValueError, match="QueryGenerator: word_mask must be bool"):
        generator(picture(), WORDS, CONTENT.long())
    with pytest.raises(ValueError, match="QueryGenerator: a row of word_mask is all False"):
        generator(picture(), WORDS, torch.zeros_like(CONTENT))


def test_query_attention_is_torchs_without_the_idle_biases():
    torch.manual_seed(0)
    ours, reference = QueryAttention(8, 6, heads=2), torch.nn.MultiheadAttention(8, 2, kdim=6, vdim=6, batch_first=True)
    with torch.no_grad():
        reference.q_proj_weight.copy_(ours.query.weight)
        reference.k_proj_weight.copy_(ours.key.weight)
        reference.v_proj_weight.copy_(ours.value.weight)
        reference.in_proj_bias.copy_(torch.cat([ours.query.bias, torch.zeros(16)]))
        reference.out_proj.load_state_dict(ours.out.state_dict())
    queries = torch.randn(3, 4, 8)
    expected, weights = reference(queries, WORDS, WORDS, key_padding_mask=~CONTENT)
    mixed, seen = ours(queries, WORDS, mask=CONTENT, explain=True)
    torch.testing.assert_close(mixed, expected)
    torch.testing.assert_close(seen, weights)
    with pytest.raises(ValueError, match="width=8 is not a multiple of heads=3"):
        QueryAttention(8, 6, heads=3)


def test_layers_take_the_maps_in_turn():
    torch.manual_seed(0)
    decoder = QueryDecoder(8, (6, 4), layers=3, heads=2)
    assert [layer.pixel_norm.normalized_shape for layer in decoder.layers] == [(6,), (4,), (6,)]
    queries, coarse, fine = torch.randn(2, 3, 8), torch.randn(2, 6, 2, 3), torch.randn(2, 4, 4, 6)
    base = decoder(queries, [coarse, fine])
    assert base.shape == (2, 3, 8)
    for maps in ([coarse.flip(-1), fine], [coarse, fine.flip(-1)]):
        assert not torch.allclose(decoder(queries, maps), base, atol=1e-4)


def test_updated_queries_stay_apart_and_in_order():
    torch.manual_seed(0)
    decoder = QueryDecoder(8, (6,), heads=2)
    queries, feature_map, order = torch.randn(2, 3, 8), torch.randn(2, 6, 2, 3), [2, 0, 1]
    base = decoder(queries, [feature_map])
    torch.testing.assert_close(decoder(queries[:, order], [feature_map]), base[:, order])
    torch.testing.assert_close(decoder(queries[:, :1], [feature_map]), base[:, :1])


@pytest.mark.parametrize("maps", [(6,), (6, 4)])
def test_every_parameter_of_the_query_decoder_learns(maps):
    torch.manual_seed(0)
    decoder = QueryDecoder(8, maps, heads=2)
    updated = decoder(torch.randn(2, 3, 8), [torch.randn(2, channels, 3, 3) for channels in maps])
    (updated * torch.randn_like(updated)).sum().backward()
    assert all(torch.isfinite(p.grad).all() and p.grad.abs().max() > 1e-6 for p in decoder.parameters())


@pytest.mark.parametrize(("maps", "layers"), [((), 2), ((6,), 0)])
def test_a_query_decoder_needs_maps_and_layers(maps, layers):
    with pytest.raises(ValueError, match="QueryDecoder: map_channels"):
        QueryDecoder(8, maps, layers=layers, heads=2)
