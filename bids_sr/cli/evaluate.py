"""``bids_sr-tools evaluate``: which method is best on these images.

Makes tests of every image, reconstructs them with every method, and writes the folder
of the comparison: ``scores.tsv``, ``scores.md``, ``index.html``.  What is done already,
with the same settings, is not done again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bids_sr import __version__
from bids_sr.cli.evaluate_options import MASKS, MethodSpec, read_specs
from bids_sr.compute.environment import Terminated, end_on_sigterm
from bids_sr.evaluation.pool import Ended, TaskPool
from bids_sr.evaluation.protocol import Protocol
from bids_sr.evaluation.references import (
    Reference,
    existing_mask,
    find_references,
    lesion_mask,
    own_derivatives,
)
from bids_sr.exceptions import BidsSrError, ConfigError
from bids_sr.files.writing import write_json_atomic, write_text_atomic
from bids_sr.plain_values import plain
from bids_sr.run.console import progress_bar
from bids_sr.run.exit_codes import ExitCode, ExitError

LOGGER = logging.getLogger(__name__)


def evaluate(options: argparse.Namespace) -> int:
    """Run the comparison that the options describe; what was done by an interrupt is kept."""
    end_on_sigterm()
    try:
        return _evaluate(options)
    except Terminated:
        return ExitCode.TERMINATED


def _evaluate(options: argparse.Namespace) -> int:
    if options.nprocs < 1 or options.omp_nthreads < 1:
        raise ConfigError("Found --nprocs or --omp-nthreads below 1; expected 1 or more.")
    if not options.path.exists():
        raise ExitError(ExitCode.NO_INPUT, f"{options.path} does not exist: check the path")
    specs, protocols = read_specs(options), read_protocols(options)
    references = find_references(options.path, options.include, options.exclude)
    from bids_sr.evaluation.perceptual import available
    from bids_sr.evaluation.table import read_rows

    measures = available()
    notes = [] if options.no_perceptual else list(measures.notes)
    for note in notes:
        print(note)
    (options.out / "rows").mkdir(parents=True, exist_ok=True)
    masks = _Masks(options).find(references)
    jobs, failed = [], []
    for reference, protocol, spec in itertools.product(references, protocols, specs):
        mask, origin, problem = masks[reference.name]
        job = _job(reference, protocol, spec, options)
        wanted = () if options.no_perceptual else measures.measures
        job = replace(job, mask=mask, mask_origin=origin, measures=wanted)
        job = replace(job, downstream=options.downstream and mask is not None)
        if problem:
            failed.append((job, f"no mask, give one or --mask none: {problem}"))
        else:
            jobs.append(job)
    for job, message in failed:
        _write(options.out, job, status="failed", message=message)
    known = {row["file"]: row for row in read_rows(options.out / "rows")}
    todo = [job for job in jobs if not _done(known.get(job.stem), job, options)]
    print(
        f"{len(references)} images, {len(protocols)} protocols, {len(specs)} methods: "
        f"{len(todo)} reconstructions to do, {len(jobs) - len(todo)} done before"
    )
    troubles = len(failed) + _run(todo, options, known)
    rows = read_rows(options.out / "rows")
    write_results(options.out, rows, specs, options.baseline, notes, options.examples)
    print(f"wrote {options.out / 'index.html'}, scores.md and scores.tsv")
    return ExitCode.SOME_FAILED if troubles else ExitCode.OK


def read_protocols(options: argparse.Namespace) -> list[Protocol]:
    """Return every combination of protocols, orientations and noise, each once."""
    found = [
        Protocol(name=name, slices=slices, noise=noise)
        for name, slices, noise in itertools.product(
            options.protocols, options.slices, options.noise
        )
    ]
    return list(dict.fromkeys(found))


def _job(
    reference: Reference,
    protocol: Protocol,
    spec: MethodSpec,
    options: argparse.Namespace,
) -> Any:
    from bids_sr.evaluation.job import Job
    from bids_sr.sr import make_method

    known = make_method(spec.method, spec.parameters).parameters()
    common = {
        "threads": options.omp_nthreads,
        "seed": options.random_seed,
        "device": options.device,
    }
    common = {name: value for name, value in common.items() if name in known}
    derivatives = [*options.derivatives, *own_derivatives(options.path)]
    return Job(
        image=reference.name,
        path=reference.path,
        protocol=protocol,
        label=spec.label,
        method=spec.method,
        parameters={**common, **spec.parameters},
        lesions=lesion_mask(reference, derivatives),
        thickness=reference.thickness() if protocol.leaves_out else None,
        seed=options.random_seed,
    )


class _Masks:
    """Finds or makes the masks of the images."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.folder = options.out / "masks"
        if options.mask not in MASKS and not Path(options.mask).exists():
            raise ConfigError(
                f"Found --mask {options.mask}; expected {', '.join(MASKS)} or an existing path."
            )

    def find(self, references: Sequence[Reference]) -> dict[str, tuple[Path | None, str, str]]:
        """Return mask, origin and problem of each image, by name; makes what is missing."""
        found: dict[str, tuple[Path | None, str, str]] = {}
        tasks = []
        for reference in references:
            try:
                at_hand = self._at_hand(reference)
            except BidsSrError as error:
                found[reference.name] = (None, "", str(error))
                continue
            if at_hand is not None:
                found[reference.name] = at_hand
            else:
                tasks.append((reference.name, self._task(reference)))
        if tasks:
            print(f"{len(tasks)} masks to make", flush=True)
        pool = TaskPool(
            workers=self.options.nprocs // self.options.omp_nthreads,
            threads=self.options.omp_nthreads,
            logs=self.options.out / "logs",
        )
        for ended in pool.run(tasks):
            name, task = tasks[ended.number]
            if ended.row is None:
                LOGGER.warning("%s: no mask, give one or --mask none: %s", name, ended.message)
                found[name] = (None, "", ended.message)
                continue
            record = {"Origin": ended.row["origin"], "Made": task["made_of"]}
            write_json_atomic(Path(task["out"]).with_suffix("").with_suffix(".json"), record)
            found[name] = (Path(task["out"]), ended.row["origin"], "")
        return found

    def _at_hand(self, reference: Reference) -> tuple[Path | None, str, str] | None:
        kind = self.options.mask
        if kind == "none":
            return None, "whole image", ""
        if kind == "auto" or kind not in MASKS:
            given = None if kind in MASKS else Path(kind)
            derivatives = [*self.options.derivatives, *own_derivatives(self.options.path)]
            existing = existing_mask(reference, given, derivatives if given is None else [])
            if existing is not None:
                return existing[0], existing[1], ""
            if given is not None:
                return None, "", f"{given} has no mask of {reference.path.name}"
        if kind == "auto" and not reference.is_brain:
            return None, "whole image", ""
        return self._made_before(reference)

    def _made_before(self, reference: Reference) -> tuple[Path, str, str] | None:
        task = self._task(reference)
        try:
            text = Path(task["out"]).with_suffix("").with_suffix(".json").read_text()
            record = json.loads(text)
        except (OSError, ValueError):
            return None
        if record.get("Made") != task["made_of"] or not Path(task["out"]).is_file():
            return None
        return Path(task["out"]), str(record["Origin"]), ""

    def _task(self, reference: Reference) -> dict[str, Any]:
        status = reference.path.stat()
        return {
            "do": "mask",
            "image": str(reference.path),
            "kind": self.options.mask,
            "threads": self.options.omp_nthreads,
            "seed": self.options.random_seed,
            "out": str((self.folder / f"{reference.name}.nii.gz").absolute()),
            "made_of": [self.options.mask, status.st_size, status.st_mtime_ns, __version__],
        }


