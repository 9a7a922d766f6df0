"""A comparison of methods on images, in a folder that keeps finished measurements.

A measurement with the same settings is not repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bids_sr.evaluation.guides import guide_file
from bids_sr.evaluation.job import Job
from bids_sr.evaluation.masks import Mask
from bids_sr.evaluation.pool import Ended, TaskPool
from bids_sr.evaluation.protocol import Protocol
from bids_sr.evaluation.references import Reference, lesion_mask
from bids_sr.evaluation.table import read_rows, write_row
from bids_sr.plain_values import plain
from bids_sr.seed import DEFAULT_SEED
from bids_sr.sr import make_method

_MEASURED = ("seconds", "cpu_seconds", "peak_gb", "peak_gpu_gb", "record", "scores")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Measure methods on images, in one folder."""

    out: Path
    """The folder."""
    workers: int = 1
    """Measurements at a time."""
    threads: int = 1
    """Of one measurement."""
    seed: int = DEFAULT_SEED
    device: str = "auto"
    keep_images: bool = False
    """Whether reconstructions are kept."""
    measures: tuple[str, ...] = ()
    """Perceptual measures to compute."""
    downstream: bool = False
    """Whether segmentations are compared, too."""
    derivatives: Sequence[Path] = ()
    """BIDS derivatives with lesion masks."""

    def job(
        self,
        reference: Reference,
        protocol: Protocol,
        mask: Mask,
        *,
        label: str,
        method: str,
        parameters: Mapping[str, Any],
        results: Path | None = None,
    ) -> Job:
        """Say how one method is measured on one test of an image.

        Parameters
        ----------
        reference : Reference
        protocol : Protocol
        mask : Mask
        label : str
            Name of the method and its settings in tables.
        method : str
            Name in :data:`bids_sr.sr.METHODS`.
        parameters : mapping
            Hyper-parameters of the method.
        results : Path, optional
            Folder of another program's volumes, scored in place of the method's.
        """
        known = make_method(method, parameters).parameters()
        common = {"threads": self.threads, "seed": self.seed, "device": self.device}
        job = Job(
            image=reference.name,
            path=reference.path,
            protocol=protocol,
            label=label,
            method=method,
            parameters={
                **{name: value for name, value in common.items() if name in known},
                **parameters,
            },
            mask=mask.path,
            mask_origin=mask.origin,
            lesions=lesion_mask(reference, self.derivatives),
            guide=guide_file(reference.path, protocol.guide) if protocol.guide else None,
            thickness=reference.thickness() if protocol.leaves_out else None,
            seed=self.seed,
            measures=self.measures,
            downstream=self.downstream and mask.path is not None,
        )
        return replace(job, results=results and results / f"{job.test_stem}.nii.gz")

    def pool(self, on_line: Callable[[int, str], None] = lambda number, line: None) -> TaskPool:
        """Return the processes of this comparison."""
        logs = self.out / "logs"
        return TaskPool(workers=self.workers, threads=self.threads, logs=logs, on_line=on_line)

    def rows(self) -> list[dict[str, Any]]:
        """Read all rows of the folder."""
        return read_rows(self.out / "rows")

    def to_do(self, jobs: Sequence[Job]) -> list[Job]:
        """Return the jobs whose measurement is not there, or out of date."""
        known = self._known()
        return [job for job in jobs if not self.is_done(job, known)]

    def run(
        self, jobs: Sequence[Job], on_line: Callable[[int, str], None]
    ) -> Iterator[tuple[Job, Ended]]:
        """Do jobs in processes of their own, and write the row of each as it ends.

        ``on_line`` receives the number of a job and its lines of progress.
        """
        known = self._known()
        tasks = [(job.stem, self._task(job, known)) for job in jobs]
        for ended in self.pool(on_line).run(tasks):
            job = jobs[ended.number]
            if ended.row is None:
                self.write(job, status="failed", message=ended.message)
            else:
                rivals = ended.row.pop("rivals", {})
                for name, row in {"": ended.row, **rivals}.items():
                    self.write(job.rival(name) if name else job, status="ok", message="", **row)
            yield job, ended

    def write(self, job: Job, **content: Any) -> None:
        """Write the row of a job."""
        row = {
            "image": job.image,
            "protocol": job.protocol.name,
            "slices": job.protocol.slices,
            "noise": job.protocol.noise,
            "told": job.protocol.told,
            "method": job.label,
            "mask": job.mask_origin,
            "key": job.key(),
            "settings": job.settings(),
            **content,
        }
        write_row(self.out / "rows" / f"{job.stem}.json", row)

    def is_done(self, job: Job, known: Mapping[str, Mapping[str, Any]]) -> bool:
        """Tell whether a job's row, among those known by their files, holds for its settings."""
        row = known.get(job.stem)
        if row is None or row["status"] != "ok" or row.get("key") != job.key():
            return False
        return not self.keep_images or self._image(job).is_file()

    def only_segmented(
        self, job: Job, known: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, Any] | None:
        """Return the row of a kept reconstruction that lacks nothing but its segmentation."""
        if not job.downstream or not self._image(job).is_file():
            return None
        if not self.is_done(replace(job, downstream=False), known):
            return None
        return {name: known[job.stem][name] for name in _MEASURED}

    def _known(self) -> dict[str, dict[str, Any]]:
        return {row["file"]: row for row in self.rows()}

    def _image(self, job: Job) -> Path:
        return self.out / "images" / f"{job.stem}.nii.gz"

    def _task(self, job: Job, known: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        row = self.only_segmented(job, known)
        return {
            "do": "segment" if row else "measure",
            "row": row,
            "job": plain(job),
            "folder": str(self.out.absolute()),
            "keep_images": self.keep_images,
            "threads": self.threads,
        }
