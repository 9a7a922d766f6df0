"""``bids_sr-tools slurm``: the scripts that run a dataset on a Slurm cluster.

One participant a task of a job array, then the group level.  The scripts are files to read
and to edit; nothing is submitted here.  Templates: ``bids_sr/data/slurm``.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bids_sr import __version__
from bids_sr.cli import options as types
from bids_sr.cli.plan_table import read_plan
from bids_sr.compute.resources import MEMORY_SHARE
from bids_sr.exceptions import ConfigError
from bids_sr.files import text_digest
from bids_sr.run import checks
from bids_sr.run.exit_codes import ExitCode

if TYPE_CHECKING:
    from bids_sr.bids.image import AnatImage
    from bids_sr.config import RunConfig

# Measured: benchmarks/RESULTS.md, "the whole command on clinical scans", and "a job array".
CPU_SECONDS_PER_IMAGE = 350
"""CPU time of an image with the slower of the default methods."""
TIME_SAFETY = 3
GROUP_MB, GROUP_TIME = 2000, "01:00:00"
OURS = {
    "--participant-label": "--participant-label before --",
    "--nprocs": "--cpus-per-task",
    "--nthreads": "--cpus-per-task",
    "--n-cpus": "--cpus-per-task",
    "--mem": "--mem before --",
    "--mem-mb": "--mem before --",
    "--mem-gb": "--mem before --",
    "-w": "--work-dir before --",
    "--work-dir": "--work-dir before --",
    "--use-plugin": "bids_sr itself, without job array",
    "--nipype-plugin-file": "bids_sr itself, without job array",
    "--dry-run": "bids_sr itself",
    "--reports-only": "bids_sr itself",
    "--boilerplate-only": "bids_sr itself",
}
_TIME = re.compile(r"(\d+-)?\d+(:\d+){0,2}")


def add_slurm_arguments(command: argparse.ArgumentParser) -> None:
    """Add the options to a parser."""
    command.usage = (
        "%(prog)s BIDS OUT (--image SIF | --command WORDS) [options] [-- options of bids_sr]"
    )
    command.add_argument("bids_dir", type=Path, metavar="BIDS", help="root of the BIDS dataset")
    command.add_argument("output_dir", type=Path, metavar="OUT", help="folder for derivatives")
    program = command.add_mutually_exclusive_group(required=True)
    program.add_argument(
        "--image", type=Path, metavar="SIF", help="Apptainer (Singularity) image of bids_sr"
    )
    program.add_argument(
        "--command",
        dest="program",
        metavar="WORDS",
        help="command to use instead of an image, e.g. /opt/bids_sr/bin/bids_sr",
    )
    command.add_argument(
        "--script-dir",
        type=Path,
        metavar="DIR",
        help="where the scripts go (default: code/slurm in OUT)",
    )
    command.add_argument(
        "--overwrite", action="store_true", help="replace scripts that are there already"
    )
    command.add_argument(
        "--participant-label", nargs="+", default=[], metavar="LABEL", help="default: all"
    )
    command.add_argument("--partition", metavar="NAME", help="Slurm partition")
    command.add_argument("--account", metavar="NAME", help="Slurm account")
    command.add_argument(
        "--time", metavar="TIME", help="limit of a task, as Slurm writes it (default: estimated)"
    )
    command.add_argument(
        "--mem",
        type=types.memory_gb,
        metavar="MEMORY",
        help="memory of a task, e.g. 6G (default: what the steps of the participant "
        "that needs most declare)",
    )
    command.add_argument("--cpus-per-task", type=types.count, default=2, metavar="N", help="CPUs")
    command.add_argument("--max-tasks", type=types.count, metavar="N", help="most tasks at once")
    command.add_argument(
        "--gres",
        nargs="?",
        const="gpu:1",
        metavar="NAME",
        help="generic resource of a task (without NAME: gpu:1); with a gpu the image gets --nv",
    )
    command.add_argument(
        "--sbatch",
        action="append",
        default=[],
        metavar="OPTION",
        help="a further #SBATCH line, e.g. --sbatch=--qos=long; may be repeated",
    )
    command.add_argument(
        "--setup",
        action="append",
        default=[],
        metavar="LINE",
        help="a line of shell to run first, e.g. 'module load apptainer'; may be repeated",
    )
    command.add_argument(
        "--bind",
        action="append",
        default=[],
        metavar="SRC[:DEST[:OPTS]]",
        help="a further folder that the image shall see; may be repeated",
    )
    command.add_argument(
        "--work-dir",
        type=Path,
        metavar="DIR",
        help="work folder on a shared disk, which a task resumes from on any machine (default: "
        "the machine's own disk)",
    )


def split_words(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split a command line at ``--`` into our words and those of ``bids_sr``."""
    if words[:1] == ["slurm"] and "--" in words:
        at = words.index("--")
        return list(words[:at]), list(words[at + 1 :])
    return list(words), []


