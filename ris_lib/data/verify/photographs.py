"""Whether the photographs of a data set are there, whole, and of the size that their annotations are made for."""

from __future__ import annotations

from tqdm import tqdm

from ris_lib.data.dataset import photographs_below
from ris_lib.data.records import file_name_of, size_of
from ris_lib.data.verify.files import OfficialFiles
from ris_lib.data.verify.verdict import Verdict, cannot, judge

_CHECKS = ("every photograph is there", "every photograph can be read", "every photograph has its record's size")


def check_photographs(files: OfficialFiles) -> list[Verdict]:
    """Read every photograph that a ref is on, to its last pixel, as the loader does.

    Args:
        files: Of one data set.

    Returns:
        Three verdicts; all ``cannot`` where no folder of photographs is there.
    """
    folder = photographs_below(files.root)
    if not any(place.is_dir() for place in folder.folders):
        places = " or ".join(place.relative_to(files.root).as_posix() for place in folder.folders)
        return [cannot(check, f"there is no folder {places}") for check in _CHECKS]
    missing, damaged, unlike, read, unknown = [], [], [], 0, 0
    numbers = [number for number in dict.fromkeys(ref["image_id"] for ref in files.refs) if number in files.image_by_id]
    if not numbers:
        return [cannot(check, "no image of a ref has a record") for check in _CHECKS]
    for number in tqdm(numbers, desc=f"photographs of {files.name}", unit=" files", delay=2.0):
        image = files.image_by_id[number]
        try:
            name = file_name_of(image)
            found = folder.read(number, name).shape[:2]
        except FileNotFoundError:
            missing.append(f"{name!r} (image {number})")
            continue
        except (ValueError, OSError) as error:
            damaged.append(f"image {number}: {error}")
            continue
        read += 1
        try:
            wanted = size_of(image)
        except ValueError as error:
            unlike.append(str(error))
            continue
        if None in wanted:
            unknown += 1
        elif found != wanted:
            unlike.append(
                f"{name!r} is {found[0]} x {found[1]} (height x width), its record says {wanted[0]} x {wanted[1]}"
            )
    there = len(numbers) - len(missing)
    left_out = f"; of {unknown:,} more the record holds no size" if unknown else ""
    verdicts = [judge(_CHECKS[0], missing, f"{there:,} photographs", f"{len(numbers):,} photographs")]
    if not there:
        return [*verdicts, *(cannot(check, "none is there") for check in _CHECKS[1:])]
    verdicts.append(judge(_CHECKS[1], damaged, f"{read:,} photographs", "whole files of known formats"))
    if not unlike and read == unknown:
        return [*verdicts, cannot(_CHECKS[2], "no photograph that can be read has a record with a size")]
    return [*verdicts, judge(_CHECKS[2], unlike, f"{read - unknown:,} photographs{left_out}", "the original files")]
