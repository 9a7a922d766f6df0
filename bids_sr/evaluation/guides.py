"""A guide beside a reference: where its file is, how far it is moved, what it adds.

The guide is the acquired scan itself.  Only its header is moved, by the amount that the
protocol states, so that registration has something to find.  The rival of a guided
reconstruction is the same without the guide.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bids_sr.bids.names import ParsedName, parse_name
from bids_sr.evaluation.protocol_name import ProtocolName
from bids_sr.exceptions import InputDataError
from bids_sr.imaging import Volume
from bids_sr.sr.together.placement import rigid_motion

WITHOUT_GUIDE = "without the guide"
"""What the rival is called in tables."""


def guide_file(image: Path, suffix: str) -> Path | None:
    """Return the scan beside an image that has another suffix, if there is one.

    Parameters
    ----------
    image : Path
        ``sub-01_ses-1_FLAIR.nii.gz``.
    suffix : str
        ``T1w``.

    Returns
    -------
    Path or None
        Of the same folder, subject and session; of several the one that shares most of the
        other parts of the name with the image.
    """
    own = parse_name(image.name)
    files = sorted(
        file
        for file in image.parent.glob(f"*_{suffix}.nii*")
        if file.name != image.name and _same_session(parse_name(file.name), own)
    )
    return min(files, key=lambda file: _differing_parts(file.name, image.name), default=None)


def load_guide(path: Path | None, image: Path, suffix: str) -> Volume:
    """Load a guide.

    Raises
    ------
    InputDataError
        If there is none.
    """
    if path is None:
        raise InputDataError(
            f"{image}: found no scan *_{suffix}.nii.gz of the same subject and session beside it; "
            "expected the guide that the protocol names. Leave the image out with --exclude."
        )
    return Volume.load(path)


def moved_guide(guide: Volume, named: ProtocolName, seed: int) -> Volume:
    """Return a guide whose header is off by the motion that a protocol names.

    Parameters
    ----------
    guide : Volume
    named : ProtocolName
        With ``shift`` (mm) and ``degrees``.
    seed : int
        Of the direction of the shift and of the axis of the rotation.
    """
    generator = np.random.default_rng(seed)
    axis, direction = (vector / np.linalg.norm(vector) for vector in generator.normal(size=(2, 3)))
    centre = guide.affine @ np.append((np.array(guide.shape) - 1) / 2, 1)
    motion = rigid_motion(np.deg2rad(named.degrees) * axis, named.shift * direction, centre[:3])
    return Volume(guide.data, motion @ guide.affine)


def _same_session(name: ParsedName, other: ParsedName) -> bool:
    """Tell whether two names are of one session; names that are not of BIDS begin alike."""
    if "subject" in other.entities:
        keys = ("subject", "session")
        return all(name.entities.get(key) == other.entities.get(key) for key in keys)
    return name.unknown[:1] == other.unknown[:1]


def _differing_parts(name: str, other: str) -> int:
    first, second = (set(text.partition(".")[0].split("_")[:-1]) for text in (name, other))
    return len(first ^ second)
