"""An output folder whose images are a phantom: a head with a bright ball on its right side."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nb
import numpy as np
import numpy.typing as npt

from bids_sr.imaging import Acquisition, Volume, degrade

from .conftest import acquired, decision, write_decisions, write_quality

BALL = (28.0, -22.0, 17.0)
"""Place of the ball in the scanner's space (RAS), mm: right, back, up."""
HEAD, BRIGHT = 300.0, 1000.0
RADIUS_MM = 11.0
SPACING = 8.0
T1W = "sub-01/anat/sub-01_T1w.nii.gz"
FLAIR = "sub-01/anat/sub-01_FLAIR.nii.gz"
PRODUCT = "sub-01/anat/sub-01_res-2mm_desc-sr_FLAIR.nii.gz"
HOSTILE = "</script><script>document.documentElement.dataset.ran = 1</script><img src=x onerror=1>"


def turn(degrees: float) -> npt.NDArray[np.float64]:
    """Turn about the left-right axis, as slices along the AC-PC line are."""
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def phantom(axes: str = "RAS", degrees: float = 0.0) -> Volume:
    """Make the phantom with 2 mm voxels.

    Parameters
    ----------
    axes : str
        Direction of each array axis, as nibabel writes it.
    degrees : float
        By how much the axes are oblique.
    """
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -60, -76, -56
    affine[:3] = turn(degrees) @ affine[:3]
    places = np.moveaxis(np.indices((62, 78, 56)), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    data = HEAD * (((places / (54, 68, 50)) ** 2).sum(axis=-1) < 1).astype(np.float32)
    data[((places - BALL) ** 2).sum(axis=-1) < RADIUS_MM**2] = BRIGHT
    data += np.random.default_rng(0).uniform(0, 5, data.shape).astype(np.float32)
    image = nb.Nifti1Image(data, affine)
    target = nb.orientations.axcodes2ornt(tuple(axes))
    turned = image.as_reoriented(
        nb.orientations.ornt_transform(nb.orientations.io_orientation(affine), target)
    )
    return Volume(np.ascontiguousarray(turned.get_fdata(dtype=np.float32)), turned.affine)


def build(
    root: Path, axes: str = "RAS", degrees: float = 0.0, slice_axis: int = 2, words: str = "head"
) -> tuple[Path, Path]:
    """Write a dataset of one image and the output folder of a run on it.

    Parameters
    ----------
    root : Path
        Gets the folders ``bids`` and ``out``.
    axes, degrees
        Of the image: :func:`phantom`.
    slice_axis : int
        Array axis across the slices.
    words : str
        Name of the label of the head.

    Returns
    -------
    tuple of Path
        Dataset and output folder.
    """
    bids, out = root / "bids", root / "out"
    result = phantom(axes, degrees)
    slices = Acquisition(spacing=SPACING, thickness=6.0, slice_axis=slice_axis)
    thick = degrade(result, slices)
    folder = (out / PRODUCT).parent
    for path in (bids / FLAIR, out / PRODUCT):
        path.parent.mkdir(parents=True)
    thick.save(bids / FLAIR)
    result.save(out / PRODUCT)
    head = (result.data > 0.5 * HEAD).astype(np.uint8)
    ball = (result.data > 0.5 * (HEAD + BRIGHT)).astype(np.uint8)
    beside = {
        "space-FLAIR_desc-brain_mask": (head, {"Type": "Brain"}),
        "acq-FLAIR_desc-sr_uncertainty": (10.0 * ball + head, {"Calibrated": True}),
        "seg-atropos_desc-sr_dseg": (head + 6 * ball, {}),
    }
    reference = {"SpatialReference": f"bids::{PRODUCT}"}
    for name, (data, facts) in beside.items():
        kind = np.float32 if "uncertainty" in name else np.uint8
        result.with_data(data.astype(kind)).save(folder / f"sub-01_{name}.nii.gz")
        (folder / f"sub-01_{name}.json").write_text(json.dumps({**facts, **reference}))
    (folder / "sub-01_seg-atropos_desc-sr_dseg.tsv").write_text(
        f"index\tname\tcolor\n0\tnothing\t#000000\n1\t{words}\t#22c55e\n7\tball\t#f97316\n"
    )
    known = acquired(spacing=f"{SPACING:g}", thickness="6", slice_axis=str(slice_axis))
    row = decision(FLAIR, action="super-resolve", status="done", output=PRODUCT, **known)
    write_decisions(out, [row])
    write_quality(folder / "sub-01_acq-FLAIR_desc-sr_qc.json", FLAIR)
    return bids, out
