"""Provenance of a run: its name, its command, the versions, its options.

``logs/<run>.toml`` repeats the run when given to ``--config-file``;
``sub-X/log/<run>/run.toml`` is what the subject's report quotes.
"""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import os
import platform
import shlex
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bids_sr import __version__
from bids_sr.config import RunConfig
from bids_sr.files.writing import write_text_atomic

DISTRIBUTIONS = (
    "torch",
    "nipype",
    "antspyx",
    "HD_BET",
    "nnunetv2",
    "nilearn",
    "nibabel",
    "numpy",
    "scipy",
    "pybids",
)


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """Name one start of the command and keep what it was asked."""

    command: tuple[str, ...]
    """Words of the command line, the program first."""
    started: dt.datetime = field(default_factory=lambda: dt.datetime.now().astimezone())
    unique: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def run_id(self) -> str:
        """Return ``<time>_<uuid>``: sorts by time, never repeats."""
        return f"{self.started:%Y%m%d-%H%M%S}_{self.unique}"

    def log_dir(self, output_dir: Path, subject: str) -> Path:
        """Return the folder of this run's crash reports for one subject."""
        return output_dir / f"sub-{subject}" / "log" / self.run_id

    def to_dict(self, config: RunConfig) -> dict[str, Any]:
        """Return the content of ``run.toml``."""
        return {
            "run": {
                "id": self.run_id,
                "started": self.started.replace(microsecond=0),
                "command": shlex.join(self.command),
            },
            "versions": versions(),
            "config": config.to_dict(),
        }

    def write(self, config: RunConfig) -> Path:
        """Write the run's options to ``logs/``."""
        path = config.output_dir / "logs" / f"{self.run_id}.toml"
        config.to_toml(path)
        return path

    def write_log(self, config: RunConfig, subject: str) -> Path:
        """Write the record of the run to the folder of a subject."""
        import tomli_w

        # TOML has no words for half a letter, which a path may hold.
        text = tomli_w.dumps(self.to_dict(config)).encode(errors="replace").decode()
        path = self.log_dir(config.output_dir, subject) / "run.toml"
        return write_text_atomic(path, text)

    def write_methods(self, output_dir: Path, subject: str, methods: str) -> None:
        """Write the methods text to the folder of a subject that has a result."""
        path = self.log_dir(output_dir, subject) / "CITATION.md"
        write_text_atomic(path, methods.strip() + "\n")


def new_record(argv: Sequence[str]) -> RunRecord:
    """Return the record of a run that starts now."""
    return RunRecord(command=("bids_sr", *argv))


def versions() -> dict[str, str]:
    """Return the versions that decide a result, without importing the packages."""
    version_of = {"bids_sr": __version__, "python": platform.python_version()}
    version_of["platform"] = f"{platform.system()} {platform.machine()}"
    for name in DISTRIBUTIONS:
        try:
            version_of[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    if image := os.environ.get("BIDS_SR_CONTAINER"):
        version_of["container"] = image
    return version_of
