"""Checkpoints that their authors published at a public address: fetched, checked, converted, kept.

Only MagNet's are: its authors keep them on the Hugging Face hub. LAVT's and LGFormer's are behind Google Drive links
that a person has to click (``ris convert`` then reads the file); CRIS has published none.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from ris_lib._names import unknown
from ris_lib.data.cache import build_once, cache_folder
from ris_lib.models.official.convert import write_converted
from ris_lib.models.official.reader import read_checkpoint

#: What ``create_model(..., pretrained=...)`` begins with for these.
PREFIX = "official:"


class Checkpoint(NamedTuple):
    """A file on the Hugging Face hub.

    Args:
        repository: ``owner/name``.
        revision: Commit.
        file: Its name there.
        sha256: Of its content.

    Example:
        >>> PUBLISHED["magnet_base"]["refcoco"].file
        'magnet_refcoco.pth'
    """

    repository: str
    revision: str
    file: str
    sha256: str


_MAGNET = ("yxchng/magnet_weights", "ad6e798363639c608b6745692ee7650d696b0f2c")

#: By model, then by the data that it was trained on.
PUBLISHED: dict[str, dict[str, Checkpoint]] = {
    "magnet_base": {
        "refcoco": Checkpoint(
            *_MAGNET, "magnet_refcoco.pth", "4ca8f5fa81db9b7c897319735d833ad7154556b17818baa359f04a35f415b9a7"
        ),
        "refcoco+": Checkpoint(
            *_MAGNET, "magnet_refcoco+.pth", "ef037f99d67916f58a2e825fd5274c16d8055255a45d7bbf68250019a9e98bed"
        ),
        "refcocog_umd": Checkpoint(
            *_MAGNET, "magnet_refcocog_umd.pth", "4bda67acedc6274066e97656297bc2be1792cd2bdcc0e242ee54cd395ac6a2f5"
        ),
        "refcocog_google": Checkpoint(
            *_MAGNET, "magnet_refcocog_google.pth", "cc4a45f06f85be9b1aa670afecefa90a2cda393b1efe2a9c8a9bc8c070a88358"
        ),
    }
}


def fetch_published(model: str, trained_on: str) -> Path:
    """The converted checkpoint that the authors of a model published, from the cache where it is there.

    Args:
        model: Name of the model, such as ``magnet_base``.
        trained_on: Data that it was trained on, such as ``refcoco``.

    Returns:
        A folder that ``from_pretrained`` reads, with a model card.

    Raises:
        ValueError: There is no such checkpoint at a public address, or the file that came is another one.
        FileNotFoundError: It could not be fetched; the message says what to do without a network.

    Example:
        >>> fetch_published("lavt_base", "refcoco")
        Traceback (most recent call last):
        ...
        ValueError: no checkpoint of lavt_base is at a public address (those of magnet_base are). ...
    """
    if model not in PUBLISHED:
        raise ValueError(
            f"no checkpoint of {model} is at a public address (those of {', '.join(PUBLISHED)} are). Fetch the "
            "authors' file by hand and turn it into a model: ris convert FILE FOLDER."
        )
    if trained_on not in PUBLISHED[model]:
        raise unknown("checkpoint", trained_on, PUBLISHED[model], of=model)
    checkpoint = PUBLISHED[model][trained_on]
    folder = cache_folder() / "official" / f"{model}-{trained_on}-{checkpoint.sha256[:16]}"
    return build_once(folder, lambda partial: _make(checkpoint, partial))


def _make(checkpoint: Checkpoint, folder: Path) -> None:
    file = _download(checkpoint)
    write_converted(read_checkpoint(file), folder, file)


def _download(checkpoint: Checkpoint) -> Path:
    """The file, from the hub's own cache where it is there, with the content that it should have."""
    from huggingface_hub import hf_hub_download

    try:
        path = Path(hf_hub_download(checkpoint.repository, checkpoint.file, revision=checkpoint.revision))
    except Exception as error:  # the hub's library lets its HTTP client's errors through, and has changed the client
        raise FileNotFoundError(
            f"{checkpoint.file} of {checkpoint.repository} (Hugging Face hub, revision {checkpoint.revision[:8]}) "
            f"could not be fetched ({type(error).__name__}). Check the network; or fetch it on another machine and "
            f"run: ris convert {checkpoint.file} FOLDER."
        ) from error
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != checkpoint.sha256:
        raise ValueError(
            f"{path} is not the file that was expected: its SHA-256 is {digest}, not {checkpoint.sha256}. It is not "
            f"read. Delete {path.resolve()} and try again; if that does not help, its authors have replaced it."
        )
    return path
