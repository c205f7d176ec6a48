"""Links to other hosts: ``book/_links.txt`` lists them all, and a weekly run visits each.

    python book/_links.py            # writes the list anew (part of ``make format``)
    python book/_links.py --visit    # visits every address of the list (``make check-links``)

The addresses of this project are left out: they stand for a repository that is still to be published
(``ris_lib/_urls.py``). Only the standard library is used, so the weekly run installs nothing.
"""

from __future__ import annotations

import ast
import http.client
import re
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[1]
LIST = ROOT / "book" / "_links.txt"
TEXTS = (
    "*.md",
    "_config.yml",
    "book/**/*.md",
    "book/**/*.ipynb",
    "book/references.bib",
    "ris_lib/**/*.py",
    "ris_lib/data/download/sources.json",
)

#: These answer for nobody: an address of this machine, and one that is reserved for examples.
NOBODY = ("127.0.0.1", "localhost", "example.org", "example.com")
AGENT = "ris-book link check (weekly; one visit per address)"
SECONDS = 20  # that a host may take
TRIES = 3
PAUSE = 1.0  # seconds between two visits, and before the second try
#: The host knows the page and wants no robots: no link is dead for that.
REFUSED = (401, 403, 405, 406, 418, 429, 999)
GONE = (404, 410)  # to ask again would not help


def addresses(text: str) -> set[str]:
    """The addresses in a text, without the punctuation that follows them.

    An address that code puts together, as in ``f"https://{host}"``, is none.
    """
    found = re.findall(r"https?://[^\s<>\"'`{}|\\^\[\]]++(?!\{)", text)
    found += [
        f"https://doi.org/{doi}"
        for doi in re.findall(r"^\s*doi\s*=\s*[{\"]([^}\"]+)", text, flags=re.M)
    ]
    return {_trimmed(address) for address in found}


def _trimmed(address: str) -> str:
    """Without the full stop of the sentence and the bracket around the link."""
    address = address.rstrip(".,;:!?*")
    while address.endswith(")") and address.count("(") < address.count(")"):
        address = address[:-1].rstrip(".,;:!?*")
    return address.partition("#")[0]


def own() -> tuple[str, str]:
    """What the addresses of this project hold, read from ``ris_lib/_urls.py`` without importing the library."""
    tree = ast.parse((ROOT / "ris_lib" / "_urls.py").read_text(encoding="utf-8"))
    name = {
        node.targets[0].id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
    }
    owner, book = name["OWNER"], name["NAME"]
    return f"/{owner}/{book}", f"{owner}.github.io/{book}"


def is_outside(address: str) -> bool:
    """Whether it is of another host, and of one that answers."""
    host = urlsplit(address).hostname or ""
    ours = any(own_one.lower() in address.lower() for own_one in own())
    return "." in host and host not in NOBODY and not ours


def collect(root: Path = ROOT) -> dict[str, list[str]]:
    """Every outside address of the repository, sorted, and the files that hold it."""
    found: dict[str, list[str]] = {}
    for path in sorted({path for pattern in TEXTS for path in root.glob(pattern)}):
        for address in addresses(path.read_text(encoding="utf-8")):
            if is_outside(address):
                found.setdefault(address, []).append(path.relative_to(root).as_posix())
    return dict(sorted(found.items()))


class _Stay(urllib.request.HTTPRedirectHandler):
    """A redirection is an answer: the page that it leads to is not visited."""

    def redirect_request(self, *given):
        return None


def visit(address: str, seconds: float = SECONDS, pause: float = PAUSE) -> str | None:
    """Why an address is dead; None if it is not.

    Args:
        address: Visited with HEAD, and with GET where HEAD is refused. A DOI that leads on is alive: publishers turn
            robots away, and their pages are not needed to know that the DOI exists.
        seconds: How long the host may take.
        pause: Seconds before the second try; twice as many before the third.
    """
    is_doi = urlsplit(address).hostname == "doi.org"
    opener = urllib.request.build_opener(*([_Stay] if is_doi else []))
    for trial in range(TRIES):
        time.sleep(pause * trial)
        answer = _ask(opener, "HEAD", address, seconds)
        if isinstance(answer, int) and answer >= 400:
            answer = _ask(opener, "GET", address, seconds)
        if answer in REFUSED or answer in range(200, 400 if is_doi else 300):
            return None
        if answer in GONE:
            break
    return f"answers {answer}" if isinstance(answer, int) else f"is silent: {answer}"


def _ask(
    opener: urllib.request.OpenerDirector, method: str, address: str, seconds: float
) -> int | str:
    """The status of the answer, or why there was none."""
    request = urllib.request.Request(
        address, method=method, headers={"User-Agent": AGENT}
    )
    try:
        with opener.open(request, timeout=seconds) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except (OSError, http.client.HTTPException) as error:
        return str(getattr(error, "reason", error)) or type(error).__name__


def main(arguments: Iterable[str]) -> int:
    """Write the list, or visit it; 1 if an address is dead."""
    if "--visit" not in arguments:
        LIST.write_text("".join(f"{a}\n" for a in collect()), encoding="utf-8")
        return 0
    holders = collect()
    dead = 0
    for address in LIST.read_text(encoding="utf-8").split():
        if reason := visit(address):
            dead += 1
            where = ", ".join(holders.get(address, ["no file any more"]))
            print(f"{address} {reason}; it stands in {where}")
        time.sleep(PAUSE)
    print(f"dead links: {dead}")
    return int(dead > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
