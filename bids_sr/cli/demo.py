"""``bids_sr-tools demo``: a small BIDS dataset of thick slices with known truth.

The anatomy is the ICBM152 T1 template that nilearn brings along, so nothing is
downloaded; the slices come from this package's own forward model.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bids_sr import __version__
from bids_sr.files.writing import write_json_atomic, write_text_atomic
from bids_sr.imaging import Acquisition, Volume, degrade
from bids_sr.run.exit_codes import ExitCode, ExitError

INTENSITY_SCALE = 1000.0
"""The template runs from 0 to 1; scanners write integers."""
NOISE = 0.01
MARGIN_MM = 8
REFERENCE_FOLDER = "reference"
_README = """\
# Demonstration dataset of bids_sr

Two subjects with thick-slice T1-weighted images, simulated from the ICBM 152 2009a
nonlinear symmetric template (Fonov et al., 2011; doi:10.1016/j.neuroimage.2010.07.033)
as it comes with nilearn: slice profile, sampling at the slice centres, Rician noise.
Both show the same anatomy. The fine images are in `../reference`.

The template: Copyright (C) 1993-2009 Louis Collins, McConnell Brain Imaging Centre,
Montreal Neurological Institute, McGill University. Permission to use, copy, modify, and
distribute it for any purpose and without fee is granted by its authors, provided that
this copyright notice appears in all copies; it comes without warranty.

{rows}
"""


@dataclass(frozen=True, kw_only=True)
class DemoSubject:
    """One simulated scan."""

    label: str
    plane: str
    acquisition: Acquisition
    seed: int


SUBJECTS = (
    DemoSubject(
        label="01",
        plane="axial",
        acquisition=Acquisition(spacing=6.0, thickness=5.0, profile="slr", slice_axis=2),
        seed=1,
    ),
    DemoSubject(
        label="02",
        plane="sagittal",
        acquisition=Acquisition(spacing=4.4, thickness=4.0, profile="slr", slice_axis=0),
        seed=2,
    ),
)


def write_demo(folder: Path) -> int:
    """Write ``folder/bids`` and ``folder/reference``; the same bytes at every call."""
    if folder.exists() and not folder.is_dir():
        raise ExitError(ExitCode.CANNOT_WRITE, f"{folder} is a file: choose another name")
    reference = reference_volume()
    for subject in SUBJECTS:
        _write_subject(folder, subject, reference)
    _write_dataset_files(folder / "bids")
    print(f"wrote {folder / 'bids'}: a BIDS dataset of {len(SUBJECTS)} subjects")
    for subject in SUBJECTS:
        print(f"  sub-{subject.label}: {_description(subject)}")
    print(f"wrote {folder / REFERENCE_FOLDER}: the fine images that they were made from")
    return ExitCode.OK


def reference_path(folder: Path, label: str) -> Path:
    """Return where the fine image of a subject is."""
    return folder / REFERENCE_FOLDER / f"sub-{label}_T1w.nii.gz"


def reference_volume() -> Volume:
    """Return the template at 1 mm, cropped to the head with a margin of air."""
    from nilearn.datasets import load_mni152_template

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        image = load_mni152_template(resolution=1)
    data = np.asarray(image.dataobj, dtype=np.float32)
    affine = np.array(image.affine, dtype=np.float64)
    inside = np.argwhere(data > 0)
    first = np.maximum(inside.min(axis=0) - MARGIN_MM, 0)
    last = np.minimum(inside.max(axis=0) + MARGIN_MM + 1, data.shape)
    box = [slice(low, high) for low, high in zip(first, last, strict=True)]
    return Volume(np.rint(INTENSITY_SCALE * data), affine).part(box)


def _write_subject(folder: Path, subject: DemoSubject, reference: Volume) -> None:
    reference.save(reference_path(folder, subject.label), dtype=np.int16)
    stem = folder / "bids" / f"sub-{subject.label}" / "anat" / f"sub-{subject.label}_T1w"
    thick = degrade(reference, subject.acquisition, noise=NOISE, seed=subject.seed)
    thick.save(stem.with_name(f"{stem.name}.nii.gz"), dtype=np.int16)
    sidecar = {
        "MRAcquisitionType": "2D",
        "SliceThickness": subject.acquisition.thickness,
        "SpacingBetweenSlices": subject.acquisition.spacing,
        "BodyPart": "BRAIN",
        "SeriesDescription": f"simulated from a template, {_description(subject)}",
    }
    write_json_atomic(stem.with_name(f"{stem.name}.json"), sidecar)


def _write_dataset_files(root: Path) -> None:
    description = {
        "Name": "Demonstration dataset of bids_sr",
        "BIDSVersion": "1.10.0",
        "DatasetType": "raw",
        "License": "that of the ICBM 152 template, see README.md",
        "ReferencesAndLinks": ["https://doi.org/10.1016/j.neuroimage.2010.07.033"],
        "GeneratedBy": [{"Name": "bids_sr-tools demo", "Version": __version__}],
    }
    write_json_atomic(root / "dataset_description.json", description)
    rows = "\n".join(f"- sub-{one.label}: {_description(one)}" for one in SUBJECTS)
    write_text_atomic(root / "README.md", _README.format(rows=rows))
    table = ["participant_id\tplane", *(f"sub-{one.label}\t{one.plane}" for one in SUBJECTS)]
    write_text_atomic(root / "participants.tsv", "\n".join(table) + "\n")
    columns = {"plane": {"Description": "Orientation of the slices"}}
    write_json_atomic(root / "participants.json", columns)


def _description(subject: DemoSubject) -> str:
    acquisition = subject.acquisition
    return (
        f"{subject.plane} slices, {acquisition.thickness:g} mm thick, "
        f"{acquisition.spacing:g} mm apart"
    )
