"""What must hold of refs and sentences by themselves: numbers that occur once, splits that share nothing, text.

Source: the loader's self-test of our protocol; the REFER tool keeps all of these in dictionaries by number, where a
second entry silently replaces the first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable
from typing import Any

from ris_lib.data.records import is_whole, sentences_of
from ris_lib.data.verify.files import OfficialFiles
from ris_lib.data.verify.verdict import Verdict, cannot, judge

#: Cuts that divide objects, so that one image is in several splits; of RefCOCO's own ``google`` nobody recorded it.
OBJECTS_DIVIDED = (("refcocog", "google"),)
_NOT_RECORDED = (("refcoco", "google"),)


def check_numbers(files: OfficialFiles) -> list[Verdict]:
    """Every ref, sentence, annotation and image has a number of its own, and every annotation one ref."""
    sentence_ids = [
        entry["sent_id"]
        for ref in files.refs
        if isinstance(ref["sentences"], list)
        for entry in ref["sentences"]
        if isinstance(entry, dict) and is_whole(entry.get("sent_id"))
    ]
    columns = {
        "ref_id": [ref["ref_id"] for ref in files.refs],
        "sent_id": sentence_ids,
        "annotation id": [record["id"] for record in files.annotations],
        "image id": [record["id"] for record in files.images],
        "ann_id": [ref["ann_id"] for ref in files.refs],
    }
    expected = dict.fromkeys(columns, "every number once") | {"ann_id": "one ref for one annotation"}
    return [
        judge(f"every {name} occurs once", _repeated(name, numbers), f"{len(numbers):,} numbers", expected[name])
        for name, numbers in columns.items()
    ]


def check_splits(files: OfficialFiles) -> list[Verdict]:
    """No ref, no object and no image is in two splits; a cut of objects does share images."""
    refs = _in_two((f"ref {ref['ref_id']}", ref["split"]) for ref in files.refs)
    objects = _in_two((f"annotation {ref['ann_id']}", ref["split"]) for ref in files.refs)
    images = _in_two((f"image {ref['image_id']}", ref["split"]) for ref in files.refs)
    parts, cut = f"splits {', '.join(map(repr, files.splits))}", (files.name, files.split_by)
    verdicts = [judge("no ref in two splits", [*refs, *objects], parts, "each ref and its object in one split")]
    if cut in OBJECTS_DIVIDED:
        came = f"{len(images):,} images in two splits"
        state, expected = "ok" if images else "differs", "some, because this cut divides objects and not images"
        verdicts.append(Verdict("splits share images, as known", state, came, expected))
    elif cut in _NOT_RECORDED:
        why = f"no source says whether this cut divides images; {len(images):,} are in two splits"
        verdicts.append(cannot("no image in two splits", why))
    else:
        verdicts.append(judge("no image in two splits", images, parts, "each image in one split"))
    return verdicts


def check_sentences(files: OfficialFiles) -> list[Verdict]:
    """Every ref has sentences with a text and a number, none is empty, and its list of numbers agrees with them."""
    malformed, empty, unlike, unlisted, cleaned_away = [], [], [], [], 0
    for ref in files.refs:
        where = f"ref {ref['ref_id']}"
        try:
            columns = sentences_of(ref)
        except ValueError as error:
            malformed.append(f"{where}: {error}")
            continue
        cleaned_away += sum(not entry["sent"].strip() for entry in ref["sentences"])
        for text, number in zip(columns["sentences"], columns["sentence_ids"], strict=True):
            if not text.strip():
                empty.append(f"{where}: sentence {number} has no word")
        if "sent_ids" not in ref:
            unlisted.append(f"{where} has no list sent_ids")
        elif not _agree(ref["sent_ids"], columns["sentence_ids"]):
            unlike.append(f"{where}: sent_ids differ from its sentences {columns['sentence_ids']}")
    raw = f", {cleaned_away:,} of them without 'sent', read from 'raw'" if cleaned_away else ""
    total = sum(len(ref["sentences"]) for ref in files.refs if isinstance(ref["sentences"], list))
    verdicts = [
        judge("every ref has a sentence", malformed, f"{len(files.refs):,} refs", "at least one, with text and number"),
        judge("no sentence is empty", empty, f"{total:,} sentences{raw}", "words in 'sent', or else in 'raw'"),
    ]
    check = "sent_ids lists the sentences of each ref"
    if unlisted and len(unlisted) + len(malformed) == len(files.refs):
        return [*verdicts, cannot(check, "no ref has a list sent_ids")]
    return [*verdicts, judge(check, [*unlike, *unlisted], f"{len(files.refs):,} lists", "the same numbers in order")]


def _repeated(name: str, numbers: Iterable[Hashable]) -> list[str]:
    return [f"{name} {number} occurs {times} times" for number, times in Counter(numbers).items() if times > 1]


def _in_two(pairs: Iterable[tuple[str, str]]) -> list[str]:
    """Of pairs of a thing and its split, the things that have two."""
    found: dict[str, dict[str, None]] = {}
    for thing, split in pairs:
        found.setdefault(thing, {})[split] = None
    return [f"{thing} in {', '.join(map(repr, splits))}" for thing, splits in found.items() if len(splits) > 1]


def _agree(listed: Any, numbers: list[int]) -> bool:
    """Whether a list of a file, which may hold anything, holds these numbers in this order."""
    if not isinstance(listed, list | tuple) or len(listed) != len(numbers):
        return False
    return all(is_whole(found) and found == number for found, number in zip(listed, numbers, strict=True))
