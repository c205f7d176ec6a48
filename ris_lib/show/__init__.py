"""Pictures: overlays, grids, comparisons."""
