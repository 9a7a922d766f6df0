"""Frames of video files: grey, downscaled, and split where the scene changes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt

from bids_sr.exceptions import EngineError, InputDataError

LOGGER = logging.getLogger(__name__)
_CUT = 0.15  # mean change of brightness, of the range, between frames of two scenes


def read_shots(
    files: Sequence[Path], *, width: int, most_frames: int, least_frames: int
) -> list[tuple[str, npt.NDArray[np.float32]]]:
    """Decode videos into shots.

    Parameters
    ----------
    files : sequence of Path
    width : int
        Frames are made smaller until their longer side is at most this, pixels.
    most_frames : int
        Frames read of each file, from its beginning.
    least_frames : int
        Shots with fewer are left out.

    Returns
    -------
    list of (str, (T, H, W) float32 array)
        Name and grey values from 0 to 1.

    Raises
    ------
    EngineError
        If the decoder is not installed.
    InputDataError
        If no file holds a shot that is long enough.
    """
    decoder = _decoder()
    shots = []
    for path in files:
        try:
            frames = _decode(decoder, path, width, most_frames)
        except (decoder.FFmpegError, OSError, IndexError) as error:
            LOGGER.warning("Not used for training: %s: cannot be decoded (%s)", path, error)
            continue
        parts = [part for part in part_by_scene(frames) if len(part) >= least_frames]
        if not parts:
            LOGGER.warning(
                "Not used for training: %s: no shot of %d frames or more", path, least_frames
            )
        shots += [(f"{path.name}#{number}", part) for number, part in enumerate(parts, 1)]
    if not shots:
        raise InputDataError(
            f"Found {len(files)} files and no shot of {least_frames} frames or more; expected "
            "videos. The warnings say what is wrong with each."
        )
    return shots


def part_by_scene(frames: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
    """Cut (T, H, W) frames where one differs much from the one before."""
    if len(frames) < 2:
        return [frames]
    change = np.array([np.abs(after - before).mean() for before, after in pairwise(frames)])
    return np.split(frames, np.flatnonzero(change > _CUT) + 1)


def _decode(
    decoder: ModuleType, path: Path, width: int, most_frames: int
) -> npt.NDArray[np.float32]:
    images = []
    with decoder.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for frame in container.decode(stream):
            factor = min(1.0, width / max(frame.width, frame.height))
            size = {
                "width": max(2, round(frame.width * factor)),
                "height": max(2, round(frame.height * factor)),
            }
            grey = frame.reformat(format="gray", interpolation="AREA", **size)
            images.append(grey.to_ndarray())
            if len(images) >= most_frames:
                break
    if not images:
        raise IndexError("no frames")
    return np.stack(images).astype(np.float32) / np.float32(255)


def _decoder() -> ModuleType:
    try:
        import av
    except ImportError as error:
        raise EngineError(
            "Found no video decoder; expected the package av (PyAV). Install it with "
            '`pip install "bids_sr[video]"`.'
        ) from error
    decoder: ModuleType = av
    return decoder
