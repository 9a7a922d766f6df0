"""Use a GPU for minutes: run the tests marked gpu, take the times, train for what is left.

    python3 run.py KIT OUT --minutes 10

KIT is what pack.py made.  Needs Python 3.12 with torch, numpy, scipy and safetensors, and no
network.  A step that fails or takes too long costs the others nothing.  OUT holds at most 8 files
of at most 16 MB, which are written while the steps run, so that a run that is killed leaves
what it had.  --rehearse runs all of it on the CPU, on small images.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from kit import (
    HEARTBEAT_SECONDS,
    last_line,
    machine_facts,
    tail,
    unpack_wheels,
    write_report,
    write_whole,
)

STEPS = ("tests", "timings", "train")
MOST_FILES, MOST_BYTES = 8, 16_000_000
OF_TRAINING = 4, 56_000_000  # files and bytes; the others are the report and logs
LOG_BYTES = 2_000_000
# Of the time that is left, at most so much, and at most so many seconds.
TESTS, TIMINGS = (0.35, 240.0), (0.35, 240.0)
LAST_SECONDS = 10.0  # to gather what there is
GRACE_SECONDS = 8.0  # between asking a step to end and ending it
# Not the project's settings: there a warning of another version of a library is an error.
PYTEST_INI = """[pytest]
addopts = --import-mode=importlib
markers =
    gpu: needs a CUDA device
