"""Results sentence by sentence, with what is known of the scene: for error analysis.

A drawn scene has a symbolic description, so that an error can be looked at by what made it hard: how many things of the
same category stand around, how large the target is. Real data sets have no such description.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ris_lib.data.cache import atomic_write
from ris_lib.data.scenes import SPLITS, Scene, make_scene
from ris_lib.data.scenes.build import FIRST_IMAGE_ID, IMAGES_PER_SPLIT, OBJECTS_PER_IMAGE
from ris_lib.engine import EvalResult


@lru_cache(maxsize=2)
def scene_of(image_id: int) -> Scene:
    """The scene behind the image id of a drawn picture.

    Example:
        >>> scene = make_scene("val", 7)
        >>> scene_of(FIRST_IMAGE_ID + list(SPLITS).index("val") * IMAGES_PER_SPLIT + 7) == scene
        True
    """
    split, index = divmod(image_id - FIRST_IMAGE_ID, IMAGES_PER_SPLIT)
    return make_scene(list(SPLITS)[split], index)


def target_of(ref_id: int) -> dict[str, object]:
    """What is known of a referent.

    Args:
        ref_id: Of a drawn scene.

    Returns:
        ``category``, ``colour``, ``texture``, ``size`` as the scene names them; ``objects``, how many there are, and
        ``same_category``, how many others are of the target's category.
    """
    image_id, number = divmod(ref_id, OBJECTS_PER_IMAGE)
    things = scene_of(image_id).symbols()
    same = sum(thing["category"] == things[number]["category"] for thing in things) - 1
    return {**things[number], "objects": len(things), "same_category": same}


def save_with_targets(result: EvalResult, path: Path) -> None:
    """Write the sentences of an evaluation as Parquet, each with what is known of its target.

    Args:
        result: Of drawn scenes.
        path: The file; columns are those of ``EvalResult.sentences`` and of ``target_of``, and the protocol is in its
            metadata, so that two protocols cannot be compared.
    """
    rows = [{**row, **target_of(row["ref_id"])} for row in result.sentences.to_pylist()]
    table = pa.Table.from_pylist(rows).replace_schema_metadata(result.sentences.schema.metadata)
    with atomic_write(path) as partial:
        pq.write_table(table, partial)
