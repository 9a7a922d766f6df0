"""``bids_sr-tools slice-profile``: the slice profile of an image, estimated from the image."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from bids_sr.run.exit_codes import ExitCode, ExitError


def add_slice_profile_arguments(command: argparse.ArgumentParser) -> None:
    """Add what the subcommand takes to its parser."""
    command.add_argument("in_file", type=Path, metavar="IN", help="thick-slice NIfTI image")
    command.add_argument(
        "--slice-axis",
        type=int,
        choices=(0, 1, 2),
        help="array axis of the slices (default: that of the largest voxel size)",
    )
    command.add_argument(
        "--out", type=Path, metavar="TSV", help="write the profile; --slice-profile reads it"
    )
    command.add_argument(
        "--plot", type=Path, metavar="FILE", help="draw the estimate (SVG or PNG)"
    )


def estimate_file(options: argparse.Namespace) -> int:
    """Estimate the profile of ``options.in_file``, print it as JSON and write the chosen files."""
    from bids_sr.bids.sidecar import read_acquisition
    from bids_sr.imaging import Acquisition, Series, check_input
    from bids_sr.sr.slices.estimated_acquisition import completed
    from bids_sr.sr.slices.profile_estimation import estimate_slice_profile

    for path in (options.out, options.plot):
        if path is not None and not path.absolute().parent.is_dir():
            folder = path.absolute().parent
            raise ExitError(
                ExitCode.CANNOT_WRITE, f"the folder {folder} does not exist: create it"
            )
    if not options.in_file.exists():
        raise ExitError(ExitCode.NO_INPUT, f"{options.in_file} does not exist: check the path")
    report = check_input(options.in_file)
    volume = next(Series.load(options.in_file).frames())
    axis = options.slice_axis
    if axis is None:
        axis = read_acquisition(report, {}).acquisition.slice_axis
    assert axis is not None
    estimate = estimate_slice_profile(volume, axis)
    estimated = completed(Acquisition.from_volume(volume, slice_axis=axis), estimate)
    facts = {"SpacingBetweenSlices": round(float(volume.spacings[axis]), 4), "SliceAxis": axis}
    shown = replace(estimated.record, widths=(), shares={}).to_dict()  # the plot has them
    shares = {"KindShares": estimated.record.to_dict()["KindShares"]}
    print(json.dumps({**facts, **shown, **shares}, indent=2))
    if options.out is not None:
        print(f"wrote {estimated.acquisition.slice_profile.save(options.out)}")
    if options.plot is not None:
        from bids_sr.reports.profile_figure import plot_profile_estimate

        print(f"wrote {plot_profile_estimate(estimated.record, estimate, options.plot)}")
    return ExitCode.OK
