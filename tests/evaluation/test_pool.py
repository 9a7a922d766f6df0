from __future__ import annotations

import os
import signal
from pathlib import Path

from bids_sr.evaluation.job import Job
from bids_sr.evaluation.pool import TaskPool
from bids_sr.evaluation.protocol import Protocol
from bids_sr.imaging import Volume
from bids_sr.plain_values import plain


def test_a_killed_task_fails_alone(mni152_2mm: Volume, tmp_path: Path) -> None:
    brain = Volume(1000 * mni152_2mm.data[20:70, 22:86, 20:68], mni152_2mm.affine)
    image = brain.save(tmp_path / "sub-01_T1w.nii.gz")
    (tmp_path / "out" / "rows").mkdir(parents=True)
    jobs = [
        Job(
            image="sub-01",
            path=image,
            protocol=Protocol(name="7/8"),
            label=method,
            method=method,
            parameters={"steps": 10**6} if method == "self" else {},
        )
        for method in ("self", "linear")
    ]
    tasks = [
        (
            job.stem,
            {
                "do": "measure",
                "job": plain(job),
                "folder": str(tmp_path / "out"),
                "keep_images": False,
            },
        )
        for job in jobs
    ]
    pool = TaskPool(workers=1, threads=1, logs=tmp_path / "logs")

    def kill(number: int, line: str) -> None:
        if number == 0:
            for process in list(pool._running):
                os.kill(process.pid, signal.SIGKILL)

    pool.on_line = kill
    ended = {task.number: task for task in pool.run(tasks)}
    assert ended[0].row is None
    assert "signal 9: memory ran out, most likely" in ended[0].message
    assert ended[1].row is not None
    assert ended[1].row["scores"]["psnr"] > 10
