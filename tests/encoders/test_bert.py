"""BERT cut into groups of layers: official numbers, padding, hidden tokens, starting weights."""

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel

from ris_lib.encoders.bert import BertText
from ris_lib.models.official.bert import BERT
from ris_lib.models.official.rules import translate
from tests.golden.case import read_case

SMALL = {"layers": (1, 0, 2, 0), "width": 8, "heads": 2, "intermediate": 16, "positions": 12, "length": 6}
IDS = torch.tensor([[4, 5, 6, 0], [7, 8, 9, 3]])
MASK = IDS > 0


def make(seed=0, **options):
    torch.manual_seed(seed)
    tower = BertText(13, **{"mask_id": 2, **SMALL, **options})
    with torch.no_grad():  # fresh weights are so small that every word looks the same
        for parameter in tower.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    return tower.eval()


def encode(tower, ids=IDS, mask=MASK, **hiding):
    words = tower.embed(ids, mask, **hiding)
    for k in range(4):
        words = tower.group(k, words, mask)
    return tower.finish(words)


@pytest.fixture
def published(tmp_path):
    """A folder as on the hub, and the model that is in it."""
    torch.manual_seed(1)
    config = BertConfig(
        vocab_size=13,
        hidden_size=8,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=12,
    )
    model = BertModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    model.save_pretrained(tmp_path / "bert")
    return str(tmp_path / "bert"), model


