"""Another program in a comparison: its tests as files, its volumes to be scored.

A test is written as a program gets a scan: the slices as NIfTI, what is told of them as a
sidecar.  The truth is not written.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bids_sr.evaluation.protocol import TestCase
from bids_sr.exceptions import InputDataError
from bids_sr.files.writing import write_json_atomic
from bids_sr.imaging import Acquisition, Volume


def write_test(case: TestCase, stem: Path) -> list[Path]:
    """Write the slices of a test, all its stacks and its guide, with their sidecars.

    Parameters
    ----------
    case : TestCase
    stem : Path
        Of the files: ``STEM.nii.gz``; of several stacks ``STEM_stack-1.nii.gz`` and so on; the
        guide is ``STEM_guide.nii.gz``.

    Returns
    -------
    list of Path
        The images.
    """
    stacks = [(stack.lr, stack.acquisition) for stack in case.stacks]
    scans = stacks or [(case.lr, case.acquisition)]
    ends = [f"_stack-{number}" for number in range(1, len(scans) + 1)] if case.stacks else [""]
    written = []
    for end, (lr, acquisition) in zip(ends, scans, strict=True):
        written.append(lr.save(stem.with_name(f"{stem.name}{end}.nii.gz")))
        facts = {**_told(acquisition), "OutputSpacings": case.grid.spacings.tolist()}
        write_json_atomic(stem.with_name(f"{stem.name}{end}.json"), facts)
    if case.guide is not None:
        written.append(case.guide.save(stem.with_name(f"{stem.name}_guide.nii.gz")))
    return written


def _told(acquisition: Acquisition) -> dict[str, Any]:
    """Return what is told of slices by the names of a sidecar; what is assumed is left out."""
    facts: dict[str, Any] = {"SpacingBetweenSlices": acquisition.known_spacing}
    if "thickness" not in acquisition.assumed:
        facts["SliceThickness"] = acquisition.nominal_thickness
    if "profile" not in acquisition.assumed:
        facts["SliceProfile"] = acquisition.slice_profile.name
    return facts


def read_result(path: Path) -> Volume:
    """Read the volume that a program made of a test.

    Raises
    ------
    InputDataError
        If there is none, or it cannot be used.
    """
    if not path.is_file():
        raise InputDataError(
            f"Found no {path.name} in {path.parent}; expected the program's volume of this test. "
            "Name it after the test."
        )
    return Volume.load(path)
