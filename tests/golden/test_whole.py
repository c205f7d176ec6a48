"""Whole official checkpoint files, made from formula weights, through ``ris convert`` to the released numbers."""

import argparse

import numpy as np
import pytest
import torch

from ris_lib.cli import main
from ris_lib.layers import resize_map
from ris_lib.models import ReferringSegmenter
from tests.golden.case import Case, read_case
from tests.golden.compare import compare
from tests.golden.cris_cases import _batch
from tests.golden.lavt_cases import one_sentence_each


def lavt(case: Case, weights: dict) -> dict:
    return weights | {
        "optimizer": {"state": {0: {"step": 3, "exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 5e-5}]},
        "epoch": 39,
        "args": argparse.Namespace(model="lavt", lr=5e-5),
        "lr_scheduler": {"last_epoch": 3, "_last_lr": [5e-5], "lr_lambdas": [None]},
    }


def cris(case: Case, weights: dict) -> dict:
    return {
        "epoch": 50,
        "cur_iou": np.float64(0.6),
        "best_iou": np.float32(0.7),
        "prec": {"Pr@50": np.float64(0.8)},
        "state_dict": {f"module.{name}": value for name, value in weights["state_dict"].items()},
        "optimizer": {"state": {}, "param_groups": []},
    }


def plain(case: Case, weights: dict) -> dict:
    return weights["model"]


def lgformer(case: Case, weights: dict) -> dict:
    return weights | {"args": argparse.Namespace(lr=5e-5), "epoch": 3}


def answers(case: Case, model: ReferringSegmenter) -> dict[str, torch.Tensor]:
    """Outputs of a whole model by the files' names; those of its inside are compared by the adapters."""
    if case.component == "cris.whole":
        batch = _batch(torch.from_numpy(case.inputs["img"]), torch.from_numpy(case.inputs["ids"]))
    else:
        batch = one_sentence_each(case)
    with torch.no_grad():
        output = model(batch)
    if case.component == "cris.whole":
        return {"pred": output.logits}
    if case.component == "magnet.whole":
        return {"pred_masks": output.logits, "aux_masks": torch.stack(output.aux_logits)}
    size = batch.images.shape[-2:]
    if case.component == "lgformer.whole":
        stacked = torch.stack([*output.aux_logits, output.logits])
        return {"logits_stride4": stacked, "last": resize_map(output.logits, size)}
    logits = output.class_logits
    raised = {"logits": resize_map(logits, size, align_corners=True)} if "logits" in case.expected else {}
    return {"logits_stride4": logits, **raised}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("files", "form", "shown"),
    [
        (["whole_lavt.npz", "whole_lavt_384.npz"], lavt, "LAVT"),
        (["whole_cris_r50.npz"], cris, "CRIS"),
        (["whole_cris_r101.npz"], cris, "CRIS"),
        (["whole_magnet_released.npz"], plain, "MagNet"),
        (["whole_lgformer.npz"], lgformer, "LGFormer"),
    ],
    ids=lambda value: value[0].removesuffix(".npz") if isinstance(value, list) else "",
)
def test_a_converted_checkpoint_gives_the_released_numbers(golden_folder, tmp_path, capsys, files, form, shown):
    cases = [read_case(golden_folder / file) for file in files]
    weights = cases[0].official_checkpoint(cases[0].meta["keys"])
    file, out = tmp_path / "official.pth", tmp_path / "ours"
    torch.save(form(cases[0], weights), file)
    del weights
    assert main(["convert", str(file), str(out)]) == 0
    assert capsys.readouterr().out.startswith(f"{shown}: ")
    file.unlink()
    model = ReferringSegmenter.from_pretrained(out)
    (out / "model.safetensors").unlink()  # a gigabyte
    for case in cases:
        for name, value in answers(case, model).items():
            difference = compare(value, case.expected[name], case.meta["tolerance"][name], name)
            assert difference.ok, f"{case.path.name} {name}: {difference}"
