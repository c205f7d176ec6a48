"""Where the project lives: the one place for its addresses.

``OWNER`` stands for the account that publishes the repository. ``tests/test_urls.py`` names every file that says
otherwise.
"""

OWNER = "OWNER"
NAME = "ris-book"

#: The release that a notebook outside of a clone (Colab) installs.
TAG = "v0.1.0"

REPOSITORY = f"https://github.com/{OWNER}/{NAME}"
BOOK = f"https://{OWNER.lower()}.github.io/{NAME}"

#: The DOI of the archived releases, as ``"10.5281/zenodo.1234567"``; there is none before a release is archived.
DOI: str | None = None

#: What ``pip install`` gets on Colab.
PACKAGE = f"git+{REPOSITORY}@{TAG}"
