"""Real super-resolution steps on real devices: one step a device at a time.

``BIDS_SR_TEST_DEVICE=cpu`` rehearses it: two devices are pretended, and the steps take the CPU.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.gpu

# A process of its own: a process that used CUDA cannot be forked for steps that do.
STEPS = """
import json, os, sys, time
from pathlib import Path

import numpy as np
from nipype import config
from nipype.pipeline import engine as pe

from bids_sr.run.graph import gpus_for
from bids_sr.run.scheduler import SteadyMultiProcPlugin
from bids_sr.imaging import Acquisition, Volume
from bids_sr.interfaces.super_resolution import SuperResolve


class Noted(SuperResolve):
    def _run_interface(self, runtime):
        begin = time.monotonic()
        runtime = super()._run_interface(runtime)
        note = {
            "span": [begin, time.monotonic()],
            "visible": os.environ.get("CUDA_VISIBLE_DEVICES"),
            "device": self._results["record"].to_dict()["Device"],
        }
        path = folder / f"{Path(runtime.cwd).name}.note"  # not where nodes clean up
        path.write_text(json.dumps(note))
        return runtime


folder, device = Path(sys.argv[1]), sys.argv[2]
gpus = gpus_for(device) if device != "cpu" else ("0", "1")
config.update_config({"execution": {"create_report": False, "poll_sleep_duration": 0.05}})
data = np.random.default_rng(0).uniform(0, 100, (32, 32, 8)).astype(np.float32)
slices = str(Volume(data, np.diag([1.0, 1.0, 4.0, 1.0])).save(folder / "slices.nii.gz"))
workflow = pe.Workflow(name="w", base_dir=str(folder))
for number in range(2 * len(gpus)):
    step = Noted(
        in_file=slices,
        acquisition=Acquisition(spacing=4.0, thickness=4.0, profile="gaussian", slice_axis=2),
        sr_method="finetuned",
        parameters={"device": device, "adapt": "none", "mirrored": False},
        use_gpu=True,
    )
    workflow.add_nodes([pe.Node(step, name=f"step{number}", mem_gb=0.1)])
several = {"n_procs": 4 * len(gpus), "n_gpu_procs": len(gpus), "devices": gpus}
plugin = SteadyMultiProcPlugin({**several, "memory_gb": 64, "raise_insufficient": False})
try:
    workflow.run(plugin=plugin)
finally:
    plugin.stop()
notes = [json.loads(path.read_text()) for path in folder.glob("*.note")]
(folder / "notes.json").write_text(json.dumps({"gpus": gpus, "notes": notes}))
"""


@pytest.fixture
def device() -> str:
    """Return what ``--device`` would say."""
    pytest.importorskip("nipype", reason="the command line is not installed here")
    name = os.environ.get("BIDS_SR_TEST_DEVICE", "")
    if not name and not torch.cuda.is_available():
        pytest.skip("no CUDA device; BIDS_SR_TEST_DEVICE=cpu rehearses the test")
    return name or "cuda"


def test_a_device_is_used_by_one_step_at_a_time(device: str, tmp_path: Path) -> None:
    script = tmp_path / "steps.py"
    script.write_text(STEPS)
    run = subprocess.run(
        [sys.executable, str(script), str(tmp_path), device],
        env={**os.environ, "NO_ET": "1", "NIPYPE_NO_ET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-2000:] + run.stderr[-4000:]
    result = json.loads((tmp_path / "notes.json").read_text())
    gpus, notes = result["gpus"], result["notes"]
    assert len(notes) == 2 * len(gpus) > 0
    assert {note["device"] for note in notes} == {device}
    assert {note["visible"] for note in notes} == set(gpus)
    for name in gpus:
        spans = sorted(note["span"] for note in notes if note["visible"] == name)
        assert all(end <= begin for (_, end), (begin, _) in pairwise(spans))