def _done(row: dict[str, Any] | None, job: Any, options: argparse.Namespace) -> bool:
    if row is None or row["status"] != "ok" or row.get("key") != job.key():
        return False
    return not options.keep_images or (options.out / "images" / f"{job.stem}.nii.gz").is_file()


def _only_segmented(
    job: Any, known: dict[str, Any], options: argparse.Namespace
) -> dict[str, Any] | None:
    """Return the row of a kept reconstruction that lacks nothing but its segmentation."""
    row = known.get(job.stem)
    if not job.downstream or not _done(row, replace(job, downstream=False), options):
        return None
    assert row is not None
    if not (options.out / "images" / f"{job.stem}.nii.gz").is_file():
        return None
    names = ("seconds", "cpu_seconds", "peak_gb", "peak_gpu_gb", "record", "scores")
    return {name: row[name] for name in names}


def _run(jobs: Sequence[Any], options: argparse.Namespace, known: dict[str, Any]) -> int:
    """Do jobs and return how many failed."""
    troubles = 0
    tasks = [
        (
            job.stem,
            {
                "do": "segment" if (row := _only_segmented(job, known, options)) else "measure",
                "row": row,
                "job": plain(job),
                "folder": str(options.out.absolute()),
                "keep_images": options.keep_images,
                "threads": options.omp_nthreads,
            },
        )
        for job in jobs
    ]
    with progress_bar("evaluate") as progress:
        done = 0

        def tell(number: int, line: str) -> None:
            progress(done, len(jobs), f"{jobs[number].image}, {jobs[number].label}: {line}")

        pool = TaskPool(
            workers=options.nprocs // options.omp_nthreads,
            threads=options.omp_nthreads,
            logs=options.out / "logs",
            on_line=tell,
        )
        for ended in pool.run(tasks):
            job, done = jobs[ended.number], done + 1
            troubles += ended.row is None
            _write_ended(options.out, job, ended)
            words = f"{job.image}, {job.protocol.label}, {job.label}"
            print(f"{done}/{len(jobs)} {words}: {_result(ended)}", flush=True)
            progress(done, len(jobs), words)
    return troubles


