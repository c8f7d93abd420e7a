"""Frozen evaluation protocols: which images, pairs, metrics and networks; scores; which differences are real."""