def write_scripts(options: argparse.Namespace, words: Sequence[str]) -> int:
    """Write the scripts and say what they will do.

    Parameters
    ----------
    options : argparse.Namespace
        Of :func:`add_slurm_arguments`.
    words : sequence of str
        Options of ``bids_sr``, the same for all participants.

    Raises
    ------
    ConfigError, InputDataError, ExitError
        If anything that the jobs need is not there, or the scripts are there already.
    """
    from bids_sr.bids import prepare_output_dir
    from bids_sr.files.writing import write_text_atomic

    _check_values(options)
    words = [_absolute(word) for word in words]
    config = _configuration(options, words)
    folder = Path(os.path.abspath(options.script_dir or config.output_dir / "code" / "slurm"))
    if (folder / "submit.sh").exists() and not options.overwrite:
        raise ConfigError(
            f"{folder} holds scripts already: look at them, then give --overwrite or another "
            "--script-dir"
        )
    checks.check_folders(config)
    checks.check_files(config)
    if not config.skip_bids_validation:
        checks.check_dataset(config.bids_dir)
    images = _planned(config)
    participants = sorted({f"sub-{image.subject}" for image in images if image.selected})
    context = _context(options, config, words, folder, images)
    prepare_output_dir(config.output_dir, config.bids_dir)
    for name in ("participant.sbatch", "group.sbatch", "submit.sh"):
        write_text_atomic(folder / name, _render(f"{name}.j2", context))
        (folder / name).chmod(0o755 if name.endswith(".sh") else 0o644)
    write_text_atomic(folder / "participants.txt", "\n".join(participants) + "\n")
    print(f"{len(participants)} participants, each a task of {context['cpus']} CPUs, ", end="")
    print(f"{context['mem_mb']} MB (for {context['neediest']}), {context['time']}")
    print(f"wrote participants.txt, participant.sbatch, group.sbatch, submit.sh to {folder}")
    print(f"look at them, then: {shlex.quote(str(folder / 'submit.sh'))}")
    return ExitCode.OK


def _configuration(options: argparse.Namespace, words: list[str]) -> RunConfig:
    """Read the options of ``bids_sr`` as a job will."""
    from bids_sr.cli.parser import parse_args

    for word in words:
        name = word.partition("=")[0].replace("_", "-") if word.startswith("--") else word
        if name in OURS:
            raise ConfigError(f"{name} after --: expected {OURS[name]}")
    cpus = ["--nprocs", str(options.cpus_per_task)]
    run = [str(options.bids_dir), str(options.output_dir), "participant", *cpus, *words]
    labels = ["--participant-label", *options.participant_label]
    config = parse_args([*run, *(labels if options.participant_label else [])])
    if config.sr_adapt in ("dataset", "both"):
        raise ConfigError(
            f"--sr-adapt {config.sr_adapt} learns from all images of a run, and each task of the "
            "array is a run of one participant: learn once with bids_sr-tools train adapt, and "
            "give its weights to --sr-model"
        )
    return config


def _planned(config: RunConfig) -> list[AnatImage]:
    images = read_plan(config, here=False)
    wanted = {image.subject for image in images if image.selected}
    for subject in sorted({image.subject for image in images} - wanted - {""}):
        reason = next(image.reason for image in images if image.subject == subject)
        sys.stderr.write(f"bids_sr-tools slurm: sub-{subject} is left out: {reason}\n")
    return images


def _context(
    options: argparse.Namespace,
    config: RunConfig,
    words: list[str],
    folder: Path,
    images: Sequence[AnatImage],
) -> dict[str, Any]:
    cpus = options.cpus_per_task
    memory_gb, neediest = task_memory_gb(config, images)
    lines = [f"--{name}={value}" for name in ("partition", "account")
             if (value := getattr(options, name))]  # fmt: skip
    gres = [f"--gres={options.gres}"] if options.gres else []
    binds, made = _binds(options, config, words)
    return {
        "version": __version__,
        "bids_dir": str(config.bids_dir),
        "output_dir": str(config.output_dir),
        "scripts": str(folder),
        "image": os.path.abspath(options.image) if options.image else "",
        "command": shlex.split(options.program or ""),
        "options": words,
        "cpus": cpus,
        "neediest": neediest,
        "mem_mb": _mebibytes(options.mem or memory_gb),
        "share": round(100 * MEMORY_SHARE),
        "time": options.time or _time(images, cpus),
        "sbatch": [*lines, *gres, *options.sbatch],
        "sbatch_group": [*lines, *options.sbatch],
        "setup": options.setup,
        "gpu": (options.gres or "").startswith("gpu"),
        "binds": binds,
        "made": made,
        "work_dir": os.path.abspath(options.work_dir) if options.work_dir else "",
        "key": text_digest(str(config.output_dir))[:8],
        "max_tasks": options.max_tasks,
        "group_mb": GROUP_MB,
        "group_time": GROUP_TIME,
    }


