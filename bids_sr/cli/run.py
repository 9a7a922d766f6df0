"""The ``bids_sr`` command."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from bids_sr.cli.exit_codes import ExitCode, ExitError
from bids_sr.cli.parser import parse_args
from bids_sr.exceptions import ConfigError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the BIDS-App and return its exit code."""
    try:
        parse_args(sys.argv[1:] if argv is None else argv)
    except ConfigError as error:
        sys.stderr.write(f"bids_sr: {error}\n")
        return ExitCode.USAGE
    except ExitError as error:
        sys.stderr.write(f"bids_sr: {error}\n")
        return error.code
    return ExitCode.NO_WORKFLOW
