"""A guide applied by the interface: used, refused, missing, failed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nipype.interfaces.base import Undefined
from nipype.pipeline import engine as pe

from bids_sr.bids.output_sidecars import as_made
from bids_sr.imaging import Acquisition, Volume, resample
from bids_sr.interfaces.guide import NOT_USED, ApplyGuide
from bids_sr.interfaces.reportlets import AlignedGuideFigure, GuideFigure
from bids_sr.interfaces.super_resolution import SuperResolve
from bids_sr.records.quality import QualityRecord
from bids_sr.sr.together import registration, relation

SOURCE = "bids:raw:sub-01/anat/sub-01_T1w.nii.gz"


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relation, "STEPS", 60)
    monkeypatch.setattr(relation, "_BATCH", 4096)
    monkeypatch.setattr(registration, "_POINTS", 20_000)


@pytest.fixture(scope="module")
def made(thick: Volume, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Return what the super-resolution of the small head gives to the step."""
    folder = tmp_path_factory.mktemp("made")
    slices = str(thick.save(folder / "thick.nii.gz"))
    node = pe.Node(
        SuperResolve(
            in_file=slices,
            acquisition=Acquisition(spacing=6.0, thickness=5.0, slice_axis=2),
            sr_method="finetuned",
            parameters={"adapt": "none", "device": "cpu"},
            output_resolution=2.0,
            keep_learned=True,
        ),
        name="super_resolve",
        base_dir=str(folder),
    )
    outputs = node.run().outputs
    return {
        "sr_file": outputs.out_file,
        "uncertainty": outputs.out_uncertainty,
        "method": outputs.record,
        "slices": slices,
        "acquisition": outputs.acquisition,
        "learned": outputs.learned,
        "source": SOURCE,
    }


@pytest.fixture(scope="module")
def guide(mni152_2mm: Volume, tmp_path_factory: pytest.TempPathFactory) -> Volume:
    """Return the head with its tones in another order."""
    scaled = mni152_2mm.data / np.percentile(mni152_2mm.data, 99)
    tones = np.interp(scaled, [0, 0.1, 0.4, 0.7, 1.0], [0, 0.9, 1.0, 0.6, 0.3])
    noise = np.random.default_rng(0).normal(0, 0.01, tones.shape)
    return mni152_2mm.with_data((500 * (tones + noise)).astype(np.float32))


def apply(made: dict[str, Any], base: Path, **inputs: Any) -> Any:
    node = pe.Node(ApplyGuide(**made, **inputs), name="apply_guide", base_dir=str(base))
    return node.run().outputs


@pytest.fixture(scope="module")
def guided(
    made: dict[str, Any], guide: Volume, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, Path]:
    folder = tmp_path_factory.mktemp("guided")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(relation, "STEPS", 150)
        patch.setattr(relation, "_BATCH", 4096)
        patch.setattr(registration, "_POINTS", 20_000)
        file = str(guide.save(folder / "guide.nii.gz"))
        return apply(made, folder, guide_file=file), folder


def test_a_guide_that_helps_is_applied_and_recorded(
    guided: tuple[Any, Path], made: dict[str, Any], guide: Volume
) -> None:
    outputs, _ = guided
    record = outputs.method.guide
    assert record is not None
    assert record.used
    assert record.source == SOURCE
    assert record.shift_mm is not None
    assert record.shift_mm < 1.0
    assert record.gain_decibel > record.gain_without_decibel + 0.2
    assert outputs.sr_file != made["sr_file"]
    before, after = Volume.load(made["sr_file"]), Volume.load(outputs.sr_file)
    assert after.same_grid(before)
    assert outputs.method.output != made["method"].output
    assert outputs.method.output.intensities == pytest.approx(
        (after.data.min(), after.data.max()), rel=1e-4
    )
    aligned = Volume.load(outputs.aligned)
    assert aligned.same_grid(after)
    inside = aligned.data > 0
    expected = resample(guide, after.grid).data
    assert np.corrcoef(aligned.data[inside], expected[inside])[0, 1] > 0.95
    assert (
        "guide"
        in QualityRecord.of(
            image="x",
            suffix="FLAIR",
            action="super-resolve",
            sloppy=False,
            steps={},
            method=outputs.method,
            curve=None,  # type: ignore[arg-type]
        ).seconds
    )


