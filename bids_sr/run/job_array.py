"""The scripts of a Slurm job array: one participant a task, then the group level.

They are files to read and to edit; nothing is submitted here.  Templates:
``bids_sr/data/slurm``.
"""

from __future__ import annotations

import math
import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_sr import __version__
from bids_sr.compute.resources import MEMORY_SHARE
from bids_sr.exceptions import ConfigError
from bids_sr.files import text_digest, write_text_atomic

if TYPE_CHECKING:
    from bids_sr.bids.image import AnatImage
    from bids_sr.config import RunConfig

# Measured: benchmarks/RESULTS.md, "the whole command on clinical scans", and "a job array".
CPU_SECONDS_PER_IMAGE = 350
"""CPU time of an image with the slower of the default methods."""
TIME_SAFETY = 3
GROUP_MB, GROUP_TIME = 2000, "01:00:00"
SUBMIT = "submit.sh"
SCRIPTS = ("participant.sbatch", "group.sbatch", SUBMIT)
PARTICIPANTS = "participants.txt"
_TIME = re.compile(r"(\d+-)?\d+(:\d+){0,2}")


@dataclass(frozen=True, kw_only=True)
class JobArray:
    """What the tasks of a job array ask of Slurm, and how each starts ``bids_sr``."""

    image: Path | None = None
    """Apptainer image; without it ``program`` is started."""
    program: str = ""
    """Command, as a shell reads it."""
    options: Sequence[str] = ()
    """Options of ``bids_sr``, the same for all tasks."""
    cpus: int = 2
    """Of a task."""
    memory_gb: float | None = None
    """Of a task, GB (1e9 bytes); None: what the participant needs that needs most."""
    time: str | None = None
    """Limit of a task, as Slurm writes it; None: estimated."""
    partition: str | None = None
    account: str | None = None
    gres: str | None = None
    """Generic resource of a task; with a gpu the image gets ``--nv``."""
    sbatch: Sequence[str] = ()
    """Further ``#SBATCH`` lines."""
    setup: Sequence[str] = ()
    """Lines of shell to run first."""
    bind: Sequence[str] = ()
    """Further folders that the image shall see."""
    work_dir: Path | None = None
    """Work folder on a shared disk; None: the machine's own disk."""
    max_tasks: int | None = None
    """Tasks at once."""

    def __post_init__(self) -> None:
        if self.image and not self.image.is_file():
            raise ConfigError(f"--image {self.image}: no such file; expected an Apptainer image")
        if not self.image and not shlex.split(self.program):
            raise ConfigError("--command is empty: expected for example /opt/bids_sr/bin/bids_sr")
        if self.time and not _TIME.fullmatch(self.time):
            raise ConfigError(f"--time {self.time}: expected minutes, HH:MM:SS or DAYS-HH:MM:SS")
        for name in ("partition", "account", "gres"):
            value = getattr(self, name)
            if value and not re.fullmatch(r"[\w.,:=*+@-]+", value):
                raise ConfigError(f"--{name} {value!r}: expected a name without spaces and quotes")
        for line in [*self.sbatch, *self.setup]:
            if "\n" in line:
                raise ConfigError(f"{line!r}: expected one line")
        for line in self.sbatch:
            if not line.startswith("-"):
                raise ConfigError(f"--sbatch {line}: expected an option, e.g. --sbatch=--qos=long")

    def binds(self, config: RunConfig) -> tuple[list[str], list[str]]:
        """Return what the image shall see besides input, output and work, and folders to make."""
        if self.image is None:
            return [], []
        to_make = [str(config.raw_like_dir)] if config.raw_like_dir else []
        shown = {folder: f"{folder}:{folder}" for folder in to_make}
        for word in self.options:
            path = Path(word.rpartition("=")[2])
            if path.is_absolute() and path.exists():
                shown.setdefault(str(path), f"{path}:{path}:ro")
        for name in (str(config.bids_dir), str(config.output_dir), *shown):
            if ":" in name or "," in name:
                raise ConfigError(
                    f"{name}: Apptainer cannot show a path with a colon or a comma to the image; "
                    "expected one without. Rename it, or use a link without them."
                )
        return [*shown.values(), *self.bind], to_make


