"""``--slice-gain``: slices that differ in brightness, in both commands."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bids_sr.imaging import Acquisition, Volume


def add_slice_gain(
    group: argparse.ArgumentParser | argparse._ArgumentGroup, **default: Any
) -> None:
    """Add the option; without a default where a configuration file can give the value."""
    group.add_argument(
        "--slice-gain",
        choices=("auto", "none"),
        help="auto: slices whose brightness differs from that of their neighbours (interleaved "
        "acquisition, cross-talk, flow) are brought to one brightness before super-resolution; "
        "images without such banding stay as they are (default: auto)",
        **default,
    )


def with_even_slices(
    volume: Volume, acquisition: Acquisition, choice: str
) -> tuple[Volume, dict[str, Any]]:
    """Bring slices to one brightness, say so, and return what the record says of it."""
    if choice == "none":
        return volume, {}
    from bids_sr.sr.slices.slice_gain import correct_slice_gain

    corrected, gain = correct_slice_gain(volume, acquisition)
    if gain.applied:
        before, after = gain.before_percent, gain.after_percent
        print(
            f"slice gain: slices differed by {before or 0:.2g} % (RMS) from their neighbours "
            f"({' and '.join(gain.pattern)})" + (f", then by {after:.2g} %" if after else "")
        )
    return corrected, {"SliceGain": gain.record.to_dict()}
