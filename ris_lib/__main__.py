"""``python -m ris_lib`` is the ``ris`` command."""

import sys

from ris_lib.cli import main

if __name__ == "__main__":
    sys.exit(main())
