"""The photographs that the chosen data sets refer to, one by one: less than half of COCO's train2014.

Each is fetched into memory, decoded, compared with the size that its annotations are made for, and only then written.
Whatever is there already is not fetched again, so that a stopped download goes on where it was.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

import httpx
from filelock import FileLock
from PIL import Image
from tqdm import tqdm

from ris_lib.data.cache import atomic_write, remove_partial
from ris_lib.data.download.fetch import ATTEMPTS, PAUSE, DownloadError, check_space, client, is_passing
from ris_lib.data.download.sources import Source
from ris_lib.data.pictures import MAX_PIXELS
from ris_lib.data.refer import SPLIT_BY, photographs_of

#: Bytes: what one photograph has on average (COCO's own), and what none has.
USUAL, LARGEST = 165_000, 20_000_000
#: Photographs that were refused before the rest is given up: a host that is down should not be asked 20,000 times.
GIVE_UP = 50


def needed_photographs(root: str | Path, names: Iterable[str]) -> dict[str, tuple[int, int] | None]:
    """Which photographs the refs of some data sets are on.

    Args:
        root: The folder that holds ``refcoco/``, ``refcoco+/``, ``refcocog/``.
        names: Of the data sets; of each, all cuts into splits that are there.

    Returns:
        File name -> (height, width), None where the annotations do not say.

    Raises:
        FileNotFoundError: A data set is not there.
        ValueError: Its files are damaged, or two data sets disagree about a photograph.
    """
    needed: dict[str, tuple[int, int] | None] = {}
    for name in names:
        cuts = [cut for cut in SPLIT_BY[name] if (Path(root) / name / f"refs({cut}).p").is_file()]
        for cut in cuts or SPLIT_BY[name][:1]:
            for file_name, size in photographs_of(root, name, cut).items():
                known = needed.get(file_name)
                if None not in (known, size) and known != size:
                    raise ValueError(f"{name} ({cut}) says that {file_name} is {size}, another data set: {known}.")
                needed[file_name] = known or size
    return needed


def fetch_photographs(
    source: Source,
    folder: str | Path,
    needed: Mapping[str, tuple[int, int] | None],
    connections: int = 8,
    progress: bool = True,
    sleep: Callable[[float], None] = time.sleep,
) -> int:
    """Fetch what is missing.

    Args:
        source: Its addresses hold ``{file_name}``.
        folder: Where photographs are kept.
        needed: File name -> (height, width), see ``needed_photographs``.
        connections: Photographs that are fetched side by side.
        progress: Show a bar with the remaining time.
        sleep: Waits between attempts.

    Returns:
        How many were fetched.

    Raises:
        DownloadError: Some could not be had (the message says how many, and why the first ones), or there is too
            little space. The others are there.
    """
    folder = Path(folder)
    if all((folder / name).is_file() for name in needed):
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):  # a second process waits, and finds them
        remove_partial(folder)
        return _fetch_missing(source, folder, needed, connections, progress, sleep)


def _fetch_missing(
    source: Source,
    folder: Path,
    needed: Mapping[str, tuple[int, int] | None],
    connections: int,
    progress: bool,
    sleep: Callable[[float], None],
) -> int:
    missing = [name for name in needed if not (folder / name).is_file()]
    if not missing:
        return 0
    check_space(folder / "the photographs", USUAL * len(missing))
    failed: dict[str, str] = {}
    waiting = iter(missing)
    with (
        client(connections) as connection,
        ThreadPoolExecutor(connections) as pool,
        tqdm(desc="photographs", total=len(needed), initial=len(needed) - len(missing), disable=not progress) as bar,
    ):
        running = {}
        while len(failed) < GIVE_UP:
            for name in waiting:
                job = pool.submit(_fetch_one, connection, source.of(name), folder / name, needed[name], sleep)
                running[job] = name
                if len(running) >= 4 * connections:
                    break
            if not running:
                break
            for job in wait(running, return_when=FIRST_COMPLETED).done:
                name = running.pop(job)
                try:
                    job.result()
                    bar.update()
                except DownloadError as reason:
                    failed[name] = str(reason)
                except OSError:  # a full disk: the others would fare no better
                    pool.shutdown(cancel_futures=True)
                    raise
        for job in running:
            job.cancel()
    if failed:
        first = "\n  ".join(f"{name}: {reason}" for name, reason in list(failed.items())[:5])
        left = sum(not (folder / name).is_file() for name in needed)
        raise DownloadError(
            f"{left:,} of {len(needed):,} photographs are missing; the first that could not be fetched:\n  {first}\n"
            "Start again to go on: those that are there are not fetched twice."
        )
    return len(missing)


def _fetch_one(
    connection: httpx.Client, source: Source, path: Path, size: tuple[int, int] | None, sleep: Callable[[float], None]
) -> None:
    reasons = []
    for address in source.addresses:
        for attempt in range(1, ATTEMPTS + 1):
            reason, again = _try(connection, address, path, size)
            if not reason:
                return
            if not again or attempt == ATTEMPTS:
                reasons.append(f"{address}: {reason}")
                break
            sleep(min(PAUSE, 2.0**attempt))
    raise DownloadError("; ".join(reasons))


def _try(connection: httpx.Client, address: str, path: Path, size: tuple[int, int] | None) -> tuple[str, bool]:
    """One attempt: what was wrong (empty = nothing), and whether another attempt may help."""
    content = bytearray()
    try:
        with connection.stream("GET", address) as answer:
            if answer.status_code != 200:
                return f"it answers {answer.status_code}", is_passing(answer)
            for block in answer.iter_bytes():
                content += block
                if len(content) > LARGEST:
                    return f"it sends more than {LARGEST:,} bytes", False
    except (httpx.TooManyRedirects, httpx.UnsupportedProtocol, httpx.DecodingError) as error:
        return f"{type(error).__name__}: {error}", False
    except httpx.HTTPError as error:
        return f"the connection broke ({type(error).__name__}: {error})", "CERTIFICATE_VERIFY" not in str(error).upper()
    if fault := _fault(content, size):
        return fault, False
    with atomic_write(path) as partial:
        partial.write_bytes(content)
    return "", False


def _fault(content: bytes | bytearray, size: tuple[int, int] | None) -> str:
    """What is wrong with the bytes of a photograph; empty = nothing. The whole picture is decoded."""
    try:
        with Image.open(io.BytesIO(content), formats=["JPEG"]) as image:
            found = image.height, image.width
            if size is not None and found != tuple(size):
                return f"the photograph is {found[0]} x {found[1]}, its annotations are made for {size[0]} x {size[1]}"
            if found[0] * found[1] > MAX_PIXELS:
                return f"the photograph has more than {MAX_PIXELS:,} pixels"
            image.load()
    except Exception as error:  # decoders raise many kinds of error for damaged data
        return f"it sent no whole JPEG file ({type(error).__name__}: {error})"
    return ""
