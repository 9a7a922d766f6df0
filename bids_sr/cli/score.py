"""``bids_sr-tools score``: a finished run on the demonstration data against the truth.

The bias field that N4 took out is put back into the result before it is compared, since
the reference has it too; the cubic interpolation is that of the acquired image, which
never lost it.  Nothing else is matched.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter

from bids_sr.cli.demo import SUBJECTS, reference_path
from bids_sr.evaluation.metrics import psnr, ssim
from bids_sr.evaluation.protocol import covered
from bids_sr.imaging import Volume, resample
from bids_sr.run.exit_codes import ExitCode, ExitError

_FIELD_SIGMA = 1.0  # acquired voxels; fills the ratio where the image is zero


@dataclass(frozen=True, kw_only=True)
class DemoScore:
    """How near two reconstructions of one subject come to the reference."""

    subject: str
    cubic: tuple[float, float]
    """PSNR (dB) and SSIM in the brain of cubic interpolation."""
    result: tuple[float, float]
    """The same of the run's result."""


def print_scores(folder: Path, derivatives: Path | None) -> int:
    """Print PSNR and SSIM of every demonstration subject."""
    output_dir = derivatives or folder / "out"
    print("in the brain, against the reference image:")
    print(f"{'':8}{'cubic interpolation':>24}{'bids_sr':>24}{'gain':>12}")
    for subject in SUBJECTS:
        score = score_subject(folder, output_dir, subject.label)
        cells = [f"{db:.2f} dB, SSIM {index:.3f}" for db, index in (score.cubic, score.result)]
        gain = score.result[0] - score.cubic[0]
        print(f"sub-{subject.label:4}{cells[0]:>24}{cells[1]:>24}{gain:>+9.2f} dB")
    return ExitCode.OK


def score_subject(folder: Path, output_dir: Path, label: str) -> DemoScore:
    """Compare one subject's result, and cubic interpolation, with the reference."""
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
        raise ExitError(
            ExitCode.NO_INPUT, f"{path} does not exist: write it with bids_sr-tools demo"
        )
    return path


def _only(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise ExitError(
            ExitCode.NO_INPUT,
            f"{folder} has {len(found)} files {pattern}: expected one; "
            "run bids_sr on the demonstration data with --level full first",
        )
    return found[0]