@pytest.mark.slow
@pytest.mark.parametrize("file", ["whole_lavt.npz", "whole_lavt_384.npz"])
def test_equals_official_bert(golden_folder, file):
    """All layers first, and the same layers in four groups."""
    case = read_case(golden_folder / file)
    config = case.config["bert"]
    weights = translate(case.official_checkpoint(case.meta["keys"])["bert_model"], BERT)
    ids, mask = torch.from_numpy(case.inputs["ids"]).long(), torch.from_numpy(case.inputs["att"]).bool()
    count = config["num_hidden_layers"]
    for layers in [(count, 0, 0, 0), (count // 4, count // 4, count // 4, count - 3 * (count // 4))]:
        tower = BertText(
            config["vocab_size"],
            mask_id=103,
            length=ids.shape[1],
            layers=layers,
            width=config["hidden_size"],
            heads=config["num_attention_heads"],
            intermediate=config["intermediate_size"],
            positions=config["max_position_embeddings"],
        ).eval()
        tower.load_state_dict(weights)
        with torch.no_grad():
            words = encode(tower, ids, mask)
        np.testing.assert_allclose(words.numpy(), case.expected["bert"], **case.meta["tolerance"]["bert"])


def test_equals_the_library_model(published):
    folder, model = published
    tower = make(start=folder)
    tower.load_start()
    with torch.no_grad():
        expected = model(input_ids=IDS, attention_mask=MASK.long()).last_hidden_state
    torch.testing.assert_close(encode(tower)[MASK], expected[MASK], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layers", [(3, 0, 0, 0), (1, 1, 1, 0), (0, 0, 0, 3)])
def test_groups_do_not_change_the_numbers(layers):
    tower, other = make(), make(layers=layers)
    other.load_state_dict(tower.state_dict())
    assert torch.equal(encode(other), encode(tower))
    assert other.last_group == max(k for k in range(4) if layers[k])


def test_a_group_without_layers_hands_the_words_on():
    tower = make()
    words = tower.embed(IDS, MASK)
    assert tower.group(1, words, MASK) is words
    assert tower.finish(words) is words


def test_padding_never_matters_and_words_always_do():
    tower = make()
    base = encode(tower)
    padded, changed = IDS.clone(), IDS.clone()
    padded[0, 3] = 11
    changed[0, 0] = 11
    torch.testing.assert_close(encode(tower, padded)[0, :3], base[0, :3], atol=0, rtol=0)
    assert not torch.allclose(encode(tower, changed)[0, 1], base[0, 1])


def test_more_padding_changes_nothing():
    tower = make()
    longer = torch.cat([IDS, torch.full((2, 3), 11)], dim=1)
    mask = torch.cat([MASK, torch.zeros(2, 3, dtype=torch.bool)], dim=1)
    torch.testing.assert_close(encode(tower, longer, mask)[:, :4][MASK], encode(tower)[MASK])


def test_word_order_matters():
    tower = make()
    assert not torch.allclose(encode(tower, IDS[:, [1, 0, 2, 3]])[0, 2], encode(tower)[0, 2])


def test_hidden_tokens_become_the_mask_token():
    tower, hidden, ids = make(), torch.zeros_like(MASK), IDS.clone()
    hidden[0, 1] = True
    ids[0, 1] = 2
    assert torch.equal(encode(tower, hidden=hidden), encode(tower, ids))


def test_a_stand_in_takes_the_place_of_the_word_vector():
    tower, hidden = make(mask_id=None), torch.zeros_like(MASK)
    hidden[0, 1] = True
    stand_in = tower.embeddings.word_embeddings.weight[9]
    ids = IDS.clone()
    ids[0, 1] = 9
    assert torch.equal(encode(tower, hidden=hidden, stand_in=stand_in), encode(tower, ids))


def test_sentence_is_the_mean_of_the_content_words():
    words = torch.tensor([[[1.0], [2.0], [6.0], [99.0]]])
    index = torch.tensor([[-1, 0, 1, -1]])
    tower = make()
    tower.drop_sentence()
    assert tower.sentence(words, index > -2, index).tolist() == [[4.0]]


def test_every_parameter_learns():
    tower = make().train()
    words = encode(tower)
    (words * torch.randn_like(words)).sum().backward()
    dead = [n for n, p in tower.named_parameters() if p.grad is None or not p.grad.isfinite().all() or not p.grad.any()]
    # A key's bias adds the same to every score of a query: its gradient is zero but for rounding.
    assert [name for name in dead if "key.bias" not in name] == []


def test_half_precision():
    tower = make()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        words = encode(tower)
    assert words.isfinite().all()
    assert (words.float() - encode(tower)).abs().max() < 0.2


def test_fused_attention_equals_attention_in_the_open():
    tower = make()
    fused = encode(tower)
    tower.layers[0].attention.self.config._attn_implementation = "eager"
    torch.testing.assert_close(encode(tower), fused, atol=1e-5, rtol=1e-5)


def test_state_dict_round_trip():
    tower, other = make(), make(seed=5)
    other.load_state_dict(tower.state_dict())
    assert torch.equal(encode(tower), encode(other))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (MASK.float(), "word_mask must be bool"),
        (MASK[:, :3], "word_mask has shape"),
        (torch.zeros_like(MASK), "all False"),
    ],
)
def test_a_bad_word_mask_is_refused(mask, message):
    with pytest.raises(ValueError, match=message):
        make().embed(IDS, mask)


def test_a_float_mask_is_refused_by_a_group_too():
    tower = make()
    with pytest.raises(ValueError, match="mask must be bool"):
        tower.group(0, tower.embed(IDS, MASK), MASK.float())


def test_hiding_needs_a_mask_token():
    with pytest.raises(ValueError, match=r"BertText.*\[MASK\]"):
        make(mask_id=None).embed(IDS, MASK, hidden=MASK)


def test_too_many_tokens_are_refused():
    ids = torch.ones(1, 13, dtype=torch.long)
    with pytest.raises(ValueError, match=r"13 tokens.*positions=12"):
        make().embed(ids, ids > 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": (2,)}, "expected four numbers"),
        ({"layers": (0, 0, 0, 0)}, "expected four numbers"),
        ({"heads": 3}, "not a multiple"),
        ({"length": 13}, "table of positions"),
    ],
)
def test_bad_sizes_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        BertText(13, **{"mask_id": 2, **SMALL, **options})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 4}, r"position_embeddings\.weight \(12, 8\) there, \(12, 4\) here"),
        ({"positions": 10}, r"position_embeddings\.weight \(12, 8\) there, \(10, 8\) here"),
        ({"layers": (2, 0, 0, 0)}, r"layers\.2\.\S+ only there"),
        ({"layers": (4, 0, 0, 0)}, r"layers\.3\.\S+ only here"),
        ({"heads": 4}, "num_attention_heads=2; this tower has num_attention_heads=4"),
    ],
)
def test_weights_of_other_sizes_do_not_fit(published, options, message):
    """The number of heads shows in no shape."""
    tower = make(start=published[0], **options)
    before = {name: value.clone() for name, value in tower.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        tower.load_start()
    assert all(torch.equal(value, before[name]) for name, value in tower.state_dict().items())


def test_nothing_is_read_before_it_is_asked_for():
    assert make(start="google-bert/no-such-model").start == "google-bert/no-such-model"
    with pytest.raises(ValueError, match="no starting weights were named"):
        make().load_start()
