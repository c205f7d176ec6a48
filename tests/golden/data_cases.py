"""Adapters of ``data.*``: tokenisers, the reader of the official files, pictures brought to the network's size."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools import mask as coco_mask

from ris_lib.data.pictures import read_picture
from ris_lib.data.refer import read_refer, refer_files, unpickle_refs
from ris_lib.data.tokenizers import ClipTokenizer, Pieces, Tokenizer, WordPieceTokenizer
from ris_lib.data.transforms import letterbox_cris, normalise, resize_mask, stretch
from tests.golden.case import Case, MissingDataError, adapter
from tests.golden.warp import warp


@adapter("data.bert_tokens")
def bert_tokens(case: Case) -> dict[str, Any]:
    length = case.config["max_tokens"]
    return {f"ids{length}": _ids(WordPieceTokenizer(length), case.inputs["sentences"])}


@adapter("data.cris_tokens")
def cris_tokens(case: Case) -> dict[str, Any]:
    lengths = case.config["word_len"].items()
    return {name: _ids(ClipTokenizer(length), case.inputs["sentences"]) for name, length in lengths}


@adapter("data.cris_preprocess")
def cris_preprocess(case: Case) -> dict[str, Any]:
    """Our ``letterbox_cris``; the soft mask (linear, then divided) is CRIS's own and made here."""
    size, mean, std = (case.config["input_size"],) * 2, case.config["mean"], case.config["std"]
    mine = {}
    for k in range(sum(name.startswith("img") for name in case.inputs)):
        image = case.inputs[f"img{k}"]
        picture, to_network = letterbox_cris(image, size, mean)
        forward, inverse = _cris_matrices(to_network.numpy(), image.shape[:2])
        mine |= {
            f"forward{k}": forward,
            f"inverse{k}": inverse,
            f"img{k}": normalise(picture, mean, std).numpy(),
            f"mask{k}": np.round(warp(case.inputs[f"mask{k}"], inverse, size, "linear")) / 255,
        }
    return mine


