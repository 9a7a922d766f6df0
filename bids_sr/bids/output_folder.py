"""The output folder before a run: writable, and made by this software from the same dataset."""

from __future__ import annotations

import logging
from pathlib import Path
from urllib.parse import unquote

from bids_sr.bids.dataset import dataset_description, read_description
from bids_sr.exceptions import InputDataError
from bids_sr.files import check_writable
from bids_sr.records.json_values import mapping

LOGGER = logging.getLogger(__name__)


def prepare_output_dir(output_dir: Path, bids_dir: Path) -> Path:
    """Make the output folder and make sure that it can be written and is ours.

    Parameters
    ----------
    output_dir : Path
        Root of the output dataset.
    bids_dir : Path
        Root of the input dataset.

    Returns
    -------
    Path
        The absolute output folder.

    Raises
    ------
    InputDataError
        If it is the input folder, belongs to another pipeline or to another input dataset, or
        cannot be written.
    """
    output_dir, bids_dir = Path(output_dir).resolve(), Path(bids_dir).resolve()
    if output_dir == bids_dir:
        raise InputDataError(
            f"{output_dir}: the output folder is the input dataset, which is never written to; "
            f"expected another folder. Give for example {bids_dir / 'derivatives' / 'bids_sr'}."
        )
    try:
        check_writable(output_dir)
    except OSError as error:
        raise InputDataError(
            f"{output_dir}: the output folder cannot be written ({error.strerror}); expected a "
            "folder with write permission. Give another one or change its permissions."
        ) from error
    _check_owner(output_dir, bids_dir)
    return output_dir


def _check_owner(output_dir: Path, bids_dir: Path) -> None:
    """Refuse a folder of another pipeline, or with the results of another input dataset.

    A dataset may have been moved, or have another path in a container: a path alone is a warning.
    In a container, two datasets have the same path: then their names tell.
    """
    if not (output_dir / "dataset_description.json").exists():
        return
    description = read_description(output_dir)
    entries = description.get("GeneratedBy")
    makers = [
        mapping(entry).get("Name") for entry in (entries if isinstance(entries, list) else [])
    ]
    if "bids_sr" not in makers:
        raise InputDataError(
            f"{output_dir}: the output folder holds another dataset (made by "
            f"{', '.join(map(str, filter(None, makers))) or 'an unknown pipeline'}); expected an "
            "empty folder or an earlier output of bids_sr. Give another folder."
        )
    now = dataset_description(bids_dir, {})
    links = mapping(description.get("DatasetLinks")).get("raw"), now["DatasetLinks"]["raw"]
    names = description.get("Name"), now["Name"]
    if not all(links) or not all(names) or (links[0], names[0]) == (links[1], names[1]):
        return
    found = f"{output_dir}: the output folder holds results of {links[0]}"
    # Without a Name of its own, a dataset is called after its folder, which may have another
    # name in a container.
    after_folder = any(
        str(name).endswith(f" of {Path(unquote(str(link))).name}")
        for name, link in zip(names, links, strict=True)
    )
    if names[0] != names[1] and not after_folder:
        raise InputDataError(
            f"{found} ({names[0]}), not of {links[1]} ({names[1]}); expected a "
            "folder for each input dataset, because subjects of the same label would replace each "
            "other. Give another folder; if it is the same dataset with another name, remove "
            "dataset_description.json from the output folder."
        )
    if links[0] == links[1]:  # it had no Name, or has none any more
        return
    LOGGER.warning(
        "%s, and the input is %s: if these are two datasets, stop the run and give another output "
        "folder",
        found,
        links[1],
    )
