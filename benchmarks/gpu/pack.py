"""Pack the kit for a machine that has a GPU for minutes, and no network.

    python benchmarks/gpu/pack.py KIT --training-set SET.tar.bz2 --start WEIGHTS

The folder KIT then holds all that ``run.py`` in it needs, but for Python 3.12, torch, numpy,
scipy and safetensors: the package's source, the tests marked ``gpu``, wheels, and what is
trained from.  Wheels are fetched by pip from the index that it is set up with.  Copy the folder
to the machine and run it there:

    python3 KIT/run.py KIT OUT --minutes 10

SET.tar.bz2 is what training_set.py packed.  What trains for the minutes that are left is train.py
with the settings of training.toml, unless --train names another command; {python}, {kit}, {set},
{start}, {out} and {seconds} in it are replaced on the machine.  All that it shall keep it writes
into {out}, at least every minute; see docs/how-to/use-a-gpu-for-minutes.md.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
# What the package and pytest need beside torch, numpy, scipy and safetensors.
WHEELS = (
    *("filelock", "nibabel", "packaging", "typing_extensions"),
    *("iniconfig", "pluggy", "pygments", "pytest"),
)
# What the test of one step a device at a time needs besides: the command line's scheduler.
SCHEDULER_WHEELS = (
    *("looseversion", "networkx", "nipype", "prov", "psutil", "python-dateutil", "simplejson"),
    *("threadpoolctl", "traits"),
)
PYTHON = "3.12"
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux2014_x86_64")
TESTS = ("conftest.py", "sr/gpu", "run/test_steps_on_gpu.py")
SCRIPTS = ("run.py", "kit.py", "timings.py", "train.py", "training.toml", "../training_step.py")
TRAIN = (
    "{python} {kit}/train.py {set} {start} {out} --seconds {seconds} --config {kit}/training.toml"
)
LEFT_OUT = ("__pycache__", "*.pyc", "*.png", "brain-[123].*")
MOST_MEGABYTES = 60


def main(argv: Sequence[str] | None = None) -> int:
    options = build_parser().parse_args(argv)
    kit: Path = options.kit
    if kit.exists() and not (kit / "kit.json").is_file():
        print(f"Found {kit}, which is no kit; expected a new folder or an earlier kit.")
        return 1
    shutil.rmtree(kit, ignore_errors=True)
    kit.mkdir(parents=True)
    copy_code(kit)
    if options.wheels:
        shutil.copytree(options.wheels, kit / "wheels")
    elif not options.without_wheels:
        names = WHEELS if options.without_scheduler else (*WHEELS, *SCHEDULER_WHEELS)
        fetch_wheels(kit / "wheels", names)
    command = options.train or (TRAIN if options.training_set else "")
    settings = {
        "train": shlex.split(command),
        "set": copied(options.training_set, kit / "training"),
        "start": copied(options.start, kit / "training"),
        "commit": commit(),
    }
    (kit / "kit.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return say_size(kit, options.most_megabytes)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kit", type=Path, metavar="KIT", help="folder to make, or to make anew")
    parser.add_argument("--training-set", type=Path, metavar="PATH", help="file or folder")
    parser.add_argument(
        "--start", type=Path, metavar="FILE", help="weights that training begins with"
    )
    parser.add_argument("--train", metavar="COMMAND", help="what trains on the set")
    parser.add_argument("--wheels", type=Path, metavar="FOLDER", help="take the wheels from there")
    parser.add_argument(
        "--without-scheduler",
        action="store_true",
        help="leave out 12 MB of wheels and with them the test of one step a device at a time",
    )
    parser.add_argument(
        "--without-wheels", action="store_true", help="the machine has them (a rehearsal)"
    )
    parser.add_argument(
        "--most-megabytes", type=float, default=MOST_MEGABYTES, help=f"default {MOST_MEGABYTES}"
    )
    return parser


def copy_code(kit: Path) -> None:
    """Copy the package, the tests and the scripts that run on the machine."""
    leave_out = shutil.ignore_patterns(*LEFT_OUT)
    shutil.copytree(REPOSITORY / "bids_sr", kit / "source" / "bids_sr", ignore=leave_out)
    for name in TESTS:
        source, target = REPOSITORY / "tests" / name, kit / "tests" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=leave_out)
        else:
            shutil.copy2(source, target)
    for script in SCRIPTS:
        shutil.copy2(HERE / script, kit)


def fetch_wheels(folder: Path, names: Sequence[str]) -> None:
    """Fetch wheels for Linux and the machine's Python, whatever runs here."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--python-version", PYTHON, "--implementation", "cp"]
    for platform in PLATFORMS:
        command += ["--platform", platform]
    command += ["--constraint", str(REPOSITORY / "requirements" / "constraints.txt")]
    subprocess.run([*command, "--dest", str(folder), *names], check=True)


def copied(source: Path | None, folder: Path) -> str | None:
    """Copy a file or folder into the kit and return its path there."""
    if source is None:
        return None
    folder.mkdir(exist_ok=True)
    target = folder / source.name
    if source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copy2(source, target)
    return str(target.relative_to(folder.parent))


def commit() -> str:
    """Return the commit of the source, with a plus sign where it was changed since."""
    process = subprocess.run(
        ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    return process.stdout.strip() or "unknown"


def say_size(kit: Path, most: float) -> int:
    """Print what the kit holds; 1 if that is too much."""
    total = 0.0
    for part in sorted(kit.iterdir()):
        files = [part] if part.is_file() else [file for file in part.rglob("*") if file.is_file()]
        size = sum(file.stat().st_size for file in files) / 1e6
        total += size
        print(f"{part.name:12} {len(files):4} files {size:7.2f} MB")
    print(f"{'in all':12} {total:18.2f} MB of at most {most:g}")
    if total > most:
        print("Too much: give a smaller training set.")
    return int(total > most)


if __name__ == "__main__":
    sys.exit(main())