def test_the_sidecar_names_a_guide_that_was_used(
    guided: tuple[Any, Path], made: dict[str, Any]
) -> None:
    planned = {
        "Description": "Super-resolved FLAIR image",
        "Sources": ["bids:raw:x"],
        "SuperResolution": {"Assumptions": [], "Warnings": []},
    }
    with_guide = as_made(planned, guided[0].method, [])
    assert with_guide["Sources"] == ["bids:raw:x", SOURCE]
    assert with_guide["SuperResolution"]["Guide"]["Used"] is True
    assert as_made(planned, made["method"], [])["Sources"] == ["bids:raw:x"]


def test_figures_show_what_a_guide_changed_and_where_it_lies(
    guided: tuple[Any, Path], made: dict[str, Any], tmp_path: Path
) -> None:
    outputs, _ = guided
    inputs = {
        "unguided_file": made["sr_file"],
        "sr_file": outputs.sr_file,
        "aligned_guide": outputs.aligned,
        "record": outputs.method,
    }
    for kind, label in ((GuideFigure, "With the guide"), (AlignedGuideFigure, "Guide, register")):
        node = pe.Node(kind(**inputs), name=kind.__name__, base_dir=str(tmp_path))
        assert label in Path(node.run().outputs.out_file).read_text()
        without = inputs | {"aligned_guide": None, "record": made["method"]}
        node = pe.Node(kind(**without), name=f"no_{kind.__name__}", base_dir=str(tmp_path))
        assert node.run().outputs.out_file is None


def test_a_guide_of_noise_leaves_the_file_as_it_was(
    made: dict[str, Any], guide: Volume, tmp_path: Path
) -> None:
    noise = np.random.default_rng(1).normal(500, 100, guide.shape).astype(np.float32)
    file = str(guide.with_data(noise).save(tmp_path / "noise.nii.gz"))
    outputs = apply(made, tmp_path, guide_file=file)
    assert (outputs.sr_file, outputs.uncertainty) == (made["sr_file"], made["uncertainty"])
    record = outputs.method.guide
    assert not record.used
    assert record.reason
    assert f"{NOT_USED}: {record.reason}" in outputs.method.warnings
    assert outputs.method.output == made["method"].output


@pytest.mark.parametrize("missing", [None, Undefined])
def test_an_image_whose_guide_failed_goes_on_without(
    made: dict[str, Any], tmp_path: Path, missing: Any
) -> None:
    step = ApplyGuide(**made)
    step.inputs.guide_file = missing
    node = pe.Node(step, name="apply_guide", base_dir=str(tmp_path))
    outputs = node.run().outputs
    assert outputs.sr_file == made["sr_file"]
    assert outputs.method.guide.reason == "its own image has failed"


def test_a_broken_guide_and_a_failure_are_recorded(
    made: dict[str, Any], guide: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = guide.save(tmp_path / "guide.nii.gz")
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(whole.read_bytes()[:5000])
    outputs = apply(made, tmp_path / "a", guide_file=str(broken))
    assert outputs.sr_file == made["sr_file"]
    assert "broken.nii.gz" in outputs.method.guide.reason

    def fail(*_: Any, **__: Any) -> None:
        raise MemoryError("no room")

    monkeypatch.setattr("bids_sr.sr.guided", fail)
    outputs = apply(made, tmp_path / "b", guide_file=str(whole))
    assert outputs.sr_file == made["sr_file"]
    assert outputs.method.guide.reason == "MemoryError: no room"
    assert outputs.method.warnings[0] == f"{NOT_USED}: MemoryError: no room"


def test_only_the_guide_may_be_missing() -> None:
    step = ApplyGuide()
    lacking = [name for name in step.inputs.copyable_trait_names() if step.can_lack(name)]
    assert lacking == ["guide_file"]
