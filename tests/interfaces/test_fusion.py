"""Stacks fused by the interface: those that are there, with files and records."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nipype.pipeline import engine as pe

from bids_sr.imaging import Acquisition, Volume, degrade
from bids_sr.interfaces.fusion import (
    NO_RESULT,
    CompleteFusedQuality,
    FuseMasks,
    FuseStacks,
    SaveFused,
)
from bids_sr.interfaces.fusion_figures import StacksFigure
from bids_sr.records.fusion_record import FusionRecord
from bids_sr.sr import reconstruct
from bids_sr.sr.registry import grid_of_result

IMAGES = ["sub-01_acq-a_T2w.nii.gz", "sub-01_acq-b_T2w.nii.gz", "sub-01_acq-c_T2w.nii.gz"]


@pytest.fixture(scope="module")
def stacks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Return what three stacks of a textured ball bring."""
    folder = tmp_path_factory.mktemp("stacks")
    shape = (36, 36, 36)
    axes = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij")
    texture = sum(np.sin(9 * axis + number) for number, axis in enumerate(axes))
    data = (400 + 80 * texture) * (sum(axis**2 for axis in axes) < 0.7)
    head = Volume(data.astype(np.float32), np.diag([2.0, 2.0, 2.0, 1.0]))
    given = []
    for axis in range(3):
        acquisition = Acquisition(spacing=6.0, thickness=5.0, slice_axis=axis)
        slices = degrade(head, acquisition, noise_fraction=0.01, seed=axis)
        grid = grid_of_result(
            slices, acquisition, method="bspline", output_resolution=2.0, output_grid="fov"
        )
        fine = reconstruct(slices, acquisition, method="bspline", grid=grid, parameters={}).volume
        mask = fine.with_data((fine.data > 150).astype(np.uint8))
        given.append(
            {
                "slices": str(slices.save(folder / f"slices_{axis}.nii.gz")),
                "sr": str(fine.save(folder / f"sr_{axis}.nii.gz")),
                "acquisition": acquisition,
                "uncertainty": None,
                "mask": str(mask.save(folder / f"mask_{axis}.nii.gz")),
            }
        )
    return given


def fuse(stacks: list[dict[str, Any]], base: Path, places: tuple[int, ...]) -> Any:
    node = pe.Node(FuseStacks(3, images=IMAGES), name="fuse", base_dir=str(base))
    for place in places:
        for kind, value in stacks[place].items():
            if kind != "mask":
                node.set_input(f"{kind}_{place}", value)
    return node.run().outputs


def test_a_stack_without_a_result_is_left_out(
    stacks: list[dict[str, Any]], tmp_path: Path
) -> None:
    outputs = fuse(stacks, tmp_path, (0, 2))
    record = FusionRecord.from_dict(outputs.record)
    assert record.status == "done"
    assert record.used == (IMAGES[0], IMAGES[2])
    assert record.stacks[-1].reason == NO_RESULT
    assert set(outputs.out_transforms) == set(record.used)
    figure = pe.Node(StacksFigure(3, images=IMAGES), name="draw", base_dir=str(tmp_path))
    figure.inputs.trait_set(fusion=outputs.record, fused_file=outputs.out_file)
    figure.set_input("sr_0", stacks[0]["sr"])
    figure.set_input("sr_2", stacks[2]["sr"])
    drawn = Path(figure.run().outputs.out_file).read_text()
    names = ["A: sub-01_acq-a_T2w, the frame", "B: sub-01_acq-c_T2w", "Mean of the stacks"]
    assert all(f">{name}</tspan>" in drawn for name in [*names, "Fused"])
    assert drawn.count('class="layer"') == 3
    assert drawn.count('class="layer shown"') == 1

    masks = pe.Node(FuseMasks(3, images=IMAGES), name="masks", base_dir=str(tmp_path))
    masks.inputs.trait_set(fusion=outputs.record, reference_file=outputs.out_file)
    masks.set_input("mask_0", stacks[0]["mask"])
    masks.set_input("mask_2", stacks[2]["mask"])
    joined = masks.run().outputs
    mask = Volume.load(joined.out_mask, dtype=np.uint8)
    quality = tmp_path / "qc.json"
    quality.write_text(json.dumps(outputs.record))
    CompleteFusedQuality(in_file=str(quality), later=[joined.record], segmentations=[]).run()
    written = FusionRecord.from_dict(json.loads(quality.read_text()))
    assert written.brain_mask_ml == pytest.approx(np.count_nonzero(mask.data) * 0.008, abs=0.1)
    assert written.verdict is not None
    assert {check.name for check in written.verdict.looks} >= {"stacks", "mask_volume"}
    fused = Volume.load(outputs.out_file)
    assert mask.same_grid(fused)
    assert np.mean(fused.data[mask.data > 0]) > 5 * np.mean(fused.data[mask.data == 0])


@pytest.mark.parametrize("places", [(), (1,)])
def test_fewer_than_two_are_not_fused(
    stacks: list[dict[str, Any]], tmp_path: Path, places: tuple[int, ...]
) -> None:
    outputs = fuse(stacks, tmp_path, places)
    assert outputs.out_file is None
    assert outputs.record["Status"] == "skipped"
    assert outputs.record["Reason"] == f"{len(places)} of 3 stacks have a result; two are needed"
    assert len(outputs.record["Stacks"]) == 3


def test_a_failure_leaves_a_record(
    stacks: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ValueError("no room")

    monkeypatch.setattr("bids_sr.sr.fuse_stacks", fail)
    outputs = fuse(stacks, tmp_path, (0, 1, 2))
    assert outputs.out_file is None
    record = FusionRecord.from_dict(outputs.record)
    assert (record.status, record.reason) == ("failed", "ValueError: no room")
    assert record.images == tuple(IMAGES)

    names = {name: str(tmp_path / f"{name}.nii.gz") for name in ("out_mask", "out_uncertainty")}
    save = SaveFused(
        **{"in_file": None, "in_uncertainty": None, "in_mask": None, "in_transforms": {}},
        **{"products": {}, "metadata": {}, "sources": {}, "transforms": {}, **names},
        **{"output_dir": str(tmp_path), "suffix": "T2w", "name": "sub-01_desc-fused_T2w"},
        record_key="Fusion",
        fusion=outputs.record,
        out_quality=str(tmp_path / "qc.json"),
    )
    save.run()
    tool = {"Tool": "atropos", "Status": "failed", "Warning": "no segmentation by atropos: y"}
    complete = CompleteFusedQuality(
        in_file=str(tmp_path / "qc.json"),
        later=[{}, {"Warning": "no figure: x"}],
        segmentations=[tool],
    )
    complete.run()
    complete.run()  # nothing twice
    written = json.loads((tmp_path / "qc.json").read_text())
    assert written["Product"] == "sub-01_desc-fused_T2w"
    assert written["Warnings"] == ["no segmentation by atropos: y", "no figure: x"]
    assert written["Segmentations"]["atropos"]["Status"] == "failed"
    assert written["Reason"] == "ValueError: no room"
    assert "Verdict" not in written


def test_a_record_is_read_as_it_was_written(stacks: list[dict[str, Any]], tmp_path: Path) -> None:
    record = FusionRecord.from_dict(fuse(stacks, tmp_path, (0, 1, 2)).record)
    assert FusionRecord.from_dict(record.to_dict()) == record
    assert FusionRecord.from_dict({"Stacks": "x", "Status": 3}) == FusionRecord()
