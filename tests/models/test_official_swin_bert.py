"""Official names of Swin's and BERT's weights: all known, none lost, and they fit our towers."""

import json
import re

import pytest
import torch

from ris_lib.encoders.bert import BertText
from ris_lib.encoders.swin import SwinImage
from ris_lib.models.official.bert import BERT
from ris_lib.models.official.rules import left_behind, translate, under
from ris_lib.models.official.swin import PATCH_MERGING, SWIN, SWIN_BLOCKS

#: Names of a Swin or a BERT inside a larger network, without the fusion blocks and norms that stand between.
OURS = re.compile(r"(?:patch_embed\..*|layers\.\d\.(blocks|downsample)\..*|embeddings\..*|encoder\.layer\.\d+\..*)")


def tiny_swin():
    return SwinImage(embed_dim=8, depths=(1, 2, 1, 1), heads=(1, 2, 2, 4), window=4)


def official_swin(tower):
    """The tower's weights under official names: the rules backwards, written out by hand."""
    found = {}
    for name, value in tower.state_dict().items():
        name = re.sub(r"^embeddings\.patch_embeddings\.projection", "patch_embed.proj", name)
        name = re.sub(r"^embeddings\.norm", "patch_embed.norm", name)
        name = re.sub(r"^merging\.(\d)\.", r"layers.\1.downsample.", name)
        name = re.sub(r"^stages\.(\d)\.(\d)\.", r"layers.\1.blocks.\2.", name)
        name = name.replace("layernorm_before", "norm1").replace("layernorm_after", "norm2")
        name = name.replace("attention.relative_position_bias.", "attn.").replace("attention.o_proj", "attn.proj")
        found[name] = value
    for name in [name for name in found if "q_proj" in name]:
        parts = [found.pop(name.replace("q_proj", f"{letter}_proj")) for letter in "qkv"]
        found[name.replace("attention.q_proj", "attn.qkv")] = torch.cat(parts)
    return found


def test_a_whole_swin_comes_back():
    tower = tiny_swin()
    official = official_swin(tower)
    official["layers.1.blocks.1.attn.relative_position_index"] = torch.zeros(16, 16, dtype=torch.long)
    ours = translate(official, SWIN)
    assert ours.keys() == tower.state_dict().keys()
    assert all(torch.equal(ours[name], value) for name, value in tower.state_dict().items())
    assert set(left_behind(official, SWIN)) == {"layers.1.blocks.1.attn.relative_position_index"}


def test_queries_keys_and_values_are_told_apart():
    official = {"blocks.0.attn.qkv.bias": torch.arange(6.0)}
    found = {name: value.tolist() for name, value in translate(official, SWIN_BLOCKS).items()}
    assert found == {
        "0.attention.q_proj.bias": [0.0, 1.0],
        "0.attention.k_proj.bias": [2.0, 3.0],
        "0.attention.v_proj.bias": [4.0, 5.0],
    }


def test_stages_and_merging_fit_alone():
    tower, official = tiny_swin(), official_swin(tiny_swin())
    inside = {name.removeprefix("layers.1."): value for name, value in official.items() if name.startswith("layers.1.")}
    blocks = {name: value for name, value in inside.items() if name.startswith("blocks")}
    merging = {name: value for name, value in inside.items() if name.startswith("downsample")}
    assert inside.keys() == blocks.keys() | merging.keys()
    tower.stages[1].load_state_dict(translate(blocks, SWIN_BLOCKS))
    tower.merging[1].load_state_dict(translate(merging, PATCH_MERGING))


def test_the_last_stage_has_no_merging():
    with pytest.raises(ValueError, match=r"layers\.3\.downsample\.norm\.weight"):
        translate({"layers.3.downsample.norm.weight": torch.zeros(1)}, SWIN)


def test_a_whole_bert_comes_back():
    tower = BertText(13, 2, layers=(1, 0, 1, 0), width=8, heads=2, intermediate=16, positions=32)
    official = {re.sub(r"^layers\.", "encoder.layer.", name): value for name, value in tower.state_dict().items()}
    official |= {"embeddings.position_ids": torch.arange(32), "pooler.dense.weight": torch.zeros(8, 8)}
    ours = translate(official, BERT)
    assert ours.keys() == tower.state_dict().keys()
    assert all(torch.equal(ours[name], value) for name, value in tower.state_dict().items())
    assert set(left_behind(official, BERT)) == {"embeddings.position_ids", "pooler.dense.weight"}


def test_strange_names_are_refused():
    for rules in (SWIN, BERT):
        with pytest.raises(ValueError, match="1 names of the checkpoint are not known"):
            translate({"layers.0.blocks.0.attn.other.weight": torch.zeros(1)}, rules)


@pytest.mark.parametrize(
    ("keys", "part", "swin", "bert"),
    [
        ("keys_lavt.json", "model", "backbone.", None),
        ("keys_lavt.json", "bert_model", None, ""),
        ("keys_magnet.json", "model", "image_model.", "language_model."),
        ("keys_lgformer.json", "model", "backbone.", "text_encoder."),
    ],
)
def test_every_official_name_is_known_and_fits(golden_folder, keys, part, swin, bert):
    """Shapes only, on the meta device: no weight is made."""
    listed = json.loads((golden_folder / keys).read_text(encoding="utf-8"))["state_dicts"][part]
    with torch.device("meta"):
        official = {name: torch.empty(spec["shape"]) for name, spec in listed.items()}
        towers = [(SWIN, swin, SwinImage), (BERT, bert, lambda: BertText(30522, 103))]
        for rules, prefix, make in towers:
            if prefix is None:
                continue
            belongs = {n: v for n, v in official.items() if re.fullmatch(re.escape(prefix) + OURS.pattern, n)}
            ours = translate(belongs, under(re.escape(prefix), "", rules))
            expected = make().state_dict()
            assert {n: v.shape for n, v in ours.items()} == {n: v.shape for n, v in expected.items()}
