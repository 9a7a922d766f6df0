"""Run ECLARE on a machine that has a GPU for minutes, and no network.

    python3 KIT/run.py KIT OUT --minutes 10

KIT is what ``eclare.py pack`` made; this file is its run.py.  Needs Python 3.12 with torch,
numpy and scipy.  The wheels of the kit, ECLARE's among them, are unpacked into a temporary
folder, and each case is given to its own command with the arguments that the kit holds.  A case
that fails or takes too long costs the others nothing.

OUT gets report.json and, for each case, the reconstruction (13 bits, a few MB) and the log, all
while the cases run.  Of a case that is ended the report says how far it came, from which follows
how long it would have taken.  ECLARE draws its patches in up to 8 processes a case, and these, not
the GPU, may set the pace: --at-once 2 runs two cases side by side.  Without a CUDA device it
runs on the CPU, and the report says so.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from kit import (
    HEARTBEAT_SECONDS,
    last_line,
    machine_facts,
    tail,
    unpack_wheels,
    write_report,
    write_whole,
)

LAST_SECONDS = 15.0  # to write what there is
LOG_BYTES = 200_000
LEVELS = 2**13 - 1  # of intensity; the error is 90 dB below the range
# What the package's command run-eclare does.
ECLARE = ("-c", "from eclare.main import main; main()")


def main(argv: Sequence[str] | None = None) -> int:
    options = build_parser().parse_args(argv)
    end = time.monotonic() + options.minutes * 60 - LAST_SECONDS
    kit, out = options.kit.resolve(), options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    cases = json.loads((kit / "kit.json").read_text(encoding="utf-8"))["cases"]
    cases = [case for case in cases if any(part in case["name"] for part in options.cases)]
    if not cases:
        print(f"Found no case with {options.cases} in its name; {kit / 'kit.json'} lists them.")
        return 1
    with tempfile.TemporaryDirectory(prefix="eclare-") as folder:
        work = Path(folder)
        unpack_wheels(kit, work / "site")
        environment = os.environ | {"PYTHONPATH": str(work / "site"), "PYTHONUNBUFFERED": "1"}
        report = {"machine": machine_facts(environment), "at_once": options.at_once}
        runs = [Run(case, kit, work, out, report["machine"]["gpu"]) for case in cases]
        run_all(runs, environment, options.at_once, end, report)
    facts = [run.facts for run in runs]
    print(json.dumps([{**fact, "job": "..."} for fact in facts], indent=1))
    return int(any(fact["status"] != "ok" for fact in facts))


def run_all(
    runs: Sequence[Run],
    environment: Mapping[str, str],
    at_once: int,
    end: float,
    report: dict[str, Any],
) -> None:
    """Run the cases, so many at once, until they or the time end; the report is kept up."""
    waiting, running = list(runs), list[Run]()
    told = 0.0
    while waiting or running:
        late = time.monotonic() >= end
        ended = [run for run in running if run.has_ended(stop=late)]
        running = [run for run in running if run not in ended]
        while waiting and len(running) < at_once and not late:
            running.append(waiting.pop(0).start(environment))
        if ended or late or time.monotonic() - told > HEARTBEAT_SECONDS:
            told = time.monotonic()
            for run in running:
                print(f"{run.name}: {run.progress()}", flush=True)
            write_report(
                runs[0].out / "report.json", {**report, "cases": [run.facts for run in runs]}
            )
        if late:
            return
        time.sleep(0.2)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kit", type=Path, metavar="KIT", help="folder that eclare.py pack made")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for what comes back")
    parser.add_argument("--minutes", type=float, default=10.0, help="for all (default: 10)")
    parser.add_argument("--cases", nargs="+", default=[""], help="parts of their names")
    parser.add_argument("--at-once", type=int, default=1, help="cases side by side (default: 1)")
    return parser


class Run:
    """A case while it waits, runs and has ended; ``facts`` is what the report says of it."""

    def __init__(self, case: dict[str, Any], kit: Path, work: Path, out: Path, gpu: bool) -> None:
        self.name, self.out = str(case["name"]), out
        self.folder, self.log = work / self.name, work / f"{self.name}.log"
        words = ["--in-fpath", str(kit / case["slices"]), "--out-dir", str(self.folder)]
        words += [*case["arguments"], *(["--gpu-id", "0"] if gpu else [])]
        self.command = [sys.executable, *ECLARE, *words]
        self.facts = {**case, "status": "not begun"}
        self.begin = 0.0
        self.process: subprocess.Popen[bytes] | None = None
        self.stream: IO[bytes] | None = None

    def start(self, environment: Mapping[str, str]) -> Run:
        print(f"{self.name}: begun", flush=True)
        self.begin = time.monotonic()
        self.stream = self.log.open("wb")
        self.process = subprocess.Popen(
            self.command,
            stdout=self.stream,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,  # with its loaders it is ended as a group
        )
        self.facts["status"] = "running"
        return self

    def has_ended(self, *, stop: bool) -> bool:
        """Take up the results of a case that has ended, or end it and say how far it came."""
        assert self.process is not None
        assert self.stream is not None
        ended, status, usage = os.wait4(self.process.pid, os.WNOHANG)
        if not ended:
            self.facts["progress"] = self.progress()
            if not stop:
                return False
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            _, status, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self.stream.close()
        self.facts |= {
            "seconds": round(time.monotonic() - self.begin, 1),
            "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
            "peak_gb": usage.ru_maxrss * 1024 / 1e9,
            "progress": self.progress(),
        }
        text = re.sub(r"[^\n]*\r", "", tail(self.log, LOG_BYTES))
        (self.out / f"{self.name}.log").write_text(text, encoding="utf-8")
        if not ended:
            self.facts |= {"status": "too long", "message": "ended when the time was over"}
        elif self.process.returncode:
            self.facts |= {"status": "failed", "message": last_line(text)}
        else:
            try:
                self.facts |= {"status": "ok", "file": self.keep()}
            except Exception as error:  # the other cases go on
                self.facts |= {"status": "failed", "message": f"{type(error).__name__}: {error}"}
        print(f"{self.name}: {self.facts['status']}, {self.facts['seconds']} s", flush=True)
        return True

    def keep(self) -> str:
        """Write the reconstruction with 13 bits, whole or not at all, and return its name."""
        sys.path.insert(0, str(self.folder.parent / "site"))
        import nibabel as nb
        import numpy as np

        (made,) = self.folder.glob("*_eclare.nii.gz")
        image = nb.load(made)
        data = image.get_fdata(dtype=np.float32)
        low, step = float(data.min()), float(np.ptp(data)) / LEVELS or 1.0
        small = nb.Nifti1Image(np.round((data - low) / step).astype(np.uint16), image.affine)
        small.header.set_slope_inter(step, low)
        write_whole(self.out / f"{self.name}.nii.gz", lambda path: nb.save(small, path))
        for profile in self.folder.glob("*_espreso_psf.npy"):
            self.facts["slice_profile"] = np.load(profile).astype(float).round(5).tolist()
        return f"{self.name}.nii.gz"

    def progress(self) -> str:
        """Return what ECLARE said last: its bars tell step and rate."""
        return last_line(tail(self.log, 400)) if self.log.exists() else ""


if __name__ == "__main__":
    sys.exit(main())
