"""Every planted fault is found by its own line, is named there, and no other line is disturbed."""

import copy

import numpy as np
import pytest
from PIL import Image

from ris_lib.data.verify import read_files, verify_files

PHOTOGRAPH = "images/train2014/COCO_train2014_000000000004.jpg"
LOADER = "this library reads them"


def differing(verdicts):
    return {check for check, verdict in verdicts.items() if verdict.state == "differs"}


def test_sound_files_are_ok_in_every_line(sound):
    verdicts = sound.verdicts()
    assert {verdict.state for verdict in verdicts.values()} == {"ok"}
    assert verdicts["split val"].came == "1 images, 2 refs, 4 sentences"
    assert verdicts[LOADER].came == "2 images, 3 refs, 5 sentences"
    assert len(verdicts) > 20


def again(entries, number, **changes):
    """A second entry, equal but for the changes."""
    entries.append(copy.deepcopy(entries[number]) | changes)


def missing_mask(folder):
    folder.annotations[0]["segmentation"] = []


def ref_twice(folder):
    again(folder.refs, 1, ann_id=80, sentences=folder.refs[1]["sentences"][:0])
    folder.annotations.append(folder.annotation(80, 9, [[0, 0, 5, 0, 5, 5]]))


def ref_in_two_splits(folder):
    again(folder.refs, 0, split="train")


def object_in_two_splits(folder):
    again(folder.refs, 2, ref_id=77, split="train", sentences=[{"sent": "cup", "sent_id": 7700}], sent_ids=[7700])


def sentence_twice(folder):
    folder.refs[1]["sentences"][0]["sent_id"] = 100
    folder.refs[1]["sent_ids"] = [100]


def annotation_twice(folder):
    again(folder.annotations, 0, bbox=[0.0, 0.0, 1.0, 1.0])


def image_twice(folder):
    again(folder.images, 0)


def image_in_two_splits(folder):
    folder.refs[0]["split"] = "train"


def box_outside(folder):
    folder.annotations[2]["bbox"] = [20.0, 5.0, 11.0, 8.0]


def box_before_the_corner(folder):
    folder.annotations[2]["bbox"] = [20.0, -2.0, 8.0, 8.0]


def box_without_area(folder):
    folder.annotations[2]["bbox"] = [20.0, 5.0, 0.0, 8.0]


def box_of_words(folder):
    folder.annotations[2]["bbox"] = ["a", 5.0, 1.0, 8.0]


def empty_sentence(folder):
    folder.refs[0]["sentences"][1] |= {"sent": " ", "raw": ""}


def list_of_numbers_disagrees(folder):
    folder.refs[0]["sent_ids"].reverse()


def list_of_numbers_is_none(folder):
    folder.refs[0]["sent_ids"] = None


def list_of_numbers_is_lacking(folder):
    del folder.refs[0]["sent_ids"]


def annotation_of_another_image(folder):
    folder.annotations[1]["image_id"] = 4


def no_annotation(folder):
    folder.refs[2]["ann_id"] = 12345


def no_image_record(folder):
    folder.images[0]["id"] = 10


def image_without_size(folder):
    folder.images[0] |= {"height": None, "width": None}


def name_that_leads_elsewhere(folder):
    folder.images[1]["file_name"] = "../../secret.jpg"


def mask_of_another_size(folder):
    folder.annotations[0]["segmentation"] = {"size": [30, 20], "counts": [0, 600]}


def mask_without_a_pixel(folder):
    folder.annotations[0]["segmentation"] = [[1.1, 1.1, 1.2, 1.1, 1.2, 1.2]]


def strange_split(folder):
    folder.refs[1]["split"] = "training"


def ref_without_sentences(folder):
    folder.refs[1] |= {"sentences": [], "sent_ids": []}


MASK, SIZE, PIXEL = "every ref has a mask", "every mask has its image's size", "every mask has a pixel"
ONE, JOIN, RECORD = "every ann_id occurs once", "every ref has one annotation", "every image has a record"
REF, SPLIT, IMAGE_SPLIT = "every ref_id occurs once", "no ref in two splits", "no image in two splits"
BOX, LIST, SENTENCE = (
    "every box is inside its image",
    "sent_ids lists the sentences of each ref",
    "every ref has a sentence",
)


