"""``bids_sr-tools fetch``: published network weights, downloaded once."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from bids_sr.files import file_digest
from bids_sr.published import names, published_weights
from bids_sr.run.exit_codes import ExitCode


def add_fetch_arguments(command: argparse.ArgumentParser) -> None:
    """Declare what the subcommand takes."""
    command.add_argument("name", metavar="NAME", choices=names(), help=", ".join(names()))
    command.add_argument(
        "--weights-dir",
        type=Path,
        metavar="DIR",
        help="folder for weights (default: the variable BIDS_SR_WEIGHTS, otherwise the user's "
        "cache)",
    )
    command.add_argument(
        "--sha256",
        metavar="HEX",
        help="expected digest of the download, if you know it from another source",
    )
    command.add_argument(
        "--offline",
        action="store_true",
        help="no connection: only print what is installed where",
    )


def fetch_weights(options: argparse.Namespace) -> int:
    """Download the weights named in the options and print where they are."""
    weights = published_weights(options.name)
    bar = ProgressLine(options.name)
    folder = weights.fetch(
        options.weights_dir,
        offline=options.offline,
        sha256=options.sha256,
        report=bar,
    )
    bar.end()
    print(f"{weights.title}\nlicence: {weights.licence}\nreference: {weights.reference}")
    for path, released in weights.files.items():
        digest = file_digest(folder / path)
        known = "as released" if digest == released else "differs from the released file"
        remark = "released digest not known" if released is None else known
        print(f"{folder / path}\n  SHA-256 {digest} ({remark})")
    return ExitCode.OK


class ProgressLine:
    """Write how far a download is, on one line of a terminal or in tenths elsewhere."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._tenth = -1
        self._terminal = sys.stderr.isatty()

    def __call__(self, have: int, total: int | None) -> None:
        """Show the bytes that are there."""
        share = f" of {total / 1e6:.1f} MB, {100 * have / total:.0f} %" if total else " MB"
        text = f"{self.name}: {have / 1e6:.1f}{share}"
        if self._terminal:
            sys.stderr.write(f"\r{text}")
        elif total and 10 * have // total > self._tenth:
            self._tenth = 10 * have // total
            sys.stderr.write(f"{text}\n")
        sys.stderr.flush()

    def end(self) -> None:
        """Leave the line."""
        if self._terminal:
            sys.stderr.write("\n")
