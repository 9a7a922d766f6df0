"""``bids_sr-tools demo`` and ``score``: a dataset with known references, and a run's scores."""

from __future__ import annotations

from pathlib import Path

from bids_sr.evaluation.demonstration import (
    REFERENCE_FOLDER,
    SUBJECTS,
    score_subject,
    write_demonstration,
)
from bids_sr.run.exit_codes import ExitCode


def write_demo(folder: Path) -> int:
    """Write the demonstration dataset, and the high-resolution images that it was made from."""
    write_demonstration(folder)
    print(f"wrote {folder / 'bids'}: a BIDS dataset of {len(SUBJECTS)} subjects")
    for subject in SUBJECTS:
        print(f"  sub-{subject.label}: {subject.words}")
    print(
        f"wrote {folder / REFERENCE_FOLDER}: the high-resolution images that they were made from"
    )
    return ExitCode.OK


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