def task_memory_gb(config: RunConfig, images: Sequence[AnatImage]) -> tuple[float, str]:
    """Return the memory, GB (1e9 bytes), that is enough for any participant, and who needs it."""
    from bids_sr.run.memory import MAIN_PROCESS_GB, participant_memory_gb

    found = [(MAIN_PROCESS_GB / MEMORY_SHARE, "no image that can be processed")]
    by_subject: dict[str, list[AnatImage]] = {}
    for image in images:
        by_subject.setdefault(image.subject, []).append(image)
    for subject, own in by_subject.items():
        found.append((participant_memory_gb(config, own), f"sub-{subject}"))
    return max(found)


def _mebibytes(gigabytes: float) -> int:
    """Return Slurm's M for GB (1e9 bytes), rounded up to hundreds."""
    return 100 * math.ceil(gigabytes * 1e9 / 2**20 / 100)


def _time(images: Sequence[AnatImage], cpus: int) -> str:
    """Return a limit for the participant with most images, in whole hours."""
    subjects = [image.subject for image in images if image.processed] or [""]
    most = max(subjects.count(subject) for subject in set(subjects))
    seconds = TIME_SAFETY * CPU_SECONDS_PER_IMAGE * most / min(cpus, 2)
    return f"{max(1, math.ceil(seconds / 3600)):02d}:00:00"


def _check_values(options: argparse.Namespace) -> None:
    if options.image and not options.image.is_file():
        raise ConfigError(f"--image {options.image}: no such file; expected an Apptainer image")
    if options.program is not None and not shlex.split(options.program):
        raise ConfigError("--command is empty: expected for example /opt/bids_sr/bin/bids_sr")
    if options.program and shutil.which(shlex.split(options.program)[0]) is None:
        sys.stderr.write(
            f"bids_sr-tools slurm: {options.program} is no command of this machine; see that it "
            "is one where the jobs run\n"
        )
    if options.time and not _TIME.fullmatch(options.time):
        raise ConfigError(f"--time {options.time}: expected minutes, HH:MM:SS or DAYS-HH:MM:SS")
    for name in ("partition", "account", "gres"):
        value = getattr(options, name)
        if value and not re.fullmatch(r"[\w.,:=*+@-]+", value):
            raise ConfigError(f"--{name} {value!r}: expected a name without spaces and quotes")
    for line in [*options.sbatch, *options.setup]:
        if "\n" in line:
            raise ConfigError(f"{line!r}: expected one line")
    for line in options.sbatch:
        if not line.startswith("-"):
            raise ConfigError(f"--sbatch {line}: expected an option, e.g. --sbatch=--qos=long")


def _absolute(word: str) -> str:
    """Give a file or folder its whole path, since jobs run elsewhere; other words stay."""
    head, equals, value = word.partition("=") if "=" in word else ("", "", word)
    path = Path(value).expanduser()
    if path.is_absolute() or not ("/" in value or path.suffix) or not path.exists():
        return word
    return f"{head}{equals}{os.path.abspath(path)}"


def _binds(
    options: argparse.Namespace, config: RunConfig, words: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Return what the image shall see besides input, output and work, and folders to make."""
    if options.image is None:
        return [], []
    made = [str(config.raw_like_dir)] if config.raw_like_dir else []
    found = {path: f"{path}:{path}" for path in made}
    for word in words:
        path = Path(word.rpartition("=")[2])
        if path.is_absolute() and path.exists():
            found.setdefault(str(path), f"{path}:{path}:ro")
    for shown in (str(config.bids_dir), str(config.output_dir), *found):
        if ":" in shown or "," in shown:
            raise ConfigError(
                f"{shown}: Apptainer cannot show a path with a colon or a comma to the image; "
                "expected one without. Rename it, or use a link without them."
            )
    return [*found.values(), *options.bind], made


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
