"""The group level: tables and pages of all subjects that are already processed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bids_sr.run.exit_codes import ExitCode, ExitError

if TYPE_CHECKING:
    from bids_sr.config import RunConfig


def write_group_pages(config: RunConfig) -> list[Path]:
    """Gather the quality measures of all subjects, and return the files written."""
    from bids_sr.bids import restore_decisions
    from bids_sr.reports.group import group_report

    if not config.output_dir.is_dir():
        raise ExitError(
            ExitCode.NO_INPUT,
            f"{config.output_dir} does not exist: run the participant level first",
        )
    restore_decisions(config.output_dir)
    return group_report(config.output_dir)