def _cris_matrices(to_network: np.ndarray, original_size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Our exact ``to_network`` as CRIS writes it: from where the picture's corners land, rounded to float32, which
    moves the inverse's offset by up to 2e-6. (2, 3) each, order x, y: original to input, and back."""
    forward, inverse = np.zeros((2, 3)), np.zeros((2, 3))
    for axis, (scale, offset), side in zip((1, 0), to_network, original_size):  # rows are y, CRIS's second axis
        first, last = float(np.float32(offset)), float(np.float32(offset + scale * side))
        forward[axis, [axis, 2]] = (last - first) / side, first
        inverse[axis, [axis, 2]] = side / (last - first), -first * side / (last - first)
    return forward, inverse


@adapter("data.lavt_dataset")
def lavt_dataset(case: Case) -> dict[str, Any]:
    """Pictures and ids as we make them; targets as LAVT makes them, after a check of our own masks."""
    root, config = case.data_folder(), case.config
    size = (config["img_size"],) * 2
    rows = _rows(case, root)
    rows = [row for row in rows if row["split"] == config["split"]]
    raw = {ref["ref_id"]: [entry["raw"] for entry in ref["sentences"]] for ref in _refs(case, root)}
    annotations = _annotations(case, root)
    mine = {}
    for index, ref_id in case.inputs["index_and_ref_id"].tolist():
        row = rows[index]
        if row["ref_id"] != ref_id:
            raise ValueError(f"place {index} of the split holds ref {row['ref_id']}, expected {ref_id}")
        picture, to_network = stretch(read_picture(_photograph(root, row["file_name"]), upright=False), size)
        picture = normalise(picture, config["mean"], config["std"])
        parts = _parts(annotations[row["referent_id"]]["segmentation"], row)
        if not np.array_equal(_our_mask(row), parts.any(axis=0)):
            raise ValueError(f"our mask of ref {ref_id} is not the union of its parts")
        target = resize_mask(_once_covered(parts), to_network, size).numpy()
        tokens = WordPieceTokenizer(config["max_tokens"])(raw[ref_id])
        mine |= {
            f"img_sub_{index}": picture[:, 7::32, 5::32].numpy(),
            f"img_mean_{index}": picture.double().mean((1, 2)).numpy(),
            f"img_std_{index}": picture.double().std((1, 2)).numpy(),
            f"target_packed_{index}": np.packbits(target),
            f"target_sum_{index}": target.sum(),
            f"ids_{index}": tokens.token_ids.T.numpy(),
            f"att_{index}": tokens.word_mask.T.numpy(),
        }
    return mine


@adapter("data.refer", without=("n_anns", "n_imgs", "cats", "ann_ids_by_image", "observed_defects"))
def refer(case: Case) -> dict[str, Any]:
    """Our reader's rows. It keeps refs, so what the toolkit says of all other annotations is not compared."""
    root = case.data_folder()
    rows, refs, annotations = _rows(case, root), _refs(case, root), _annotations(case, root)
    names = {entry["name"]: str(entry["id"]) for entry in _instances(case, root)["categories"]}
    # the toolkit's "test" means every split whose name contains it; ours are exact
    splits = {
        asked: [row for row in rows if row["split"] == asked or (asked == "test" and "test" in row["split"])]
        for asked in case.expected["ref_ids"]
    }
    by_category: dict[str, list[int]] = {name: [] for name in case.expected["ref_ids_by_cat"]}
    for row in rows:
        if (category := names.get(row["category"])) in by_category:
            by_category[category].append(row["ref_id"])
    _check_sentences(rows, refs)
    return {
        "n_refs": len(rows),
        "n_sents": sum(len(row["sentences"]) for row in rows),
        "all_ref_ids_in_order": [row["ref_id"] for row in rows],
        "ref_ids": {name: [row["ref_id"] for row in chosen] for name, chosen in splits.items()},
        "image_ids": {name: sorted({row["image_id"] for row in chosen}) for name, chosen in splits.items()},
        "ref_ids_by_cat": by_category,
        "sentences": {
            str(ref["ref_id"]): [[s["sent_id"], s["sent"], s["raw"], s["tokens"]] for s in ref["sentences"]]
            for ref in refs
        },
        "boxes": {str(row["ref_id"]): _xywh(row["box"]) for row in rows},
        "masks": {
            key: _mask_facts(row, annotations[row["referent_id"]], case.expected["masks"].get(key, {}))
            for row in rows
            for key in [str(row["ref_id"])]
        },
    }


def _mask_facts(row: dict, annotation: dict, official: dict) -> dict[str, Any]:
    """What the file says of a mask: the union from our reader, sums over the parts as the toolkit makes them."""
    segmentation, mask = annotation["segmentation"], _our_mask(row)
    facts = {
        "kind": "rle" if isinstance(segmentation, dict) else f"polygons:{len(segmentation)}",
        "image_hw": [row["height"], row["width"]],
        "ann_area": annotation["area"],
        "pixels_union": int(mask.sum()),
        "crc32_union_packbits": zlib.crc32(np.packbits(mask).tobytes()),
    }
    if "refer_raises" in official:  # a statement about the toolkit alone: ours reads such masks
        return facts | {"refer_raises": official["refer_raises"]}
    parts = _parts(segmentation, row)
    total = int(parts.sum())
    return facts | {
        "max_value": int(parts.sum(axis=0).max()),
        "sum_of_parts": total,
        "pixels_equal_1": int(_once_covered(parts).sum()),
        "refer_area": total,
    }


def _once_covered(parts: np.ndarray) -> np.ndarray:
    """LAVT's and MagNet's mask: the decoded polygons are added, pixels *equal* to 1 are kept, so that what two polygons
    cover is lost. For comparison only; ours is the union."""
    return parts.sum(axis=0) == 1


def _parts(segmentation: Any, row: dict) -> np.ndarray:
    """The polygons of an annotation decoded one by one, (parts, H, W) bool, by pycocotools without our reader."""
    runs = coco_mask.frPyObjects(segmentation, row["height"], row["width"])
    decoded = coco_mask.decode(runs if isinstance(runs, list) else [runs])
    return decoded.transpose(2, 0, 1).astype(bool)


def _our_mask(row: dict) -> np.ndarray:
    return coco_mask.decode({"size": [row["height"], row["width"]], "counts": row["rle"]}).astype(bool)


def _xywh(box: list[float]) -> list[float]:
    left, top, right, bottom = box
    return [left, top, right - left, bottom - top]


def _check_sentences(rows: list[dict], refs: list[dict]) -> None:
    """Our rows hold the cleaned sentences (raw where cleaning left nothing) with their numbers, none dropped."""
    for row, ref in zip(rows, refs, strict=True):
        wanted = [(e["sent_id"], e["sent"] if e["sent"].strip() else e["raw"]) for e in ref["sentences"]]
        if list(zip(row["sentence_ids"], row["sentences"])) != wanted:
            raise ValueError(f"ref {ref['ref_id']}: the index has {row['sentences']}, the file {wanted}")


def _ids(tokenizer: Tokenizer, sentences: list[str]) -> np.ndarray:
    """Token ids; a blank sentence, which our tokenisers refuse, is the frame without pieces."""
    rows = []
    for sentence in sentences:
        if sentence.strip():
            rows.append(tokenizer([sentence]).token_ids[0])
        else:
            ids = tokenizer.frame(Pieces([], [], []))[0]
            rows.append(torch.tensor(ids + [tokenizer.pad_id] * (tokenizer.length - len(ids))))
    return torch.stack(rows).numpy()


def _rows(case: Case, root: Path) -> list[dict]:
    return read_refer(root, case.config["dataset"], case.config["splitBy"])


def _refs(case: Case, root: Path) -> list[dict]:
    return unpickle_refs(refer_files(root, case.config["dataset"], case.config["splitBy"])[0])


def _instances(case: Case, root: Path) -> dict[str, Any]:
    return json.loads(refer_files(root, case.config["dataset"], case.config["splitBy"])[1].read_bytes())


def _annotations(case: Case, root: Path) -> dict[int, dict]:
    return {entry["id"]: entry for entry in _instances(case, root)["annotations"]}


def _photograph(root: Path, name: str) -> Path:
    for folder in ("images/train2014", "images/mscoco/images/train2014"):
        if (root / folder / name).is_file():
            return root / folder / name
    raise MissingDataError(f"no photograph {name} under {root / 'images'}")
