"""What a sample is and where samples come from.

``load_dataset`` gives samples (a picture with its expressions), ``Collator`` makes batches of them; ``read_picture``
reads anything that a user may bring.
"""

from ris_lib.data.batch import Batch
from ris_lib.data.cache import cache_folder
from ris_lib.data.collate import Collator, Preprocess
from ris_lib.data.dataset import DATASETS, ReferringDataset, load_dataset
from ris_lib.data.flip import CannotFlip, flip
from ris_lib.data.index import Index, load_index, save_index
from ris_lib.data.pictures import read_picture
from ris_lib.data.refer import read_refer
from ris_lib.data.sample import RLE, Expression, Sample
from ris_lib.data.transforms import letterbox, normalise, resize_mask, restore, stretch

__all__ = [
    "DATASETS",
    "RLE",
    "Batch",
    "CannotFlip",
    "Collator",
    "Expression",
    "Index",
    "Preprocess",
    "ReferringDataset",
    "Sample",
    "cache_folder",
    "flip",
    "letterbox",
    "load_dataset",
    "load_index",
    "normalise",
    "read_picture",
    "read_refer",
    "resize_mask",
    "restore",
    "save_index",
    "stretch",
]
