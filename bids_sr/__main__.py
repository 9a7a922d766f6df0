"""Run the BIDS-App with ``python -m bids_sr``."""

from __future__ import annotations

import sys

from bids_sr.cli.run import main

if __name__ == "__main__":
    sys.exit(main())
