"""``bids_sr-tools evaluate``: which method is best on these images.

Makes tests of every image, reconstructs them with every method, and writes the folder
of the comparison: ``scores.tsv``, ``scores.md``, ``index.html``.  Results of the same
settings from an earlier run are reused.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bids_sr.cli.evaluate_options import COMPARED, MASKS, MethodSpec, read_specs
from bids_sr.compute.environment import Terminated, end_on_sigterm
from bids_sr.evaluation.comparison import Comparison
from bids_sr.evaluation.external import write_test
from bids_sr.evaluation.job import Job, load_case
from bids_sr.evaluation.masks import Mask, MaskFinder
from bids_sr.evaluation.pool import Ended
from bids_sr.evaluation.protocol import Protocol
from bids_sr.evaluation.protocol_file import ProtocolFile
from bids_sr.evaluation.references import Reference, find_references, own_derivatives
from bids_sr.exceptions import BidsSrError, ConfigError, counted
from bids_sr.files import write_text_atomic
from bids_sr.run.console import progress_bar
from bids_sr.run.exit_codes import ExitCode, ExitError


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
    frozen = None if options.protocol_file is None else ProtocolFile.read(options.protocol_file)
    chosen = list[str]()
    if frozen is not None:
        protocols, options.random_seed = list(frozen.protocols), frozen.seed
        references, chosen = frozen.chosen(references)
    pairs = list(itertools.product(references, protocols))
    tests = [pair for pair in pairs if frozen is None or frozen.fits(*pair)]
    chosen += [
        f"left out, as there is no {protocol.guide} beside it: {reference.name}, {protocol.label}"
        for reference, protocol in pairs
        if (reference, protocol) not in tests
    ]
    comparison, notes = _comparison(options)
    labels = [spec.label for spec in specs] + [row["method"] for row in comparison.rows()]
    _check_baseline(options.baseline, labels)
    notes = [*chosen, *notes]
    if options.write_tests:
        for note in chosen:
            print(note)
        return _write_tests(comparison, tests, options.write_tests)
    for note in notes:
        print(note)
    masks = _masks(comparison, references, options)
    jobs, without_mask = [], 0
    for (reference, protocol), spec in itertools.product(tests, specs):
        mask = masks[reference.name]
        job = comparison.job(
            reference,
            protocol,
            mask,
            label=spec.label,
            method=spec.method,
            parameters=spec.parameters,
            results=spec.results,
        )
        if mask.problem:
            message = f"no mask, give one or --mask none: {mask.problem}"
            comparison.write(job, status="failed", message=message)
            without_mask += 1
        else:
            jobs.append(job)
    to_do = comparison.to_do(jobs)
    print(
        f"{counted(len(references), 'image')}, {counted(len(protocols), 'protocol')}, "
        f"{counted(len(specs), 'method')}: {counted(len(to_do), 'reconstruction')} to do, "
        f"{len(jobs) - len(to_do)} done before"
    )
    failed = without_mask + _run(comparison, to_do)
    write_results(options.out, comparison.rows(), specs, options.baseline, notes, options.examples)
    print(f"wrote {options.out / 'index.html'}, scores.md and scores.tsv")
    return ExitCode.SOME_FAILED if failed else ExitCode.OK


def _comparison(options: argparse.Namespace) -> tuple[Comparison, list[str]]:
    """Return the comparison, and what cannot be measured here."""
    from bids_sr.evaluation.perceptual import available

    measures = available()
    (options.out / "rows").mkdir(parents=True, exist_ok=True)
    comparison = Comparison(
        out=options.out,
        workers=options.nprocs // options.omp_nthreads,
        threads=options.omp_nthreads,
        seed=options.random_seed,
        device=options.device,
        keep_images=options.keep_images,
        measures=() if options.no_perceptual else measures.measures,
        downstream=options.downstream,
        derivatives=[*options.derivatives, *own_derivatives(options.path)],
    )
    return comparison, [] if options.no_perceptual else list(measures.notes)


def _write_tests(
    comparison: Comparison, tests: Sequence[tuple[Reference, Protocol]], folder: Path
) -> int:
    """Write each test; one that cannot be made does not stop the others."""
    mask, failed = Mask(), 0
    for reference, protocol in tests:
        job = comparison.job(
            reference, protocol, mask, label="", method=COMPARED[0], parameters={}
        )
        try:
            files = write_test(load_case(job).case, folder / job.test_stem)
            print(f"wrote {', '.join(file.name for file in files)}", flush=True)
        except BidsSrError as error:
            failed += 1
            print(f"{job.test_stem}: failed: {error}", flush=True)
    return ExitCode.SOME_FAILED if failed else ExitCode.OK


def _masks(
    comparison: Comparison, references: Sequence[Reference], options: argparse.Namespace
) -> dict[str, Mask]:
    if options.mask not in MASKS and not Path(options.mask).exists():
        raise ConfigError(
            f"Found --mask {options.mask}; expected {', '.join(MASKS)} or an existing path."
        )
    finder = MaskFinder(
        kind=options.mask,
        folder=options.out / "masks",
        derivatives=comparison.derivatives,
        threads=comparison.threads,
        seed=comparison.seed,
    )
    at_hand = finder.find(references)
    missing = [reference for reference in references if at_hand[reference.name] is None]
    if missing:
        print(f"{counted(len(missing), 'mask')} to make", flush=True)
    masks = {name: mask for name, mask in at_hand.items() if mask is not None}
    return masks | finder.make(missing, comparison.pool())


def _run(comparison: Comparison, jobs: Sequence[Job]) -> int:
    """Do jobs, print the result of each, and return how many failed."""
    done = failed = 0
    with progress_bar("evaluate") as progress:

        def show(number: int, line: str) -> None:
            progress(done, len(jobs), f"{jobs[number].image}, {jobs[number].label}: {line}")

        for job, ended in comparison.run(jobs, show):
            done += 1
            failed += ended.row is None
            words = f"{job.image}, {job.protocol.label}, {job.label}"
            print(f"{done}/{len(jobs)} {words}: {_result(ended)}", flush=True)
            progress(done, len(jobs), words)
    return failed


def read_protocols(options: argparse.Namespace) -> list[Protocol]:
    """Return every combination of protocols, orientations and noise, each once."""
    protocols = [
        Protocol(name=name, slices=slices, noise=noise)
        for name, slices, noise in itertools.product(
            options.protocols, options.slices, options.noise
        )
    ]
    return list(dict.fromkeys(protocols))


def _result(ended: Ended) -> str:
    if ended.row is None:
        return f"failed: {ended.message}"
    scores = ended.row["scores"]
    seconds = ended.row["seconds"]
    time = "" if seconds is None else f", {seconds:.0f} s"
    return f"{scores['psnr']:.2f} dB, SSIM {scores['ssim']:.4f}{time}"


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
    _check_baseline(baseline, labels)
    write_text_atomic(out / "scores.tsv", table.tsv(rows))
    write_text_atomic(out / "scores.md", table.markdown(rows, chosen, notes))
    from bids_sr.reports.comparison import write_comparison

    write_comparison(out, page_of(rows, chosen, notes, examples=examples))


def _check_baseline(baseline: str | None, labels: Iterable[str]) -> None:
    known = list(dict.fromkeys(labels))
    if baseline and baseline not in known:
        raise ConfigError(f"Found --baseline {baseline}; expected one of {', '.join(known)}.")
