"""The seed of all that is drawn by chance, where none is given: one for every command and call."""

from __future__ import annotations

import argparse

DEFAULT_SEED = 20177


def seed(text: str) -> int:
    """Read a seed from a command line: a whole number of at least 0."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text}: expected at least 0")
    return number
