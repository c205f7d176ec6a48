"""All checks of one data set, in the order in which a person asks them."""

from __future__ import annotations

from ris_lib.data.verify.counts import check_counts, check_cuts, check_loader
from ris_lib.data.verify.files import OfficialFiles, check_bytes
from ris_lib.data.verify.objects import check_boxes, check_joins, check_masks
from ris_lib.data.verify.photographs import check_photographs
from ris_lib.data.verify.refs import check_numbers, check_sentences, check_splits
from ris_lib.data.verify.verdict import Verdict

#: What is looked at, in this order; each gives one verdict or more.
CHECKS = (
    check_bytes,
    check_counts,
    check_cuts,
    check_numbers,
    check_splits,
    check_sentences,
    check_joins,
    check_boxes,
    check_masks,
    check_photographs,
    check_loader,
)


def verify_files(files: OfficialFiles) -> list[Verdict]:
    """Judge the files of one data set, and its photographs.

    Scores that are known beforehand are asked by ``ris_lib.metrics.known_scores``, leaks by ``find_leaks``.

    Args:
        files: What ``read_files`` gave.

    Returns:
        A verdict for each line of the report.

    Example:
        >>> from ris_lib.data.verify import read_files
        >>> for verdict in verify_files(read_files("data", "refcoco")):  # doctest: +SKIP
        ...     print(verdict)
        ok       split val: 1,500 images, 3,811 refs, 10,834 sentences
    """
    return [verdict for check in CHECKS for verdict in check(files)]