def _result(ended: Ended) -> str:
    if ended.row is None:
        return f"failed: {ended.message}"
    scores = ended.row["scores"]
    return f"{scores['psnr']:.2f} dB, SSIM {scores['ssim']:.4f}, {ended.row['seconds']:.0f} s"


def _write_ended(out: Path, job: Any, ended: Ended) -> None:
    if ended.row is None:
        _write(out, job, status="failed", message=ended.message)
    else:
        _write(out, job, status="ok", message="", **ended.row)


def _write(out: Path, job: Any, **content: Any) -> None:
    from bids_sr.evaluation.table import write_row

    row = {
        "image": job.image,
        "protocol": job.protocol.name,
        "slices": job.protocol.slices,
        "noise": job.protocol.noise,
        "method": job.label,
        "mask": job.mask_origin,
        "key": job.key(),
        "settings": job.settings(),
        **content,
    }
    write_row(out / "rows" / f"{job.stem}.json", row)


def write_results(
    out: Path,
    rows: list[dict[str, Any]],
    specs: Sequence[MethodSpec],
    baseline: str | None,
    notes: Sequence[str],
    examples: int,
) -> None:
    """Write the tables and the page of all rows in a folder, this run's methods first."""
    from bids_sr.evaluation import table
    from bids_sr.evaluation.summary import page_of

    order = {spec.label: number for number, spec in enumerate(specs)}
    rows = sorted(
        rows,
        key=lambda row: (
            row["image"],
            table.label_of(row),
            order.get(row["method"], len(order)),
            row["method"],
        ),
    )
    labels = list(dict.fromkeys(row["method"] for row in rows))
    chosen = baseline or ("bspline" if "bspline" in labels else next(iter(labels), ""))
    if baseline and baseline not in labels:
        raise ConfigError(f"Found --baseline {baseline}; expected one of {', '.join(labels)}.")
    write_text_atomic(out / "scores.tsv", table.tsv(rows))
    write_text_atomic(out / "scores.md", table.markdown(rows, chosen, notes))
    from bids_sr.reports.comparison import write_comparison

    write_comparison(out, page_of(rows, chosen, notes, examples=examples))
