"""Is what lies on the disk the official data set, whole and sound? One verdict a line, and what leaks between sets."""

from ris_lib.data.verify.counts import OFFICIAL, Counts
from ris_lib.data.verify.files import OfficialFiles, read_files
from ris_lib.data.verify.leaks import find_leaks, write_without_leaks
from ris_lib.data.verify.run import verify_files
from ris_lib.data.verify.verdict import STATES, Verdict

__all__ = [
    "OFFICIAL",
    "STATES",
    "Counts",
    "OfficialFiles",
    "Verdict",
    "find_leaks",
    "read_files",
    "verify_files",
    "write_without_leaks",
]
