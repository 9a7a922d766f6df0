"""Fixtures that more than one test folder uses: real scans, commands, datasets to run them on."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    import numpy.typing as npt
    from golden_files import Golden

    from bids_sr.imaging import Volume

REPOSITORY = Path(__file__).resolve().parents[1]
Command = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real scans beside the repository; tests that need it skip without it."""
    folder = Path(os.environ.get("BIDS_SR_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "isotropic-hr").is_dir():
        pytest.skip(f"no real scans at {folder}; set BIDS_SR_SHARED_DATA to their folder")
    return folder


@pytest.fixture(scope="session")
def golden() -> Golden:
    """Return a function that compares lines with a golden file; how to write one: its module."""
    from golden_files import Golden

    return Golden()


@pytest.fixture(scope="session")
def mni152_2mm() -> Volume:
    """Skull-stripped MNI152 T1w template that nilearn bundles, at 2 mm."""
    from nilearn.datasets import load_mni152_template

    from bids_sr.imaging import Volume

    image = load_mni152_template(resolution=2)
    return Volume(data=image.get_fdata(dtype="float32"), affine=image.affine)


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Undo what a command called in this process does to logging."""
    root, ours = logging.getLogger(), logging.getLogger("bids_sr")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    ours.setLevel(levels[1])
    logging.captureWarnings(False)


@pytest.fixture(scope="session")
def command() -> Command:
    """Return a function that runs ``python -m <module> <words>`` in a folder."""

    def run(
        *words: object, module: str = "bids_sr", cwd: Path | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", module, *map(str, words)],
            capture_output=True,
            text=True,
            check=False,
            cwd=cwd,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            timeout=300,
        )

    return run


@pytest.fixture(scope="session")
def thick_slices() -> npt.NDArray[np.float32]:
    """Return a bright ellipsoid with a gradient and some texture."""
    shape = (20, 22, 6)
    axes = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij")
    inside = sum(axis**2 for axis in axes) < 0.8
    texture = np.random.default_rng(0).uniform(0.9, 1.1, shape)
    return np.asarray(1000 * inside * (1 + 0.3 * axes[0]) * texture, dtype=np.float32)


@pytest.fixture(scope="session")
def write_image(thick_slices: npt.NDArray[np.float32]) -> Callable[..., Path]:
    """Return a function that writes an image, by default thick slices, with its sidecar."""

    def write(
        root: Path,
        name: str,
        data: npt.NDArray[Any] | None = None,
        *,
        spacing: float = 6.0,
        thickness: float = 5.0,
    ) -> Path:
        path = root / name.split("_")[0] / "anat" / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        values = thick_slices if data is None else data
        import nibabel as nb

        nb.Nifti1Image(values, np.diag([2, 2, spacing, 1])).to_filename(path)
        sidecar = json.dumps({"SliceThickness": thickness})
        path.with_name(f"{name}.json").write_text(sidecar)
        return path

    return write


def _write_description(root: Path) -> Path:
    (root / "README").write_text("A dataset of the tests.\n")
    description = {"Name": "tests", "BIDSVersion": "1.10.0", "DatasetType": "raw"}
    (root / "dataset_description.json").write_text(json.dumps(description))
    return root


@pytest.fixture
def empty_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a dataset without subjects, to be filled."""
    return _write_description(tmp_path_factory.mktemp("raw"))


@pytest.fixture(scope="session")
def dataset(
    tmp_path_factory: pytest.TempPathFactory,
    write_image: Callable[..., Path],
    thick_slices: npt.NDArray[np.float32],
) -> Path:
    """One good image, one below the anisotropy limit, one with NaN, one 4-D; never written to."""
    root = _write_description(tmp_path_factory.mktemp("raw"))
    write_image(root, "sub-01_T1w")
    write_image(root, "sub-01_FLAIR", spacing=2.2, thickness=2.2)
    broken = thick_slices.copy()
    broken[3, 3, 3] = np.nan
    write_image(root, "sub-02_T2w", broken)
    write_image(root, "sub-03_T1w", np.stack([thick_slices] * 2, axis=3))
    return root
