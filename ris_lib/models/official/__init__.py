"""Published checkpoints of other code bases, turned into ours: key by key, and nothing silently left out."""

from ris_lib.models.official.rules import Rule, drop_kernel, translate, under

__all__ = ["Rule", "drop_kernel", "translate", "under"]
