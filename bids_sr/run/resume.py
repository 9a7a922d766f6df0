"""Results of earlier runs: reused if intact, else recomputed.

A power loss can leave files that are empty or truncated.  Nipype would use them as results.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

LOGGER = logging.getLogger(__name__)


def drop_broken_result(node: Any) -> None:
    """Remove the kept result of a node that cannot be read, or a file of which is not whole.

    So are named pipes and devices in its folder, where nobody should have put them.

    Parameters
    ----------
    node : nipype.pipeline.engine.Node
        A node that is about to be run; without its result it is run again.
    """
    from nipype.pipeline.engine.utils import load_resultfile

    _drop_odd_files(Path(node.output_dir()))
    path = Path(node.output_dir()) / f"result_{node.name}.pklz"
    if not path.exists():
        return
    try:
        outputs = load_resultfile(path).outputs
        if outputs is None:  # the step had failed; it is tried again
            return
        whole = all(_is_whole(value, path.parent) for value in _texts(outputs.get()))
    except Exception as error:  # whatever a broken pickle raises
        LOGGER.debug("%s: %s", path, error)
        whole = False
    if not whole:
        LOGGER.warning(
            "%s: the earlier result is damaged; the step is computed again", node.fullname
        )
        path.unlink()


def _drop_odd_files(folder: Path) -> None:
    """Remove named pipes and devices: Nipype would wait for them for ever."""
    for path in folder.glob("**/*"):
        if path.exists() and not (path.is_file() or path.is_dir()):
            LOGGER.warning("%s: not a regular file; removed", path)
            path.unlink()


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)


def _is_whole(text: str, folder: Path) -> bool:
    """Tell whether a text is no path of a file in the folder, or that of one with all it had.

    An image's header says how long it is; a drawing has an end; of others, any content counts.
    """
    path = Path(text)
    if not text.startswith(f"{folder}/") or path.is_dir():
        return True
    if not path.is_file() or path.stat().st_size == 0:
        return False
    if path.name.endswith((".nii", ".nii.gz")):
        return _is_whole_image(path)
    return path.suffix != ".svg" or b"</svg>" in _end(path, 64)


def _is_whole_image(path: Path) -> bool:
    """Compare the length that the header asks for with that of the data, which are not read."""
    import nibabel as nb
    import numpy as np

    data = nb.load(path).dataobj  # type: ignore[attr-defined]
    expected = int(data.offset + np.prod(data.shape, dtype=int) * data.dtype.itemsize)
    if path.suffix == ".gz":  # which ends with the length of what it unpacks to
        return int.from_bytes(_end(path, 4), "little") == expected % 2**32
    return path.stat().st_size >= expected


def _end(path: Path, count: int) -> bytes:
    with path.open("rb") as stream:
        stream.seek(-min(count, path.stat().st_size), os.SEEK_END)
        return stream.read()
