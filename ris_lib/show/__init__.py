"""Pictures: overlays, grids, comparisons, and the explorer.

``overlay`` gives an array, for files and the command line; ``show_samples`` and ``compare`` give matplotlib figures,
for pages; ``explorer`` gives a view to walk through, for pages and notebooks. Colours mean the same everywhere, see
``ris_lib.show.palette``. ``ris_lib.show.playground``, for live notebooks, needs IPython, so it is imported by name.

Example:
    >>> import numpy as np
    >>> picture, mask = np.full((4, 6, 3), 200, np.uint8), np.zeros((4, 6), bool)
    >>> overlay(picture, mask).shape
    (4, 6, 3)
"""

from ris_lib.show.explorer import Explorer, explorer
from ris_lib.show.figures import Picture, compare, show_samples
from ris_lib.show.overlay import overlay
from ris_lib.show.palette import PALETTE
from ris_lib.show.views import Layer, Row, View

__all__ = [
    "PALETTE",
    "Explorer",
    "Layer",
    "Picture",
    "Row",
    "View",
    "compare",
    "explorer",
    "overlay",
    "show_samples",
]
