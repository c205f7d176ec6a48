"""The centre embedding: generator, grouping, states."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ris_lib.attention import MultiHeadAttention
from ris_lib.contract import Encoded, PixelFeatures
from ris_lib.heads.centre_embedding import CentreEmbedding
from ris_lib.heads.centre_generator import CentreGenerator, HardGroupingLayer, assign
from ris_lib.models.official import lgformer, translate
from ris_lib.positions import sine_2d
from tests.golden.case import read_case

SIZES = ((2, 3), (4, 5), (8, 9))


def make(channels=8, memory=(4, 4, 4), **options):
    torch.manual_seed(0)
    given = {"layers": 4, "heads": 2, "feed_forward": 12} | options
    return CentreEmbedding(channels, 6, 6, memory, None, **given)


def inputs(memory=(4, 4, 4), special=True):
    random = torch.Generator().manual_seed(1)
    words = torch.randn(2, 5, 6, generator=random)
    mask = torch.tensor([[True] * 5, [True, True, True, False, False]])
    index = torch.tensor([[-1, 0, 1, 2, -1], [-1, 0, -1, -1, -1]]) if special else torch.where(mask, 0, -1)
    maps = [torch.randn(2, c, *size, generator=random) for c, size in zip(memory, SIZES)]
    features = PixelFeatures(torch.randn(2, 8, 16, 18, generator=random), 4, memory=maps)
    return features, Encoded([], words, words[:, 0], mask, index, torch.arange(2))


def learn(head, features, encoded):
    """Two steps in float64, where rounding cannot pass for a gradient; the gradients of the second."""
    head, encoded.words = head.double(), encoded.words.double()
    features = PixelFeatures(features.finest.double(), 4, memory=[m.double() for m in features.memory])
    optimiser = torch.optim.SGD(head.parameters(), lr=0.01)
    torch.manual_seed(2)
    for _ in range(2):
        optimiser.zero_grad()
        output = head(features, encoded)
        sum((x * torch.randn_like(x)).sum() for x in (output.logits, *output.aux_logits)).backward()
        optimiser.step()
    return {name: p.grad for name, p in head.named_parameters()}


def test_shapes_and_what_it_fills():
    head = make()
    output = head(*inputs())
    assert output.logits.shape == (2, 1, 16, 18)
    assert [x.shape for x in output.aux_logits] == [(2, 1, 16, 18)] * 4
    assert output.centre.shape == (2, 8)
    assert output.explanation == {}
    assert (head.fills, head.reads) == ({"centre", "aux_logits"}, {"words", "memory"})


def test_seven_outputs_by_default():
    """Note 3.4 and 4: the pooled words and six layers."""
    head = CentreEmbedding(8, 16, 16, (4, 4, 4), None, feed_forward=8)
    features, encoded = inputs()
    encoded.words = torch.randn(2, 5, 16)
    assert len(head(features, encoded).aux_logits) == 6


def test_the_centre_times_the_pixels_is_the_mask_up_to_the_bias():
    """Note 3.5: Y = <c, P> + b."""
    features, encoded = inputs()
    output = make()(features, encoded)
    bias = output.logits[:, 0] - torch.einsum("sc,schw->shw", output.centre, features.finest)
    torch.testing.assert_close(bias, bias.mean(dim=(1, 2), keepdim=True).expand_as(bias), atol=1e-5, rtol=0)


def test_a_layer_by_hand():
    """Note 3.4: keys carry positions and values do not, the residual starts from the state without its position."""
    torch.manual_seed(0)
    generator = CentreGenerator(8, (4,), layers=1, heads=2, feed_forward=12)
    state, pixels = torch.randn(2, 8), torch.randn(2, 4, 2, 3)
    layer, tokens = generator.layers[0], pixels.flatten(2).transpose(1, 2) + generator.level_embedding[0]
    reference = nn.MultiheadAttention(8, 2, kdim=4, vdim=4, batch_first=True)
    ours: MultiHeadAttention = layer.attention
    with torch.no_grad():
        for name in ("query", "key", "value"):
            getattr(reference, f"{name[0]}_proj_weight").copy_(getattr(ours, name).weight)
        reference.in_proj_bias.copy_(torch.cat([getattr(ours, n).bias for n in ("query", "key", "value")]))
        reference.out_proj.load_state_dict(ours.out.state_dict())
    query, key = state[:, None] + generator.query_position, tokens + sine_2d((2, 3), 4, like=tokens)
    looked = layer.attention_norm(state[:, None] + reference(query, key, tokens)[0])
    wanted = layer.forward_norm(looked + layer.forward_net(looked))[:, 0]
    states = generator(state, [pixels])
    torch.testing.assert_close(states[:, 0], state)
    torch.testing.assert_close(states[:, 1], wanted)


def test_layers_cycle_coarse_to_fine():
    """Pitfall 6: layer l reads map l modulo 3, the coarsest first."""
    features, encoded = inputs()
    head = make(layers=5)
    base = head(features, encoded, explain=True).explanation["centre_states"]
    for k, first in enumerate((1, 2, 3)):
        changed = PixelFeatures(features.finest, 4, memory=list(features.memory))
        changed.memory[k] = changed.memory[k] + torch.randn_like(changed.memory[k])
        states = head(changed, encoded, explain=True).explanation["centre_states"]
        same = [torch.allclose(a, b) for a, b in zip(states.unbind(1), base.unbind(1))]
        assert same == [step < first for step in range(6)]


def test_explaining_changes_nothing():
    features, encoded = inputs()
    head = make()
    plain, explained = head(features, encoded), head(features, encoded, explain=True)
    assert torch.equal(plain.logits, explained.logits)
    states = explained.explanation["centre_states"]
    assert states.shape == (2, 5, 8)
    assert torch.equal(states[:, -1], explained.centre)


def test_every_output_has_its_own_state():
    features, encoded = inputs()
    output = make()(features, encoded, explain=True)
    states = output.explanation["centre_states"]
    for k, logits in enumerate([*output.aux_logits, output.logits]):
        moved = logits[:, 0] - torch.einsum("sc,schw->shw", states[:, k], features.finest)
        torch.testing.assert_close(moved, moved[:, :1, :1].expand_as(moved), atol=1e-5, rtol=0)


@pytest.mark.parametrize("tokens", ["all", "content"])
def test_padding_never_matters_and_words_always_do(tokens):
    """Pitfalls 3 and 10: special tokens are averaged unless the option says otherwise."""
    features, encoded = inputs()
    head = make(tokens=tokens)
    base = head(features, encoded).logits
    words = encoded.words.clone()
    encoded.words = words.clone()
    encoded.words[1, 3:] = float("nan")
    assert torch.equal(head(features, encoded).logits, base)
    for position, matters in ((1, True), (0, tokens == "all")):
        encoded.words = words.clone()
        encoded.words[:, position, 0] += 1.0
        assert torch.allclose(head(features, encoded).logits, base) != matters


def test_the_start_is_the_mean_of_the_real_words():
    features, encoded = inputs()
    head = make(layers=0)
    mean = torch.stack([encoded.words[0].mean(dim=0), encoded.words[1, :3].mean(dim=0)])
    torch.testing.assert_close(head(features, encoded).centre, head.read_out(head.start(mean))[:, :8])


def test_without_layers_the_centre_is_the_pooled_text():
    features, encoded = inputs()
    head = make(layers=0, memory=())
    output = head(PixelFeatures(features.finest, 4), encoded)
    assert output.aux_logits == []
    assert (head.fills, head.reads) == ({"centre"}, {"words"})
    moved = head(PixelFeatures(features.finest + 1, 4), encoded)
    assert torch.equal(output.centre, moved.centre)
    with torch.no_grad():
        torch.testing.assert_close(make()(features, encoded).aux_logits[0], self_logits(features, encoded))


def self_logits(features, encoded):
    """The first output of the head with layers, from its parts."""
    head = make()
    mean = torch.stack([encoded.words[0].mean(dim=0), encoded.words[1, :3].mean(dim=0)])
    read = head.read_out(head.start(mean))
    return torch.einsum("sc,schw->shw", read[:, :8], features.finest)[:, None] + read[:, 8:, None, None]


@pytest.mark.parametrize("memory", [(4, 4, 4), (12, 8, 4), (4,), (8, 4)])
@pytest.mark.parametrize("options", [{}, {"grouping": "cosine"}, {"grouping": "hard"}, {"width": 8}, {"layers": 1}])
def test_every_parameter_learns(memory, options):
    """Levels that no layer reaches are not built; maps of other widths are projected."""
    options = {"width": 16} | options if len(set(memory)) > 1 else options
    gradients = learn(make(memory=memory, **options), *inputs(memory))
    dead = {n for n, g in gradients.items() if g is None or not torch.isfinite(g).all() or g.abs().max() < 1e-9}
    # a bias of all keys cancels in a softmax over the keys; torch's attention and the released code have it too
    assert {n for n in dead if options.get("grouping") == "hard" or not n.endswith("attention.key.bias")} == set()


def test_cosine_by_hand():
    """Note 3.5: (cos - delta) / tau, delta and tau at 0 and 0.1; the pixels and the centre keep their norms."""
    features, encoded = inputs()
    head = make(grouping="cosine")
    finest = features.finest.clone()
    output = head(features, encoded)
    cosine = F.cosine_similarity(output.centre[..., None, None], features.finest, dim=1)
    torch.testing.assert_close(output.logits[:, 0], cosine / 0.1)
    assert torch.equal(features.finest, finest)
    assert not torch.allclose(output.centre.norm(dim=1), torch.ones(2))
    with torch.no_grad():
        head.delta.fill_(0.5)
    torch.testing.assert_close(head(features, encoded).logits[:, 0], (cosine - 0.5) / 0.1)


def test_hard_assignment_by_hand():
    scores = torch.tensor([[[2.0, 0.0, 1.0], [1.0, 3.0, 0.0]]], requires_grad=True)
    members = assign(scores, noisy=False)
    torch.testing.assert_close(members, torch.tensor([[[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]]))
    weights = torch.arange(6.0).view(1, 2, 3)
    (ours,) = torch.autograd.grad((members * weights).sum(), scores)
    (soft,) = torch.autograd.grad((scores.softmax(dim=1) * weights).sum(), scores)
    torch.testing.assert_close(ours, soft)


def test_noisy_assignment_draws_from_the_softmax():
    torch.manual_seed(0)
    scores = torch.tensor([1.0, 0.0])[None, :, None].expand(1, 2, 20000)
    share = assign(scores, noisy=True).mean(dim=2)[0]
    torch.testing.assert_close(share, scores[0, :, 0].softmax(dim=0), atol=0.02, rtol=0)


def test_a_hard_group_is_the_mean_over_its_members_plus_one():
    torch.manual_seed(0)
    layer = HardGroupingLayer(8, 4, 1, 12).eval()
    tokens, position, pixels = torch.randn(1, 2, 8), torch.randn(2, 8), torch.randn(1, 7, 4)
    query = F.normalize(layer.attention.query(tokens + position), dim=-1)
    key = F.normalize(layer.attention.key(pixels), dim=-1)
    owner = (query @ key.transpose(1, 2)).argmax(dim=1)[0]
    value = layer.attention.value(pixels)[0]
    mean = torch.stack([value[owner == t].sum(dim=0) / ((owner == t).sum() + 1) for t in (0, 1)])[None]
    wanted = layer.attention_norm(tokens + layer.attention.out(mean))
    torch.testing.assert_close(
        layer(tokens, position, pixels, pixels), layer.forward_norm(wanted + layer.forward_net(wanted))
    )


def test_hard_grouping_is_drawn_in_training_and_fixed_in_evaluation():
    features, encoded = inputs()
    head = make(grouping="hard")
    torch.manual_seed(0)
    assert not torch.equal(head(features, encoded).logits, head(features, encoded).logits)
    head.eval()
    assert torch.equal(head(features, encoded).logits, head(features, encoded).logits)


def test_an_untrained_head_is_not_saturated():
    features, encoded = inputs()
    shares = []
    for seed in range(20):
        torch.manual_seed(seed)
        head = CentreEmbedding(8, 6, 6, (4, 4, 4), None, layers=3, heads=2, feed_forward=12)
        shares.append(head(features, encoded).logits.sigmoid().mean())
    assert 0.01 < torch.stack(shares).mean() < 0.1
    blank = PixelFeatures(torch.zeros(2, 8, 2, 2), 4, memory=features.memory)
    head = make(foreground=0.2)
    with torch.no_grad():
        head.read_out[-1].weight.zero_()
    torch.testing.assert_close(head(blank, encoded).logits.sigmoid(), torch.full((2, 1, 2, 2), 0.2))


@pytest.mark.parametrize("grouping", ["dot", "cosine", "hard"])
def test_bfloat16_and_large_features(grouping):
    features, encoded = inputs()
    head = make(grouping=grouping)
    large = PixelFeatures(features.finest * 100, 4, memory=[m * 100 for m in features.memory])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = head(large, encoded)
        sum(x.float().sum() for x in (output.logits, *output.aux_logits)).backward()
    assert all(torch.isfinite(x).all() for x in (output.logits, output.centre, *output.aux_logits))
    assert all(torch.isfinite(p.grad).all() for p in head.parameters())


def test_equals_lgformer_in_float64(golden_folder):
    case = read_case(golden_folder / "lgformer_query_generator.npz")
    config = case.config
    generator = CentreGenerator(
        config["d_model"], [config["mask_dim"]] * 3, config["num_layers"], config["nhead"], config["dim_ffn"]
    )
    generator.load_state_dict(translate(case.official_weights(), lgformer.GENERATOR))
    maps = [torch.from_numpy(case.inputs[f"ms{k}"]).double() for k in range(3)]
    states = generator.double()(torch.from_numpy(case.inputs["pooled_text"])[:, 0].double(), maps)
    wanted = torch.from_numpy(np.load(case.path)["out64/states"])[:, :, 0].transpose(0, 1)
    torch.testing.assert_close(states, wanted, atol=1e-6, rtol=1e-6)


def test_as_many_parameters_as_the_note_counts():
    """Note 3.4: layers 28.4 M, head 1.4 M."""
    with torch.device("meta"):
        head = CentreEmbedding(256, 768, 768, (256, 256, 256), 256)
    count = {name: sum(p.numel() for p in part.parameters()) / 1e6 for name, part in head.named_children()}
    assert round(count["generator"], 1) == 28.4
    assert round(count["read_out"], 1) == 1.4


@pytest.mark.parametrize("bad", [lambda m: m.float(), lambda m: m[:, :3], lambda m: m & False])
def test_bad_word_masks_are_refused(bad):
    features, encoded = inputs()
    encoded.word_mask = bad(encoded.word_mask)
    with pytest.raises(ValueError, match="CentreEmbedding"):
        make()(features, encoded)


def test_a_sentence_of_special_tokens_has_no_content():
    features, encoded = inputs()
    encoded.word_index[1] = -1
    make()(features, encoded)
    with pytest.raises(ValueError, match="only special tokens"):
        make(tokens="content")(features, encoded)


def test_other_shapes_are_refused():
    features, encoded = inputs()
    with pytest.raises(ValueError, match="7 and 6 channels"):
        make(channels=7)(features, encoded)
    with pytest.raises(ValueError, match="as many maps as sentences"):
        make()(PixelFeatures(features.finest[:1], 4, memory=features.memory), encoded)
    with pytest.raises(ValueError, match="coarse to fine"):
        make()(PixelFeatures(features.finest, 4, memory=features.memory[:2]), encoded)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grouping": "soft"}, "grouping='soft'"),
        ({"tokens": "some"}, "tokens='some'"),
        ({"foreground": 0.0}, "foreground=0.0"),
        ({"foreground": 1.0}, "foreground=1.0"),
        ({"layers": -1}, "layers=-1"),
        ({"layers": 0, "grouping": "hard"}, "hard grouping needs layers"),
        ({"memory": ()}, "memory maps to look at"),
        ({"memory": (6, 6)}, "multiple of 4"),
        ({"heads": 4}, "heads=4"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)


def test_a_generator_needs_layers_and_maps():
    for layers, memory in ((0, (4,)), (1, ())):
        with pytest.raises(ValueError, match="at least one"):
            CentreGenerator(8, memory, layers=layers, heads=2)
