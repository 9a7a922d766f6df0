"""``bids_sr-tools slurm``: the scripts that run a dataset on a Slurm cluster.

What is in them: :mod:`bids_sr.run.job_array`.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bids_sr.cli import options as types
from bids_sr.cli.parser import parse_args
from bids_sr.cli.plan_table import read_plan
from bids_sr.exceptions import ConfigError, counted
from bids_sr.run import checks
from bids_sr.run.exit_codes import ExitCode
from bids_sr.run.job_array import PARTICIPANTS, SCRIPTS, SUBMIT, JobArray, write_job_array

if TYPE_CHECKING:
    from bids_sr.bids.image import AnatImage
    from bids_sr.config import RunConfig

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


def add_slurm_arguments(command: argparse.ArgumentParser) -> None:
    """Add the options to a parser."""
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
    command.add_argument("--overwrite", action="store_true", help="replace existing scripts")
    command.add_argument(
        "--participant-label",
        nargs="+",
        default=[],
        metavar="LABEL",
        help="subjects to process, with or without sub- (default: all)",
    )
    command.add_argument("--partition", metavar="NAME", help="Slurm partition")
    command.add_argument("--account", metavar="NAME", help="Slurm account")
    command.add_argument(
        "--time",
        metavar="TIME",
        help="time limit per task, in Slurm's format (default: estimated)",
    )
    command.add_argument(
        "--mem",
        type=types.memory_gb,
        metavar="MEMORY",
        help="memory per task, e.g. 6G (default: what the steps declare, for the participant "
        "that needs most)",
    )
    command.add_argument(
        "--cpus-per-task", type=types.count, default=2, metavar="N", help="CPUs per task"
    )
    command.add_argument(
        "--max-tasks",
        type=types.count,
        metavar="N",
        help="maximum number of tasks running at once",
    )
    command.add_argument(
        "--gres",
        nargs="?",
        const="gpu:1",
        metavar="NAME",
        help="generic resource per task (without NAME: gpu:1); GPUs are passed to the image "
        "(apptainer run --nv)",
    )
    command.add_argument(
        "--sbatch",
        action="append",
        default=[],
        metavar="OPTION",
        help="an additional #SBATCH line, e.g. --sbatch=--qos=long; may be repeated",
    )
    command.add_argument(
        "--setup",
        action="append",
        default=[],
        metavar="LINE",
        help="a shell line to run first, e.g. 'module load apptainer'; may be repeated",
    )
    command.add_argument(
        "--bind",
        action="append",
        default=[],
        metavar="SRC[:DEST[:OPTS]]",
        help="an additional folder to mount in the image; may be repeated",
    )
    command.add_argument(
        "--work-dir",
        type=Path,
        metavar="DIR",
        help="work folder on a shared disk, from which a task resumes on any node (default: the "
        "node's own disk)",
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
    array = _job_array(options, [_absolute(word) for word in words])
    config = _configuration(options, array.options)
    folder = Path(os.path.abspath(options.script_dir or config.output_dir / "code" / "slurm"))
    if (folder / SUBMIT).exists() and not options.overwrite:
        raise ConfigError(
            f"{folder} already contains scripts: check them, then give --overwrite or another "
            "--script-dir"
        )
    checks.check_folders(config)
    checks.check_files(config)
    if not config.skip_bids_validation:
        checks.check_dataset(config.bids_dir)
    images = read_plan(config, here=False)
    _tell_who_is_left_out(images)
    written = write_job_array(array, config, images, folder)
    print(
        f"{counted(len(written.participants), 'participant')}, one task per participant: "
        f"{counted(written.cpus, 'CPU')}, ",
        end="",
    )
    print(f"{written.memory_mb} MB (for {written.neediest}), {written.time}")
    print(f"wrote {', '.join((PARTICIPANTS, *SCRIPTS))} to {folder}")
    print(f"check them, then submit with: {shlex.quote(str(folder / SUBMIT))}")
    return ExitCode.OK


def _job_array(options: argparse.Namespace, words: list[str]) -> JobArray:
    array = JobArray(
        image=options.image,
        program=options.program or "",
        options=words,
        cpus=options.cpus_per_task,
        memory_gb=options.mem,
        time=options.time,
        partition=options.partition,
        account=options.account,
        gres=options.gres,
        sbatch=options.sbatch,
        setup=options.setup,
        bind=options.bind,
        work_dir=options.work_dir,
        max_tasks=options.max_tasks,
    )
    if options.program and shutil.which(shlex.split(options.program)[0]) is None:
        sys.stderr.write(
            f"bids_sr-tools slurm: {options.program} is not a command of this machine; check that "
            "it exists where the jobs run\n"
        )
    return array


def _configuration(options: argparse.Namespace, words: Sequence[str]) -> RunConfig:
    """Read the options of ``bids_sr`` as a job will."""
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
            f"--sr-adapt {config.sr_adapt} trains on all images of a run, and each task of the "
            "array is a run of one participant: train once with bids_sr-tools train adapt, and "
            "give its weights to --sr-model"
        )
    return config


def _tell_who_is_left_out(images: Sequence[AnatImage]) -> None:
    selected = {image.subject for image in images if image.selected}
    for subject in sorted({image.subject for image in images} - selected - {""}):
        reason = next(image.reason for image in images if image.subject == subject)
        sys.stderr.write(f"bids_sr-tools slurm: sub-{subject} is left out: {reason}\n")


def _absolute(word: str) -> str:
    """Return a file or folder with its absolute path, since jobs run elsewhere."""
    head, equals, value = word.partition("=") if "=" in word else ("", "", word)
    path = Path(value).expanduser()
    if path.is_absolute() or not ("/" in value or path.suffix) or not path.exists():
        return word
    return f"{head}{equals}{os.path.abspath(path)}"
