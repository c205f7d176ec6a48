"""Blocks that let words and pixels talk inside the encoders."""
