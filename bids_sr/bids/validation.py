"""Checks of datasets: the BIDS validator, and what it does not see in our output."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids_sr.bids.names import ParsedName, parse_name
from bids_sr.exceptions import NoInputError
from bids_sr.imaging.dicom import CONVERT, holds_dicom

VALIDATOR = "bids-validator-deno"
# An image name with none of these can be a raw one.
DERIVATIVE_ENTITIES = (
    "space",
    "seg",
    "res",
    "den",
    "label",
    "desc",
    "atlas",
    "cohort",
    "hemi",
    "from",
)
TISSUES = ("GM", "WM", "CSF")


@dataclass(frozen=True, kw_only=True)
class Issue:
    """One finding of the validator."""

    code: str
    """Its code, with the field's name where there is one."""
    location: str
    """The file, from the dataset's root."""
    message: str
    """What was found."""

    def __str__(self) -> str:
        """Return the issue as one line."""
        return f"{self.code}: {self.location} {self.message}".strip()


@dataclass(frozen=True, kw_only=True)
class ValidationResult:
    """What the validator found."""

    errors: tuple[Issue, ...]
    """Findings that make the dataset invalid."""
    warnings: tuple[Issue, ...]
    """Findings that do not."""
    note: str = ""
    """Why the validator could not be run; empty where it ran."""


def refuse_dicom(bids_dir: Path) -> None:
    """Refuse a folder of DICOM files in place of a dataset.

    Raises
    ------
    NoInputError
        With the command that converts them.
    """
    if not (bids_dir / "dataset_description.json").exists() and holds_dicom(bids_dir):
        raise NoInputError(
            f"{bids_dir} holds DICOM files; expected a BIDS dataset. {CONVERT}; then arrange the "
            "images as BIDS, for example with dcm2bids"
        )


def validate_dataset(bids_dir: Path) -> ValidationResult:
    """Run the BIDS validator on a dataset, raw or derivative.

    Parameters
    ----------
    bids_dir : Path
        Root of the dataset.

    Returns
    -------
    ValidationResult
        Errors and warnings.  A validator that is missing or does not work gives a note: that is
        not an error of the dataset.
    """
    tool = _find_validator()
    if tool is None:
        return _not_run(
            f"the BIDS validator ({VALIDATOR}) is not installed: the dataset was not validated; "
            "pip install bids-validator-deno"
        )
    try:
        process = _run(tool, bids_dir)
    except OSError as error:
        return _not_run(
            f"the BIDS validator ({tool}) cannot be started ({error.strerror}): the dataset was "
            "not validated"
        )
    try:
        issues: list[dict[str, Any]] = json.loads(process.stdout)["issues"]["issues"]
    except (ValueError, KeyError, TypeError):
        lines = (process.stderr or process.stdout).strip().splitlines()
        return _not_run(
            f"the BIDS validator gave no result (exit code {process.returncode}: "
            f"{lines[-1] if lines else 'no output'}): the dataset was not validated"
        )
    return ValidationResult(
        errors=tuple(_issue(entry) for entry in issues if entry.get("severity") == "error"),
        warnings=tuple(_issue(entry) for entry in issues if entry.get("severity") == "warning"),
    )


def check_output_tree(output_dir: Path, subjects: Iterable[str] = ()) -> list[str]:
    """Look for names in our output that other tools would misinterpret.

    Parameters
    ----------
    output_dir : Path
        Root of the output dataset.
    subjects : iterable of str
        Labels to look at, without ``sub-``; empty for all.

    Returns
    -------
    list of str
        One sentence per problem: a name that is legal in raw data; a segmentation without
        ``desc-``, which sMRIPrep would read as its own tissue map; a tissue probability map
        without ``space-``; two ``desc-preproc`` with one suffix, or two brain masks without
        ``space-``, in one subject and session.
    """
    problems = []
    references: dict[tuple[str, ...], list[str]] = defaultdict(list)
    folders = [output_dir / f"sub-{label}" for label in subjects] or output_dir.glob("sub-*")
    for path in sorted(path for folder in folders for path in folder.glob("**/anat/sub-*")):
        name = parse_name(path.name)
        relpath = path.relative_to(output_dir).as_posix()
        problems += [f"{relpath}: {problem}" for problem in _name_problems(name)]
        kind = _reference_kind(name)
        if kind and name.extension.startswith(".nii"):
            session = name.entities.get("session", "")
            references[(name.entities.get("subject", ""), session, kind)].append(relpath)
    for (_, _, kind), paths in references.items():
        if len(paths) > 1:
            problems.append(
                f"{', '.join(paths)}: {len(paths)} {kind} in one subject and session; expected one"
            )
    return problems


def _name_problems(name: ParsedName) -> list[str]:
    problems = []
    if not any(entity in name.entities for entity in DERIVATIVE_ENTITIES):
        problems.append("the name is legal in raw data; expected a derivative entity (desc-)")
    if name.suffix == "dseg" and "desc" not in name.entities:
        problems.append("a dseg without desc- is treated as a tissue map; expected desc-")
    tissue = name.entities.get("label") in TISSUES
    if name.suffix == "probseg" and tissue and "space" not in name.entities:
        problems.append("a tissue probseg without space-; expected space-")
    return problems


def _reference_kind(name: ParsedName) -> str | None:
    description = name.entities.get("desc")
    if "space" in name.entities:
        return None
    if description == "preproc":
        return f"desc-preproc_{name.suffix}"
    if description == "brain" and name.suffix == "mask":
        return "desc-brain_mask"
    return None


def _run(tool: str, bids_dir: Path) -> subprocess.CompletedProcess[str]:
    with tempfile.TemporaryDirectory() as cache:
        # Deno keeps a cache in HOME, which may not be writable, and asks the web for news.
        environment = {"DENO_DIR": cache, **os.environ, "DENO_NO_UPDATE_CHECK": "1"}
        return subprocess.run(
            [tool, str(bids_dir), "--format", "json"],
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )


def _find_validator() -> str | None:
    beside = Path(sys.executable).parent / VALIDATOR
    return str(beside) if beside.exists() else shutil.which(VALIDATOR)


def _issue(entry: dict[str, Any]) -> Issue:
    parts = [str(entry.get(key)) for key in ("code", "subCode") if entry.get(key)]
    message = " ".join(str(entry.get("issueMessage") or "").split())
    return Issue(code=" ".join(parts), location=str(entry.get("location", "")), message=message)


def _not_run(note: str) -> ValidationResult:
    return ValidationResult(errors=(), warnings=(), note=note)
