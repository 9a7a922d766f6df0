"""The demonstration: a small BIDS dataset of thick slices with known references, and its scores.

The anatomy is the ICBM152 T1 template that nilearn brings along, so nothing is
downloaded; the slices come from this package's own forward model.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from bids_sr import __version__
from bids_sr.evaluation.metrics import psnr, ssim
from bids_sr.evaluation.protocol import covered
from bids_sr.exceptions import NoInputError, OutputError
from bids_sr.files import write_json_atomic, write_text_atomic
from bids_sr.imaging import Acquisition, Volume, degrade, resample

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
_FIELD_SIGMA = 1.0  # acquired voxels; fills the ratio where the image is zero


@dataclass(frozen=True, kw_only=True)
class DemoSubject:
    """One simulated scan."""

    label: str
    plane: str
    acquisition: Acquisition
    seed: int

    @property
    def words(self) -> str:
        """Say how its slices lie."""
        return (
            f"{self.plane} slices, {self.acquisition.thickness:g} mm thick, "
            f"{self.acquisition.spacing:g} mm apart"
        )


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


@dataclass(frozen=True, kw_only=True)
class DemoScore:
    """How near two reconstructions of one subject come to the reference."""

    subject: str
    cubic: tuple[float, float]
    """PSNR (dB) and SSIM in the brain of cubic interpolation."""
    result: tuple[float, float]
    """The same of the run's result."""


def write_demonstration(folder: Path) -> None:
    """Write ``folder/bids`` and ``folder/reference``; the same bytes at every call.

    Raises
    ------
    OutputError
        If the folder is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file: choose another name")
    reference = reference_volume()
    for subject in SUBJECTS:
        _write_subject(folder, subject, reference)
    _write_dataset_files(folder / "bids")


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
    thick = degrade(reference, subject.acquisition, noise_fraction=NOISE, seed=subject.seed)
    thick.save(stem.with_name(f"{stem.name}.nii.gz"), dtype=np.int16)
    sidecar = {
        "MRAcquisitionType": "2D",
        "SliceThickness": subject.acquisition.thickness,
        "SpacingBetweenSlices": subject.acquisition.spacing,
        "BodyPart": "BRAIN",
        "SeriesDescription": f"simulated from a template, {subject.words}",
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
    rows = "\n".join(f"- sub-{subject.label}: {subject.words}" for subject in SUBJECTS)
    write_text_atomic(root / "README.md", _README.format(rows=rows))
    table = [
        "participant_id\tplane",
        *(f"sub-{subject.label}\t{subject.plane}" for subject in SUBJECTS),
    ]
    write_text_atomic(root / "participants.tsv", "\n".join(table) + "\n")
    columns = {"plane": {"Description": "Orientation of the slices"}}
    write_json_atomic(root / "participants.json", columns)


def score_subject(folder: Path, output_dir: Path, label: str) -> DemoScore:
    """Compare one subject's result, and cubic interpolation, with the reference.

    The bias field that N4 took out is put back into the result before it is compared, since
    the reference has it too; the cubic interpolation is that of the acquired image, which
    never lost it.  Nothing else is matched.

    Raises
    ------
    NoInputError
        If the demonstration, or a run on it with ``--level full``, is not there.
    """
    anat = output_dir / f"sub-{label}" / "anat"
    reference = Volume.load(_existing(reference_path(folder, label)))
    acquired = Volume.load(
        _existing(folder / "bids" / f"sub-{label}" / "anat" / f"sub-{label}_T1w.nii.gz")
    )
    product = Volume.load(_only(anat, f"sub-{label}_res-*_desc-sr_T1w.nii.gz"))
    before, after = (
        Volume.load(_only(anat, f"sub-{label}_space-orig_desc-{step}_T1w.nii.gz"))
        for step in ("denoised", "n4")
    )
    field = resample(bias_field(before, after), product.grid, kernel="linear")
    uncorrected = product.with_data(product.data / field.data)
    mask = (reference.data > 0) & covered(reference.grid, acquired.grid)
    return DemoScore(
        subject=label,
        cubic=_quality(acquired, reference, mask),
        result=_quality(uncorrected, reference, mask),
    )


def bias_field(before: Volume, after: Volume) -> Volume:
    """Return the smooth gain that turned one image into the other.

    The ratio is taken by least squares in a small Gaussian window, which is exact for a
    smooth field and defined where single voxels are zero; 1 far from any signal.
    """
    first, second = before.data.astype(np.float64), after.data.astype(np.float64)
    power = gaussian_filter(first * first, _FIELD_SIGMA)
    product = gaussian_filter(first * second, _FIELD_SIGMA)
    known = power > 1e-4 * float(power.max())
    ratio = np.ones_like(power)
    np.divide(product, power, out=ratio, where=known)
    return before.with_data(ratio.astype(np.float32))


def _quality(
    estimate: Volume, reference: Volume, mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
) -> tuple[float, float]:
    data = resample(estimate, reference.grid).data
    # the reference has no head around the brain, so neither may the estimate
    inside = np.where(mask, data, reference.data)
    return psnr(inside, reference.data, mask), ssim(inside, reference.data, mask)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise NoInputError(f"{path} does not exist: write it with bids_sr-tools demo")
    return path


def _only(folder: Path, pattern: str) -> Path:
    files = sorted(folder.glob(pattern))
    if len(files) != 1:
        raise NoInputError(
            f"{folder} has {len(files)} files {pattern}: expected one; "
            "run bids_sr on the demonstration data with --level full first",
        )
    return files[0]
