"""From pixel features and words to a mask."""