"""


def main(argv: Sequence[str] | None = None) -> int:
    options = build_parser().parse_args(argv)
    run = Run(options.kit.resolve(), options.out.resolve(), options.minutes * 60, options.rehearse)
    for name in ("unpack", "machine", *(step for step in STEPS if step in options.steps)):
        run.do(name, getattr(run, name))
    run.end()
    return int(any(fact.get("status") == "failed" for fact in run.report["steps"].values()))


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kit", type=Path, metavar="KIT", help="folder that pack.py made")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for what comes back")
    parser.add_argument("--minutes", type=float, default=10.0, help="for all (default: 10)")
    parser.add_argument(
        "--steps", nargs="+", choices=STEPS, default=STEPS, help="only these (default: all)"
    )
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, on small images")
    return parser


class Run:
    """Hold the folders, the clock and what came of each step."""

    def __init__(self, kit: Path, out: Path, seconds: float, rehearse: bool) -> None:
        self.kit, self.out, self.rehearse = kit, out, rehearse
        self.begin, self.seconds = time.monotonic(), seconds
        self.work = Path(tempfile.mkdtemp(prefix="gpu-kit-"))
        self.training = self.work / "training"
        self.kept: set[str] = set()
        self.settings = json.loads((kit / "kit.json").read_text(encoding="utf-8"))
        self.report: dict[str, Any] = {"commit": self.settings["commit"], "steps": {}}
        out.mkdir(parents=True, exist_ok=True)
        self.environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(self.work / "site"), str(kit / "source")]),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # the machine's are of another pytest
            "OMP_WAIT_POLICY": "PASSIVE",
        }

    @property
    def left(self) -> float:
        """Seconds left for steps."""
        return self.seconds - LAST_SECONDS - (time.monotonic() - self.begin)

    def do(self, name: str, step: Callable[[], Mapping[str, Any]]) -> None:
        """Take a step; whatever becomes of it, the next one comes."""
        print(f"--- {name}, {max(self.left, 0):.0f} s left", flush=True)
        begin = time.monotonic()
        try:
            facts = dict(step())
        except Exception as error:
            traceback.print_exc()
            facts = {"status": "failed", "error": f"{type(error).__name__}: {error}"}
        facts["seconds"] = round(time.monotonic() - begin, 1)
        self.report["steps"][name] = facts
        self.save()

    def save(self) -> None:
        """Write the report of what was done so far."""
        write_report(self.out / "report.json", self.report)

    def unpack(self) -> Mapping[str, Any]:
        """Unpack the wheels."""
        return {"status": "done", "wheels": unpack_wheels(self.kit, self.work / "site")}

    def machine(self) -> Mapping[str, Any]:
        """Say what computes, and that the package can be imported at all."""
        facts = machine_facts(self.environment, modules="bids_sr.sr", seconds=max(self.left, 1))
        return {"status": "done", **facts}

    def tests(self) -> Mapping[str, Any]:
        """Run the tests marked gpu."""
        measured = self.work / "measurements.jsonl"
        more = {"BIDS_SR_TEST_MEASUREMENTS": str(measured)}
        if self.rehearse:
            more["BIDS_SR_TEST_DEVICE"] = "cpu"
        (self.work / "pytest.ini").write_text(PYTEST_INI, encoding="utf-8")
        words = ["-c", str(self.work / "pytest.ini"), f"--rootdir={self.kit / 'tests'}"]
        words += ["-p", "no:cacheprovider", "-v", "-rs", "--durations=15", "--tb=long"]
        words += ["-m", "gpu", str(self.kit / "tests")]
        facts = self.command(
            "tests", [sys.executable, "-m", "pytest", *words], self.share(TESTS), more
        )
        text = (self.out / "tests.log").read_text(encoding="utf-8", errors="replace")
        outcomes = re.findall(r" (PASSED|FAILED|ERROR|SKIPPED)\b.*\[ *\d+%\]", text)
        for outcome in ("PASSED", "FAILED", "ERROR", "SKIPPED"):
            facts[outcome.lower()] = outcomes.count(outcome)
        collected = re.search(r"collected (\d+) items", text)
        facts["not_reached"] = int(collected[1] if collected else 0) - len(outcomes)
        self.report["measurements"] = lines_of(measured)
        return facts

    def timings(self) -> Mapping[str, Any]:
        """Time the default method."""
        seconds = self.share(TIMINGS)
        rows = self.work / "timings.jsonl"
        words = [str(rows), "--seconds", f"{max(seconds - GRACE_SECONDS, 1):.0f}"]
        words += ["--rehearse"] if self.rehearse else []
        facts = self.command(
            "timings", [sys.executable, str(self.kit / "timings.py"), *words], seconds
        )
        self.report["timings"] = lines_of(rows)
        return facts

    def train(self) -> Mapping[str, Any]:
        """Train by the kit's command for what is left; keep what it writes, while it writes."""
        if not self.settings["train"]:
            return {"status": "skipped", "why": "the kit has no command that trains"}
        seconds = self.left
        if seconds < 2 * GRACE_SECONDS:
            return {"status": "skipped", "why": f"{seconds:.0f} s are left"}
        self.training.mkdir()
        files = {name: self.settings[name] for name in ("set", "start")}
        filled = {
            "python": sys.executable,
            "kit": str(self.kit),
            "out": str(self.training),
            "seconds": f"{seconds - GRACE_SECONDS:.0f}",
            **{name: str(self.kit / path) if path else "" for name, path in files.items()},
        }
        command = [filled_in(word, filled) for word in self.settings["train"]]
        facts = self.command("train", command, seconds, {}, self.keep_training)
        self.keep_training()
        return facts

    def share(self, part: tuple[float, float]) -> float:
        """Return the seconds that a step may take."""
        return max(1.0, min(part[0] * self.left, part[1]))

    def command(
        self,
        name: str,
        command: Sequence[str],
        seconds: float,
        more: Mapping[str, str] | None = None,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> dict[str, Any]:
        """Run a command with a log in OUT, for so many seconds at most.

        Parameters
        ----------
        name : str
            Of the log.
        command : sequence of str
        seconds : float
            When they are over it gets SIGTERM, and soon after SIGKILL, with all its children.
        more : mapping, optional
            Further environment variables.
        meanwhile : callable
            Called every few seconds while it runs.
        """
        log = self.out / f"{name}.log"
        begin, reported, status = time.monotonic(), time.monotonic(), "done"
        with log.open("wb") as stream:
            child = subprocess.Popen(
                list(command),
                stdout=stream,
                stderr=subprocess.STDOUT,
                cwd=self.work,
                env=self.environment | (more or {}),
                start_new_session=True,
            )
            while child.poll() is None:
                time.sleep(0.2)
                now = time.monotonic()
                if now - begin > seconds:
                    status = "out of time"
                    end(child)
                elif now - reported > HEARTBEAT_SECONDS:
                    reported = now
                    print(f"{now - begin:5.0f} s  {last_line(tail(log, 400))}", flush=True)
                    meanwhile()
        if status == "done" and child.returncode:
            status = "failed"
        print(tail(log, 1500 if status == "failed" else 400), flush=True)
        return {"status": status, "exit_code": child.returncode}

    def keep_training(self) -> None:
        """Copy what the training wrote, the newest first, as far as OUT may hold it."""
        files = [path for path in self.training.rglob("[!.]*") if path.is_file()]
        names: set[str] = set()
        left_behind: dict[str, str] = {}
        most_files, room = OF_TRAINING
        for path in sorted(files, key=lambda path: path.stat().st_mtime, reverse=True):
            size = path.stat().st_size
            if size > min(MOST_BYTES, room) or len(names) == most_files:
                left_behind[path.name] = f"{size / 1e6:.1f} MB, after {len(names)} newer files"
                continue
            target = self.out / path.relative_to(self.training).as_posix().replace("/", "-")
            names.add(target.name)
            room -= size
            if not target.exists() or target.stat().st_mtime < path.stat().st_mtime:
                write_whole(target, partial(shutil.copy2, path))
        for name in self.kept - names:
            (self.out / name).unlink(missing_ok=True)
        self.kept = names
        self.report["left_behind"] = left_behind

    def end(self) -> None:
        """Keep to the limits and print what came of it."""
        for log in self.out.glob("*.log"):
            if log.stat().st_size > LOG_BYTES:
                log.write_text(tail(log, LOG_BYTES), encoding="utf-8")
        self.report["seconds"] = round(time.monotonic() - self.begin, 1)
        self.save()
        shutil.rmtree(self.work, ignore_errors=True)
        print("--- summary")
        for name, facts in self.report["steps"].items():
            rest = {key: value for key, value in facts.items() if key not in ("status", "seconds")}
            rest.pop("wheels", None)
            words = ", ".join(f"{key} {value}" for key, value in rest.items())
            print(f"{name:8} {facts['status']:12} {facts['seconds']:6.1f} s  {words[:300]}")
        for row in self.report.get("timings", []):
            print("  ".join(f"{key} {value}" for key, value in row.items()))
        for path in sorted(self.out.iterdir()):
            print(f"{path.name:32} {path.stat().st_size / 1e6:8.3f} MB")
        for name, reason in self.report.get("left_behind", {}).items():
            print(f"left behind: {name}: {reason}")


def end(child: subprocess.Popen[bytes]) -> None:
    """End a process and its children; first they are asked to."""
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        child.wait(GRACE_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def filled_in(word: str, values: Mapping[str, str]) -> str:
    """Put values for their names in braces; other braces stay."""
    for name, value in values.items():
        word = word.replace(f"{{{name}}}", value)
    return word


def lines_of(path: Path) -> list[dict[str, Any]]:
    """Read what a step wrote, an object a line; a last line that is cut off is left out."""
    records = []
    with suppress(OSError, ValueError):
        for line in path.read_text(encoding="utf-8").splitlines():
            records.append(json.loads(line))
    return records


if __name__ == "__main__":
    sys.exit(main())
