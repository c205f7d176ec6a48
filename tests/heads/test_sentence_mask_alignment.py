"""Sentence-mask alignment and its mask generator, alone and as the whole of CoupAlign."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from ris_lib.contract import Encoded, ModelState, PixelFeatures, Reads
from ris_lib.decoders import DetailMerge, TopDown
from ris_lib.encoders import StagedEncoder, TinyImage, TinyText
from ris_lib.fusion.wpa import WPA
from ris_lib.heads.mask_generator import GeneratorLayer, MaskGenerator
from ris_lib.heads.sentence_mask_alignment import VARIANTS, SentenceMaskAlignment
from ris_lib.models import list_models, recipe
from ris_lib.objectives import Segmentation
from tests.tiny_batches import make_batch
from tests.whole_models import with_another_word

SIZES = {"queries": 5, "layers": 2, "heads": 2, "width": 16, "feed_forward": 24}


def make(variant="mixture", memory=(12, 8), **options):
    torch.manual_seed(0)
    return SentenceMaskAlignment(8, 6, 6, memory, None, **{**SIZES, "variant": variant, **options})


def inputs(dtype=torch.float32, sides=(3, 6), seed=0):
    """Three sentences: the first with [CLS] and [SEP], the second cut off before [SEP], the third shorter."""
    random = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=random).to(dtype)

    index = torch.tensor([[-1, 0, 1, 1, -1], [-1, 0, 1, 2, 3], [-1, 0, -1, -1, -1]])
    mask = torch.tensor([[True] * 5, [True] * 5, [True, True, True, False, False]])
    words = draw(3, 5, 6)
    memory = [draw(3, channels, side, side + 1) for channels, side in zip((12, 8), sides)]
    encoded = Encoded([], words, words[:, 0], mask, index, torch.arange(3))
    return PixelFeatures(draw(3, 8, 7, 6), stride=4, memory=memory), encoded


def by_hand(head, features, encoded):
    """Proposals, weights and the three masks from the formulas, in plain loops."""
    proposals = head.generator(features.memory, encoded.words, encoded.word_mask)
    pixels = F.conv2d(features.finest, head.to_finest.weight.T[:, :, None, None])
    hidden = proposals
    for k in (0, 2, 4):
        hidden = hidden @ head.embedding[k].weight.T + head.embedding[k].bias
        hidden = hidden.relu() if k < 4 else hidden
    logits = torch.einsum("snd,sdhw->snhw", hidden, pixels) + head.mask_bias
    weights = torch.empty(logits.shape[:2], dtype=logits.dtype)
    for s, (words, index) in enumerate(zip(encoded.words, encoded.word_index)):
        sentence = head.weights.sentence.weight @ words[index >= 0].mean(dim=0)
        scores = [F.cosine_similarity(head.weights.proposal.weight @ q, sentence, dim=0) for q in proposals[s]]
        weights[s] = (torch.stack(scores) / head.weights.log_temperature.exp()).softmax(dim=0)
    p = (weights[..., None, None] * logits.sigmoid()).sum(dim=1, keepdim=True)
    masks = {
        "mixture": p.log() - (1 - p).log(),
        "linear": (weights[..., None, None] * logits).sum(dim=1, keepdim=True),
    }
    if head.read_out is not None:
        spread = sum(
            weights[:, n, None, None, None] * logits[:, n : n + 1].sigmoid() * proposals[:, n, :, None, None]
            for n in range(logits.shape[1])
        )
        masks["projected"] = head.read_out(torch.cat([features.finest, spread], dim=1))
    return masks[head.variant], logits, weights


@pytest.mark.parametrize("variant", VARIANTS)
def test_equals_the_formulas(variant):
    head = make(variant).double()
    features, encoded = inputs(torch.float64)
    output = head(features, encoded, explain=True)
    logits, query_logits, weights = by_hand(head, features, encoded)
    torch.testing.assert_close(output.logits, logits.to(output.logits.dtype), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(output.query_logits, query_logits)
    torch.testing.assert_close(output.explanation["query_scores"], weights)
    torch.testing.assert_close(output.explanation["query_masks"], query_logits.sigmoid())


def test_shapes_and_what_is_filled():
    features, encoded = inputs()
    head = make()
    output = head(features, encoded)
    assert output.logits.shape == (3, 1, 7, 6)
    assert output.query_logits.shape == (3, 5, 7, 6)
    assert output.centre.shape == (3, 8)
    assert (output.aux_logits, output.class_logits, output.explanation) == ([], None, {})
    assert {"centre", "query_logits"} == head.fills
    assert {"memory", "words"} == head.reads


@pytest.mark.parametrize(("variant", "collapses"), [("linear", True), ("mixture", False), ("projected", False)])
def test_the_linear_variant_collapses_to_one_kernel_and_the_others_do_not(variant, collapses):
    head = make(variant)
    with torch.no_grad():
        head.embedding[4].weight.mul_(20)
    features, encoded = inputs()
    output = head(features, encoded)
    single = torch.einsum("sc,schw->shw", output.centre, features.finest)[:, None] + head.mask_bias
    difference = (output.logits - single).abs().max()
    assert (difference < 1e-5) if collapses else (difference > 0.05)


@pytest.mark.parametrize("words_in_memory", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_permuting_the_queries_permutes_weights_and_proposals_and_leaves_the_mask(variant, words_in_memory):
    head = make(variant, words_in_memory=words_in_memory)
    features, encoded = inputs()
    base = head(features, encoded, explain=True)
    order = torch.tensor([3, 0, 4, 1, 2])
    with torch.no_grad():
        head.generator.seeds.copy_(head.generator.seeds[order])
    after = head(features, encoded, explain=True)
    close = {"atol": 1e-5, "rtol": 1e-5}
    torch.testing.assert_close(after.query_logits, base.query_logits[:, order], **close)
    torch.testing.assert_close(after.explanation["query_scores"], base.explanation["query_scores"][:, order], **close)
    torch.testing.assert_close(after.logits, base.logits, **close)
    torch.testing.assert_close(after.centre, base.centre, **close)
    assert not torch.allclose(after.query_logits, base.query_logits, atol=1e-3)


@pytest.mark.parametrize("words_in_memory", [False, True])
def test_longer_padding_and_what_stands_in_it_never_matter(words_in_memory):
    head = make(words_in_memory=words_in_memory)
    features, encoded = inputs()
    base = head(features, encoded).logits
    words = encoded.words.clone()
    words[~encoded.word_mask] = 99.0
    torch.testing.assert_close(head(features, replace(encoded, words=words)).logits, base, atol=1e-5, rtol=1e-5)
    longer = replace(
        encoded,
        words=F.pad(encoded.words, (0, 0, 0, 10), value=7.0),
        word_mask=F.pad(encoded.word_mask, (0, 10)),
        word_index=F.pad(encoded.word_index, (0, 10), value=-1),
    )
    torch.testing.assert_close(head(features, longer).logits, base, atol=1e-5, rtol=1e-5)


def test_the_sentence_is_the_mean_of_content_words_and_special_tokens_do_not_matter():
    head = make()
    features, encoded = inputs()
    base = head(features, encoded, explain=True).explanation["query_scores"]
    words = encoded.words.clone()
    words[encoded.word_index < 0] += 5.0
    special = head(features, replace(encoded, words=words), explain=True).explanation["query_scores"]
    torch.testing.assert_close(special, base)
    words = encoded.words.clone()
    words[1, 4] += 1.0  # the last word of a sentence that was cut off before [SEP]
    after = head(features, replace(encoded, words=words), explain=True).explanation["query_scores"]
    assert not torch.allclose(after[1], base[1])
    torch.testing.assert_close(after[[0, 2]], base[[0, 2]])


def test_without_words_in_memory_the_sentence_moves_weights_and_not_masks():
    features, encoded = inputs()
    other = replace(encoded, words=encoded.words.flip(0) * 2)
    for words_in_memory in (False, True):
        head = make(words_in_memory=words_in_memory)
        before, after = head(features, encoded, explain=True), head(features, other, explain=True)
        assert torch.allclose(before.query_logits, after.query_logits) != words_in_memory
        assert not torch.allclose(before.explanation["query_scores"], after.explanation["query_scores"])
        assert not torch.allclose(before.logits, after.logits)


def test_the_order_of_the_words_reaches_the_generator():
    head = make(words_in_memory=True)
    features, encoded = inputs()
    swapped = replace(encoded, words=encoded.words[:, [0, 2, 1, 3, 4]])
    assert not torch.allclose(head(features, encoded).query_logits[0], head(features, swapped).query_logits[0])


def test_every_map_of_the_memory_is_read_and_its_places_too():
    head = make()
    features, encoded = inputs()
    base = head(features, encoded).query_logits
    for k in range(2):
        changed = list(features.memory)
        changed[k] = changed[k].roll(1, dims=3)
        assert not torch.allclose(head(replace(features, memory=changed), encoded).query_logits, base)


def test_maps_of_any_size_and_loudness():
    head = make()
    assert head.generator.seeds.shape == (5, 16)
    for sides in ((1, 2), (5, 9)):
        features, encoded = inputs(sides=sides)
        assert head(features, encoded).logits.shape == (3, 1, 7, 6)
    features, encoded = inputs()
    loud = replace(features, memory=[m * 50 for m in features.memory])
    torch.testing.assert_close(
        head(loud, encoded).query_logits, head(features, encoded).query_logits, atol=1e-3, rtol=1e-3
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_explaining_does_not_change_the_mask(variant):
    head = make(variant)
    features, encoded = inputs()
    plain, shown = head(features, encoded), head(features, encoded, explain=True)
    torch.testing.assert_close(shown.logits, plain.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(shown.explanation["query_scores"].sum(dim=1), torch.ones(3))
    assert ((shown.explanation["query_masks"] >= 0) & (shown.explanation["query_masks"] <= 1)).all()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("width", [64, 256])
def test_an_untrained_mask_starts_near_the_foreground_share_and_no_proposal_takes_all(variant, width):
    head = make(variant, queries=16, width=width, heads=4)
    features, encoded = inputs()
    output = head(features, encoded, explain=True)
    assert 0.01 < output.logits.sigmoid().mean() < 0.12
    assert -4.5 < output.logits.mean() < -1.5
    scores = output.explanation["query_scores"]
    torch.testing.assert_close(head.weights.log_temperature.exp(), torch.tensor(0.1))
    effective = (-(scores * scores.log()).sum(dim=1)).exp()
    assert (effective > 4).all()
    assert (output.explanation["query_masks"].std(dim=1) > 0).all()


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("options", [{}, {"words_in_memory": True}, {"queries": 1, "layers": 1}])
def test_every_parameter_learns(variant, options):
    head = make(variant, **options)
    features, encoded = inputs()
    optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
    goal = torch.randn(3, 1, 7, 6, generator=torch.Generator().manual_seed(3))
    for step in range(2):
        optimizer.zero_grad()
        (head(features, encoded).logits * goal).sum().backward()
        if step == 0:
            optimizer.step()
    for name, p in head.named_parameters():
        assert p.grad is not None, name
        assert torch.isfinite(p.grad).all(), name
        # one shift of all keys moves no softmax: this bias of every attention has a gradient of rounding errors only
        assert name.endswith("attention.key.bias") or p.grad.abs().max() > 1e-7, name


def test_the_temperature_is_learned():
    head = make()
    (gradient,) = torch.autograd.grad(head(*inputs()).logits.square().sum(), head.weights.log_temperature)
    assert gradient.abs() > 1e-6


@pytest.mark.parametrize("name", list_models("coupalign_*"))
def test_logits_are_raised_not_probabilities(name):
    """CoupAlign note, pitfall 10: interpolated probabilities have soft edges."""
    assert recipe(name).upsample["of"] == "logits"


@pytest.mark.parametrize("words_in_memory", [False, True])
def test_one_query_is_not_weighed(words_in_memory):
    head = make(queries=1, words_in_memory=words_in_memory)
    assert head.weights is None
    assert head.reads == ({"memory", "words"} if words_in_memory else {"memory"})
    assert not any("self_attention" in name for name, _ in head.named_parameters())
    features, encoded = inputs()
    output = head(features, encoded, explain=True)
    torch.testing.assert_close(output.logits, output.query_logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(output.explanation["query_scores"], torch.ones(3, 1))


@pytest.mark.parametrize("variant", VARIANTS)
def test_half_precision(variant):
    head = make(variant, words_in_memory=True)
    features, encoded = inputs()
    expected = head(features, encoded).logits
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = head(features, encoded, explain=True)
        output.logits.float().sum().backward()
    torch.testing.assert_close(output.logits.float(), expected, atol=0.1, rtol=0.05)
    assert output.explanation["query_scores"].dtype == torch.float32
    assert all(torch.isfinite(p.grad).all() for p in head.parameters())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "sum"}, "variant='sum'; expected one of mixture"),
        ({"memory": ()}, "no coarser maps"),
        ({"queries": 0}, "queries=0"),
        ({"layers": 0}, "layers=0"),
        ({"width": 18}, "width=18 must be a multiple of 4"),
        ({"heads": 3}, "heads=3"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=f"SentenceMaskAlignment.*{message}"):
        make(**options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f, e: (replace(f, finest=f.finest[:, :7]), e), "finest"),
        (lambda f, e: (f, replace(e, words=e.words[..., :5])), "words have shape"),
        (lambda f, e: (replace(f, memory=f.memory[:1]), e), r"\(12,\) channels; expected \(12, 8\)"),
        (lambda f, e: (replace(f, memory=f.memory[::-1]), e), r"\(8, 12\) channels; expected \(12, 8\)"),
        (lambda f, e: (replace(f, finest=f.finest[:2]), e), "same number"),
        (lambda f, e: (replace(f, memory=[m[:1] for m in f.memory]), e), "same number"),
        (lambda f, e: (f, replace(e, word_index=e.word_index[:, :4])), "word_index has shape"),
        (lambda f, e: (f, replace(e, word_index=e.word_index.clamp(max=-1))), "no content word"),
        (lambda f, e: (f, replace(e, word_mask=e.word_mask.float())), "must be bool"),
        (lambda f, e: (f, replace(e, word_mask=e.word_mask[:, :4])), "word_mask has shape"),
        (lambda f, e: (f, replace(e, word_mask=e.word_mask & False)), "all False"),
    ],
)
def test_bad_input_is_refused(change, message):
    with pytest.raises(ValueError, match=f"SentenceMaskAlignment.*{message}"):
        make()(*change(*inputs()))


def test_the_sizes_of_the_note_are_the_defaults():
    """CoupAlign note, 3.4: 16 queries, 3 layers of 8 heads, feed-forward 1024."""
    with torch.device("meta"):
        generator = SentenceMaskAlignment(256, 768, 768, (256, 256), None).generator
    assert generator.seeds.shape == (16, 256)
    assert [layer.memory_attention.heads for layer in generator.layers] == [8] * 3
    assert generator.layers[0].forward_net[0].out_features == 1024


def test_a_layer_of_the_generator_is_torchs_with_norms_in_front():
    torch.manual_seed(0)
    ours = GeneratorLayer(8, heads=2, feed_forward=12)
    theirs = nn.TransformerDecoderLayer(8, 2, 12, dropout=0.0, batch_first=True, norm_first=True)
    norms = (ours.self_norm, ours.memory_norm, ours.forward_norm)
    with torch.no_grad():
        for norm, reference in zip(norms, (theirs.norm1, theirs.norm2, theirs.norm3)):
            norm.weight.normal_()
            norm.bias.normal_()
            reference.load_state_dict(norm.state_dict())
        attentions = (ours.self_attention, theirs.self_attn), (ours.memory_attention, theirs.multihead_attn)
        for attention, reference in attentions:
            parts = (attention.query, attention.key, attention.value)
            reference.in_proj_weight.copy_(torch.cat([part.weight for part in parts]))
            reference.in_proj_bias.copy_(torch.cat([part.bias for part in parts]))
            reference.out_proj.load_state_dict(attention.out.state_dict())
        theirs.linear1.load_state_dict(ours.forward_net[0].state_dict())
        theirs.linear2.load_state_dict(ours.forward_net[2].state_dict())
    queries, memory = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
    mask = torch.tensor([[True] * 5, [True, True, False, False, False]])
    expected = theirs(queries, memory, memory_key_padding_mask=~mask)
    torch.testing.assert_close(ours(queries, memory, mask), expected, atol=1e-5, rtol=1e-5)


def test_the_generator_normalises_its_embeddings():
    generator = MaskGenerator((12, 8), queries=4, layers=1, heads=2, width=16, feed_forward=24)
    embeddings = generator(inputs()[0].memory)
    assert embeddings.shape == (3, 4, 16)
    torch.testing.assert_close(embeddings.mean(dim=-1), torch.zeros(3, 4), atol=1e-5, rtol=0)
    assert not torch.allclose(embeddings[:, 0], embeddings[:, 1], atol=0.1)


def test_a_generator_that_reads_words_asks_for_them():
    generator = MaskGenerator((12, 8), queries=4, layers=1, heads=2, width=16, feed_forward=24, word_dim=6)
    with pytest.raises(ValueError, match="needs words and word_mask"):
        generator(inputs()[0].memory, torch.zeros(3, 5, 6))


class TinyCoupAlign(nn.Module):
    """Encoder with alignment at each stage, decoder, merge, head, losses."""

    def __init__(self, variant="mixture", length=30):
        super().__init__()
        torch.manual_seed(0)
        image = TinyImage(widths=(8, 8, 16, 16), strides=(4, 8, 16, 16), detail_channels=8)
        text = TinyText(12, mask_id=2, width=8, layers=(1, 1, 1, 1), heads=2, length=length)
        reads = [Reads(pixels=k < 3) for k in range(4)]
        blocks = [WPA(c, 8, head_dim=4, reads=read) for c, read in zip(image.channels, reads)]
        self.encoder = StagedEncoder(image, text, blocks)
        self.decoder = TopDown(image.channels, image.strides, 8, 8, width=8)
        self.merge = DetailMerge(8, 8, 8)
        self.head = SentenceMaskAlignment(8, 8, 8, self.decoder.memory_channels, None, **SIZES, variant=variant)
        self.objective = Segmentation(None)

    def forward(self, batch, explain=False):
        encoded = self.encoder(batch, explain)
        features = self.merge(self.decoder(encoded), encoded)
        return ModelState(encoded, features, self.head(features, encoded, explain), self.encoder.encode_text)

    def loss(self, batch):
        terms = self.objective(self(batch), batch)
        return sum(term.sum / term.count for term in terms.values())


def padded(batch, length):
    extra = (0, length - batch.token_ids.shape[1])
    return replace(
        batch,
        token_ids=F.pad(batch.token_ids, extra),
        word_mask=F.pad(batch.word_mask, extra),
        word_index=F.pad(batch.word_index, extra, value=-1),
    )


@pytest.fixture
def trained():
    """A model after two steps: its gates have opened a little."""
    model = TinyCoupAlign()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(2):
        optimizer.zero_grad()
        model.loss(make_batch()).backward()
        optimizer.step()
    return model


def test_longer_padding_never_changes_the_mask_of_the_whole_model(trained):
    batch = make_batch()
    base = trained(padded(batch, 20)).output.logits
    torch.testing.assert_close(trained(padded(batch, 30)).output.logits, base, atol=1e-5, rtol=0)
    other = make_batch()
    other.token_ids[0, 0] = 3 + (other.token_ids[0, 0] - 2) % 9
    assert not torch.allclose(trained(padded(other, 20)).output.logits[0], base[0], atol=1e-3)


def test_at_first_the_sentence_reaches_the_proposals_and_their_weights():
    """CoupAlign note, pitfall 4, mended: behind closed gates the encoder is deaf, but the decoder hears past them."""
    model, batch = TinyCoupAlign(), make_batch()
    base, after = (model(b, explain=True).output for b in (batch, with_another_word(batch)))
    assert ((after.query_logits - base.query_logits).flatten(1).abs().amax(dim=1) > 1e-3).all()
    moved = (after.explanation["query_scores"] - base.explanation["query_scores"]).abs().amax(dim=1)
    assert (moved > 1e-3).all()
    assert ((after.logits - base.logits).flatten(1).abs().amax(dim=1) > 1e-4).all()


@pytest.mark.slow
def test_eight_sentences_are_learned_by_heart():
    """CoupAlign note, check 8: pictures of 128 pixels, two sentences each."""
    model, batch = TinyCoupAlign(), make_batch((128, 128), index=(0, 0, 1, 1, 2, 2, 3, 3))
    for k in range(8):
        batch.masks[k] = False
        batch.masks[k, 8 + 12 * k : 40 + 12 * k, 16 : 30 + 14 * k] = True
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(100):
        optimizer.zero_grad()
        model.loss(batch).backward()
        optimizer.step()
    raised = F.interpolate(model(batch).output.logits, (128, 128), mode="bilinear", align_corners=True)[:, 0] > 0
    iou = (raised & batch.masks).sum(dim=(1, 2)) / (raised | batch.masks).sum(dim=(1, 2))
    assert iou.mean() > 0.9


def test_explaining_the_whole_model_does_not_change_the_mask(trained):
    plain, shown = trained(make_batch()), trained(make_batch(), explain=True)
    torch.testing.assert_close(shown.output.logits, plain.output.logits, atol=1e-5, rtol=0)
    assert len(shown.encoded.explanation["pixel_word_attention"]) == 4


@pytest.mark.parametrize("variant", VARIANTS)
def test_first_gate_matrices_wait_behind_closed_gates_and_the_whole_model_lives_after_one_step(variant):
    model = TinyCoupAlign(variant)
    batch = make_batch()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    model.loss(batch).backward()
    live = {n for n, p in model.encoder.fusions.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    gates = {n for n, _ in model.encoder.fusions.named_parameters() if ".gate." in n}
    assert live & gates == {n for n in gates if n.endswith("gate.2.weight")}
    optimizer.step()
    optimizer.zero_grad()
    model.loss(batch).backward()
    for name, p in model.named_parameters():
        assert p.grad is not None, name
        assert torch.isfinite(p.grad).all(), name
        assert name.endswith("attention.key.bias") or p.grad.abs().max() > 0, name
