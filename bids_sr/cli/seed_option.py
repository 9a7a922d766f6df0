"""The seed of a command line: what may be given."""

from __future__ import annotations

import argparse


def seed(text: str) -> int:
    """Read a seed: a whole number of at least 0."""
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text}: expected at least 0")
    return number
