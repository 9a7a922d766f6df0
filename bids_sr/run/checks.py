"""Checks before any work: folders, files of the options, the dataset."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from bids_sr.exceptions import ConfigError, InputDataError, counted
from bids_sr.files import check_writable
from bids_sr.files.private_folders import make_work_folder
from bids_sr.run.exit_codes import ExitCode, ExitError

if TYPE_CHECKING:
    from bids_sr.config import RunConfig

LOGGER = logging.getLogger(__name__)
_SHOWN_ERRORS = 10


def check_folders(config: RunConfig) -> None:
    """Refuse to write into the dataset, by whatever path: a link or a second mount of it."""
    from bids_sr.bids import place_in_dataset

    folders = {
        "output folder": config.output_dir,
        "work folder": config.work_dir,
        "raw-like folder": config.raw_like_dir,
    }
    for name, folder in folders.items():
        place = None if folder is None else place_in_dataset(folder, config.bids_dir)
        is_output = name == "output folder"
        if place is None or (is_output and place.parts[1:] and place.parts[0] == "derivatives"):
            continue
        raise ConfigError(
            f"the {name} {folder} leads to {config.bids_dir / place} and is inside the input "
            "dataset, which is never changed: choose another folder"
            + (f" or below {config.bids_dir / 'derivatives'}" if is_output else "")
        )


def check_files(config: RunConfig) -> None:
    """Refuse what is not there, or not a dataset, before any work."""
    from bids_sr.bids.validation import refuse_dicom
    from bids_sr.config import SLICE_PROFILES

    refuse_dicom(config.bids_dir)
    if config.reports_only is False and (found := sorted({*"*?["} & {*str(config.work_dir)})):
        raise ConfigError(
            f"--work-dir: {config.work_dir} has {' and '.join(found)} in its path, which Nipype "
            "takes for a pattern: expected a path without *, ? and [; choose another folder"
        )
    named = {f"--derivatives {name}": path for name, path in config.derivatives.items()}
    if config.weights_dir is not None:
        named["--weights-dir"] = config.weights_dir
    for spelled, path in named.items():
        if not path.is_dir():
            problem = "is not a folder" if path.exists() else "does not exist"
            raise ConfigError(f"{spelled}: {path} {problem}; check the path")
    if config.use_plugin is not None and not config.use_plugin.exists():
        raise ConfigError(f"--use-plugin: {config.use_plugin} does not exist; check the path")
    if config.use_plugin is not None:
        from bids_sr.run.batch_queue import read_plugin

        read_plugin(config.use_plugin)
    if config.segmentation:
        from bids_sr.engines.segmentation import check_segmentations

        check_segmentations(config.segmentation)
    from bids_sr.engines import BUNDLED_TEMPLATE

    if config.template != BUNDLED_TEMPLATE:
        _require_template(config)
    profile = config.slice_profile
    if profile not in SLICE_PROFILES:
        _require_profile(Path(profile), ", ".join(SLICE_PROFILES))


def _require_profile(path: Path, names: str) -> None:
    from bids_sr.files import TABLE_LIMIT, check_regular

    expected = f"expected {names} or the path of a TSV file"
    try:
        check_regular(path, TABLE_LIMIT)
    except OSError as error:
        problem = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise ConfigError(f"--slice-profile {path}: {problem}; {expected}") from error
    except InputDataError as error:
        raise ConfigError(f"--slice-profile {error}") from error


def _require_template(config: RunConfig) -> None:
    from bids_sr.engines.segmentation import make_segmentation
    from bids_sr.engines.template import require_template

    tissues = any(make_segmentation(tool_name).tissue_maps for tool_name in config.segmentation)
    require_template(config.template, tissues=tissues, offline=config.offline)


def check_dataset(bids_dir: Path) -> None:
    """Refuse a dataset in which the BIDS validator finds errors."""
    from bids_sr.bids import validate_dataset

    LOGGER.info("validating %s", bids_dir)
    result = validate_dataset(bids_dir)
    if result.note:
        LOGGER.warning("%s", result.note)
    if not result.errors:
        return
    lines = [f"  {issue}" for issue in result.errors[:_SHOWN_ERRORS]]
    if len(result.errors) > _SHOWN_ERRORS:
        lines.append(f"  and {len(result.errors) - _SHOWN_ERRORS} more")
    raise ExitError(
        ExitCode.VALIDATION_FAILED,
        f"{bids_dir} is not a valid BIDS dataset ({counted(len(result.errors), 'error')}): "
        "correct it, or "
        "give --skip-bids-validation\n" + "\n".join(lines),
    )


def make_folders(config: RunConfig) -> None:
    """Make the output and the work folder; refuse those that cannot be written to."""
    from bids_sr.bids import prepare_output_dir

    try:
        prepare_output_dir(config.output_dir, config.bids_dir)
        if not config.reports_only:
            make_work_folder(config.work_dir)
            check_writable(config.work_dir)
    except InputDataError as error:
        raise ExitError(ExitCode.CANNOT_WRITE, str(error)) from error
    except OSError as error:
        raise ExitError(
            ExitCode.CANNOT_WRITE,
            f"the work folder {config.work_dir} cannot be written ({error.strerror}): "
            "give another with --work-dir",
        ) from error