@dataclass(frozen=True, kw_only=True)
class WrittenArray:
    """The scripts of a job array, and what each of its tasks has."""

    participants: list[str]
    cpus: int
    memory_mb: int
    """Slurm's M: 2**20 bytes."""
    neediest: str
    """Whom the memory is for."""
    time: str


def write_job_array(
    array: JobArray, config: RunConfig, images: Sequence[AnatImage], folder: Path
) -> WrittenArray:
    """Write the scripts of the participants who have a selected image into a folder.

    Raises
    ------
    ConfigError, OutputError
        If the image cannot be shown a folder, or the output folder cannot be written to.
    """
    from bids_sr.bids import prepare_output_dir

    memory_gb, neediest = task_memory_gb(config, images)
    written = WrittenArray(
        participants=sorted({f"sub-{image.subject}" for image in images if image.selected}),
        cpus=array.cpus,
        memory_mb=_mebibytes(array.memory_gb or memory_gb),
        neediest=neediest,
        time=array.time or _time(images, array.cpus),
    )
    context = {**_context(array, config, written), "scripts": str(folder)}
    prepare_output_dir(config.output_dir, config.bids_dir)
    for name in SCRIPTS:
        write_text_atomic(folder / name, _render(f"{name}.j2", context))
        (folder / name).chmod(0o755 if name == SUBMIT else 0o644)
    write_text_atomic(folder / PARTICIPANTS, "\n".join(written.participants) + "\n")
    return written


def _context(array: JobArray, config: RunConfig, written: WrittenArray) -> dict[str, Any]:
    """Return what the templates hold."""
    lines = [
        f"--{name}={value}" for name in ("partition", "account") if (value := getattr(array, name))
    ]
    gres = [f"--gres={array.gres}"] if array.gres else []
    binds, to_make = array.binds(config)
    return {
        "version": __version__,
        "bids_dir": str(config.bids_dir),
        "output_dir": str(config.output_dir),
        "image": os.path.abspath(array.image) if array.image else "",
        "command": shlex.split(array.program),
        "options": array.options,
        "cpus": written.cpus,
        "neediest": written.neediest,
        "mem_mb": written.memory_mb,
        "share": round(100 * MEMORY_SHARE),
        "time": written.time,
        "sbatch": [*lines, *gres, *array.sbatch],
        "sbatch_group": [*lines, *array.sbatch],
        "setup": array.setup,
        "gpu": (array.gres or "").startswith("gpu"),
        "binds": binds,
        "made": to_make,
        "work_dir": os.path.abspath(array.work_dir) if array.work_dir else "",
        "key": text_digest(str(config.output_dir))[:8],
        "max_tasks": array.max_tasks,
        "group_mb": GROUP_MB,
        "group_time": GROUP_TIME,
    }


def task_memory_gb(config: RunConfig, images: Sequence[AnatImage]) -> tuple[float, str]:
    """Return the memory, GB (1e9 bytes), that is enough for any participant, and who needs it."""
    from bids_sr.run.memory import MAIN_PROCESS_GB, participant_memory_gb

    needs = [(MAIN_PROCESS_GB / MEMORY_SHARE, "no image that can be processed")]
    by_subject: dict[str, list[AnatImage]] = {}
    for image in images:
        by_subject.setdefault(image.subject, []).append(image)
    for subject, own in by_subject.items():
        needs.append((participant_memory_gb(config, own), f"sub-{subject}"))
    return max(needs)


def _mebibytes(gigabytes: float) -> int:
    """Return Slurm's M for GB (1e9 bytes), rounded up to hundreds."""
    return 100 * math.ceil(gigabytes * 1e9 / 2**20 / 100)


def _time(images: Sequence[AnatImage], cpus: int) -> str:
    """Return a limit for the participant with most images, in whole hours."""
    subjects = [image.subject for image in images if image.processed] or [""]
    most = max(subjects.count(subject) for subject in set(subjects))
    seconds = TIME_SAFETY * CPU_SECONDS_PER_IMAGE * most / min(cpus, 2)
    return f"{max(1, math.ceil(seconds / 3600)):02d}:00:00"


def _render(name: str, context: dict[str, Any]) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("bids_sr", "data/slurm"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["quote"] = lambda word: shlex.quote(str(word))
    return environment.get_template(name).render(**context)
