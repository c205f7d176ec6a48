"""From a feature pyramid to fine pixel features."""
