"""Where the data of a run are, and what a step of a user consists of.

Commands are written for a POSIX shell, every path quoted.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bids_sr.bids.places import is_at_home
from bids_sr.reports.output_files import OutputFile, SessionFiles


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command to copy, and what a user must know of it."""

    text: str
    about: str = ""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One aim: which file serves it, and how."""

    aim: str
    file: str
    """Name of the file, or why there is none."""
    usable: bool = True
    """False where this output has no file for it."""
    commands: tuple[Command, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where things are."""

    root: Path
    """Output folder of this run, absolute."""
    label: str
    """Subject, with ``sub-``."""
    bids_dir: Path | None = None
    """The acquired dataset; None where it is not recorded."""
    raw_like_dir: Path | None = None
    """The raw-shaped dataset with results, if it has this subject."""
    command: str = ""
    """Command line of the latest run."""

    @classmethod
    def of_run(cls, root: Path, label: str, table: Mapping[str, Any]) -> Places:
        """Read them from the content of ``run.toml``."""
        config, run = (_mapping(table.get(name)) for name in ("config", "run"))
        raw_like = _path(config.get("raw_like_dir"))
        return cls(
            root=root.absolute(),
            label=label,
            bids_dir=_path(config.get("bids_dir")),
            raw_like_dir=raw_like if raw_like and (raw_like / label).is_dir() else None,
            command=str(run.get("command", "")),
        )

    def beside(self, name: str) -> Path:
        """Return a folder beside the output folder, for the results of another tool."""
        return self.root.parent / name

    def acquired(self, file: OutputFile) -> Path | None:
        """Return the acquired image of a product; None if it is not at its place."""
        if self.bids_dir is None or file.image is None or not is_at_home(file.image.image):
            return None
        path = self.bids_dir / file.image.image
        return path if path.is_file() else None

    def registered(self, moving: OutputFile, fixed: OutputFile) -> Path:
        """Name a volume that is brought onto the grid of another, beside the output folder."""
        head, _, _ = Path(moving.name).name.partition("_res-")
        description = "fused" if moving.kind == "fused" else "sr"
        name = f"{head}_space-{fixed.suffix}_desc-{description}_{moving.suffix}.nii.gz"
        return self.beside(f"{self.root.name}-registered") / self.label / name

    def name_of(self, session: SessionFiles) -> str:
        """Name a session for other tools: ``sub-01_ses-02``."""
        return "_".join(filter(None, [self.label, session.session]))

    @property
    def has_bold(self) -> bool:
        """Whether the subject has functional images; also where that cannot be looked up."""
        if self.bids_dir is None or not (self.bids_dir / self.label).is_dir():
            return True
        subject = self.bids_dir / self.label
        return any(any(subject.glob(f"{inner}func/*_bold.nii*")) for inner in ("", "ses-*/"))


def word(value: str | Path) -> str:
    """Quote a word for a shell."""
    return shlex.quote(str(value))


def _path(value: Any) -> Path | None:
    return Path(value) if isinstance(value, str) and value else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