@pytest.mark.parametrize(
    ("spoil", "lines", "words"),
    [
        (missing_mask, {MASK}, "ref 1: annotation 71 has no segmentation"),
        (ref_twice, {REF, "split train", SENTENCE, LOADER}, "ref_id 7 occurs 2 times"),
        (
            ref_in_two_splits,
            {SPLIT, IMAGE_SPLIT, REF, ONE, "every sent_id occurs once", "split train", LOADER},
            "ref 2 in 'val', 'train'",
        ),
        (object_in_two_splits, {SPLIT, IMAGE_SPLIT, ONE, "split train"}, "annotation 71 in 'val', 'train'"),
        (sentence_twice, {"every sent_id occurs once"}, "sent_id 100 occurs 2 times"),
        (annotation_twice, {"every annotation id occurs once", LOADER}, "annotation id 71 occurs 2 times"),
        (image_twice, {"every image id occurs once", LOADER}, "image id 9 occurs 2 times"),
        (image_in_two_splits, {IMAGE_SPLIT, "split train", "split val"}, "image 4 in 'train', 'val'"),
        (box_outside, {BOX}, "ref 2: its box from (20, 5) to (31, 13) leaves its image of 20 x 30"),
        (box_before_the_corner, {BOX}, "begins outside"),
        (box_without_area, {BOX}, "has no area"),
        (box_of_words, {BOX, LOADER}, "expected four numbers"),
        (empty_sentence, {"no sentence is empty"}, "ref 2: sentence 201 has no word"),
        (list_of_numbers_disagrees, {LIST}, "ref 2: sent_ids differ from its sentences [200, 201, 202]"),
        (list_of_numbers_is_none, {LIST}, "ref 2: sent_ids differ"),
        (list_of_numbers_is_lacking, {LIST}, "ref 2 has no list sent_ids"),
        (annotation_of_another_image, {JOIN, LOADER}, "it is on image 9, but its annotation 55 is on image 4"),
        (no_annotation, {JOIN, LOADER}, "ann_id 12345 is not in instances.json"),
        (no_image_record, {RECORD, LOADER}, "image_id 9 is not in instances.json"),
        (image_without_size, {RECORD, SIZE, LOADER}, "image 9 has no height and width"),
        (mask_of_another_size, {SIZE, LOADER}, "its mask has height, width = [30, 20]"),
        (mask_without_a_pixel, {PIXEL}, "ref 1: its mask has no pixel"),
        (strange_split, {"split train", "no other split"}, "1 refs in split 'training'"),
        (ref_without_sentences, {SENTENCE, "split train", LOADER}, "it has no sentence"),
    ],
)
def test_a_planted_fault_is_found_by_its_lines_and_no_others(sound, spoil, lines, words):
    spoil(sound.folder)
    verdicts = sound.verdicts()
    assert differing(verdicts) == lines
    faults = [fault for check in lines for fault in verdicts[check].faults]
    assert any(words in fault for fault in faults), faults
    text = " ".join(str(verdicts[check]) for check in lines)
    assert words in text
    assert "; expected " in text


def test_a_sentence_that_cleaning_emptied_is_no_fault_and_is_counted(sound):
    sound.folder.refs[0]["sentences"][0]["sent"] = ""
    verdicts = sound.verdicts()
    assert differing(verdicts) == set()
    assert verdicts["no sentence is empty"].came == "5 sentences, 1 of them without 'sent', read from 'raw'"


def test_a_box_may_be_rounded(sound):
    sound.folder.annotations[2]["bbox"] = [20.0, 5.0, 10.01, 15.01]
    assert differing(sound.verdicts()) == set()


def after(sound, change):
    root = sound.write()
    change(root / PHOTOGRAPH)
    return {verdict.check: verdict for verdict in verify_files(read_files(root, "refcoco"))}


def test_a_missing_photograph(sound):
    verdicts = after(sound, lambda path: path.unlink())
    assert differing(verdicts) == {"every photograph is there"}
    assert "000000000004.jpg' (image 4)" in str(verdicts["every photograph is there"])


def test_a_photograph_of_the_wrong_size(sound):
    verdicts = after(sound, lambda path: Image.fromarray(np.zeros((30, 20, 3), dtype=np.uint8)).save(path))
    assert differing(verdicts) == {"every photograph has its record's size"}
    assert "is 30 x 20 (height x width), its record says 20 x 30" in str(
        verdicts["every photograph has its record's size"]
    )


def test_a_truncated_photograph(sound):
    verdicts = after(sound, lambda path: path.write_bytes(path.read_bytes()[:-40]))
    assert differing(verdicts) == {"every photograph can be read"}


def test_a_name_that_leads_out_of_the_folder_is_not_followed(sound):
    root = sound.write()
    Image.fromarray(np.zeros((20, 30, 3), dtype=np.uint8)).save(root.parent / "secret.jpg")
    name_that_leads_elsewhere(sound.folder)
    verdicts = sound.verdicts()
    assert differing(verdicts) == {RECORD, "every photograph can be read", LOADER}


def test_the_older_layout_of_photographs_is_known(sound):
    assert differing(sound.verdicts(pictures="images/mscoco/images/train2014")) == set()


def test_what_cannot_be_checked_is_no_fault_and_says_why(sound):
    for ref in sound.folder.refs:
        del ref["sent_ids"]
    verdicts = sound.verdicts(pictures=None)
    unable = {check: verdict for check, verdict in verdicts.items() if verdict.state == "cannot"}
    assert set(unable) == {check for check in verdicts if "photograph" in check} | {LIST}
    assert "because there is no folder images/train2014 or images/mscoco" in str(unable["every photograph is there"])
    assert differing(verdicts) == set()


def test_without_any_mask_nothing_is_said_of_sizes(sound):
    for annotation in sound.folder.annotations:
        annotation["segmentation"] = []
    verdicts = sound.verdicts()
    assert differing(verdicts) == {MASK}
    assert verdicts[SIZE].state == verdicts[PIXEL].state == "cannot"


def test_without_any_joined_ref_nothing_is_called_ok(sound):
    for annotation in sound.folder.annotations:
        annotation["id"] += 1000
    verdicts = sound.verdicts()
    assert differing(verdicts) == {JOIN, LOADER}
    assert {verdicts[check].state for check in (MASK, SIZE, PIXEL, BOX)} == {"cannot"}


def test_a_changed_byte_is_noticed(sound):
    root = sound.write()
    sound.folder.instances_file.write_text(sound.folder.instances_file.read_text() + "\n")
    verdicts = {verdict.check: verdict for verdict in verify_files(read_files(root, "refcoco"))}
    assert differing(verdicts) == {"instances.json is the published file"}
    sound.table.write_text("{}")
    verdicts = {verdict.check: verdict for verdict in verify_files(read_files(root, "refcoco"))}
    assert verdicts["instances.json is the published file"].state == "cannot"


def test_strange_letters_of_a_file_do_not_reach_the_terminal(sound):
    sound.folder.refs[1]["split"] = "\x1b[2Jtrain\u202e"
    text = "\n".join(map(str, sound.verdicts().values()))
    assert "\x1b" not in text
    assert "\u202e" not in text
