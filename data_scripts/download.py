"""Download RefCOCO, RefCOCO+, RefCOCOg, the photographs that they need, and published weights.

    python data_scripts/download.py --root data --dataset refcoco refcoco+ refcocog
    python data_scripts/download.py --root data --dataset refcoco --images all
    python data_scripts/download.py --weights magnet:refcoco

Stop it at any time and start it again: it goes on where it was. A second time it does nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from ris_lib.cli.command import run_command
from ris_lib.data.download import download_annotations, download_photographs
from ris_lib.data.download.official import Images


def download(
    root: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = Path("data"),
    data: Annotated[tuple[str, ...], tyro.conf.arg(aliases=["--dataset"], metavar="NAME ...")] = (),
    images: Images = "needed",
    connections: int = 8,
    keep_archives: bool = False,
    weights: Annotated[tuple[str, ...], tyro.conf.arg(metavar="MODEL:DATA ...")] = (),
) -> None:
    """Download data sets, their photographs, and published weights; what is there already is left alone.

    Args:
        root: Folder to fill: refcoco/, refcoco+/, refcocog/ and images/train2014/.
        data: Data sets: refcoco, refcoco+, refcocog.
        images: needed: the photographs that the data sets are about, one by one (4 to 5 GB for all three). all: COCO's
            train2014.zip (13.5 GB, twice that while it is unpacked). none.
        connections: Photographs that are fetched side by side.
        keep_archives: Leave the zip files in FOLDER/archives.
        weights: Checkpoints that their authors published: magnet:refcoco, magnet:refcoco+, magnet:refcocog_umd,
            magnet:refcocog_google.
    """
    if not data and not weights:
        raise ValueError("nothing to download; name data sets (--dataset refcoco refcoco+ refcocog) or --weights.")
    asked = [_named(name) for name in weights]
    say = partial(Console().print, soft_wrap=True)
    if data:
        new = download_annotations(root, data, keep_archives)
        photographs = download_photographs(root, data, images, connections, keep_archives)
        say(f"{root}: {', '.join(data)}; {len(new)} fetched, {len(data) - len(new)} were there")
        say(f"photographs: {photographs:,} fetched")
        say("These files stay under their authors' terms. The photographs belong to people on Flickr.")
        say(f"To read them: ris_lib.load_dataset({data[0]!r}, 'val', root={str(root)!r})")
    for model, trained_on in asked:
        from ris_lib.models.official.published import fetch_published

        say(f"{model}, {trained_on}: {fetch_published(model, trained_on)}")


def _named(weights: str) -> tuple[str, str]:
    """``magnet:refcoco`` as the names of a model and of its data."""
    system, colon, trained_on = weights.partition(":")
    if not (system and colon and trained_on):
        raise ValueError(f"--weights {weights} names no checkpoint; expected MODEL:DATA, such as magnet:refcoco.")
    return f"{system}_base", trained_on


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it with these arguments, by default the command line's; the exit status."""
    cli = lambda: tyro.cli(download, args=arguments, config=(tyro.conf.FlagCreatePairsOff,))  # noqa: E731
    return run_command(cli, "download.py")


if __name__ == "__main__":
    sys.exit(main())
