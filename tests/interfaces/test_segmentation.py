"""The node of a segmentation: tools in this process, and programs.

No FreeSurfer and no LST-AI is at hand where tests run.  A STAND-IN of each program, a small
script on the PATH, checks the command line that it gets and writes a label map where the
program would; what the tools find is not tested by it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from bids_sr.imaging import Volume
from bids_sr.interfaces.outputs import SaveDerivatives
from bids_sr.interfaces.reportlets import SegmentationFigure
from bids_sr.interfaces.segmentation import SegmentImage
from bids_sr.interfaces.segmentation_on_slices import SegmentationOnSlices
from bids_sr.records.learning_curve import NO_CURVE
from bids_sr.records.method_record import MethodRecord
from bids_sr.records.quality import QualityRecord
from bids_sr.records.step_record import StepRecord

STAND_IN = """#!{python}
# A STAND-IN for {name}: it segments nothing.
import json, sys
import nibabel as nb, numpy as np
argv = sys.argv[1:]
json.dump(argv, open("{seen}", "w"))
if "{name}" == "lst":
    assert argv[::2] == ["--t1", "--flair", "--output", "--temp", "--device", "--threads"], argv
    image, out = argv[3], argv[5] + "/space-flair_desc-annotated_seg-lst.nii.gz"
elif "{name}" == "run_samseg":
    assert argv[::2] == ["--input", "--output", "--threads"], argv
    image, out = argv[1], argv[3] + "/seg.mgz"
else:
    assert argv[0] == "--i" and argv[2] == "--o", argv
    image, out = argv[1], argv[3]
source = nb.load(image)
labels = np.zeros(source.shape, np.int32)
labels[2:6, 2:6, 1:4] = {label}
kind = nb.MGHImage if out.endswith("mgz") else nb.Nifti1Image
nb.save(kind(labels, source.affine), out)
if "--save_lesion_probabilities" in argv:
    share = nb.Nifti1Image((labels > 0).astype(np.float32), source.affine)
    nb.save(share, out.replace(".nii.gz", ".lesion_probs.nii.gz"))
"""
PROGRAMS = {
    "synthseg": ("mri_synthseg", 2),
    "wmh-synthseg": ("mri_WMHsynthseg", 77),
    "samseg": ("run_samseg", 2),
    "lst-ai": ("lst", 3),
}


@pytest.fixture
def image(tmp_path: Path) -> Path:
    data = np.random.default_rng(0).normal(100, 5, (12, 14, 6)).astype(np.float32)
    return Volume(data, np.diag([1.0, 1.0, 1.0, 1.0])).save(tmp_path / "image.nii.gz")


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of the stand-ins, first on the PATH; each writes what it was called with."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, label in PROGRAMS.values():
        text = STAND_IN.format(
            python=sys.executable, name=name, seen=tmp_path / f"{name}.json", label=label
        )
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    (tmp_path / "FreeSurferColorLUT.txt").write_text(
        "2 Left-Cerebral-White-Matter 245 245 245 0\n77 WM-hypointensities 200 70 255 0\n"
    )
    monkeypatch.setenv("FREESURFER_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


@pytest.mark.usefixtures("programs")
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_is_run_and_read(name: str, image: Path, tmp_path: Path) -> None:
    program, label = PROGRAMS[name]
    cwd = tmp_path / "node"
    cwd.mkdir()
    done = SegmentImage(
        in_file=image, in_mask=None, tool=name, companion_file=image, num_threads=3
    ).run(cwd=cwd)
    record = done.outputs.record
    assert record["Status"] == "done", record
    argv = json.loads((tmp_path / f"{program}.json").read_text())
    assert argv[argv.index("--threads") + 1] == "3"
    assert str(image) in argv
    files = done.outputs.out_files
    labels = Volume.load(files["labels"], dtype=np.int32)
    assert set(np.unique(labels.data)) == {0, label}
    rows = [line.split("\t") for line in Path(files["volumes"]).read_text().splitlines()]
    assert rows[0] == ["index", "name", "voxels", "volume_ml"]
    own = next(row for row in rows[1:] if row[0] == str(label))
    assert own[2:] == ["48", "0.048"]
    assert record["VolumesMl"][own[1]] == 0.048
    expected = {"wmh-synthseg": {"map-lesion", "mask-lesion"}, "lst-ai": {"mask-lesion"}}
    assert set(files) == {"labels", "table", "volumes"} | expected.get(name, set())


@pytest.mark.usefixtures("programs")
def test_a_program_that_fails_stops_nothing(programs: Path, image: Path, tmp_path: Path) -> None:
    (programs / "run_samseg").write_text("#!/bin/sh\necho out of luck >&2\nexit 3\n")
    done = SegmentImage(in_file=image, in_mask=None, tool="samseg").run(cwd=tmp_path)
    record = done.outputs.record
    assert record["Status"] == "failed"
    assert "out of luck" in record["Warning"]
    assert "run_samseg --input" in record["Warning"]
    assert done.outputs.out_labels is None
    assert done.outputs.out_files == {}


@pytest.mark.parametrize("tool", ["atropos", "wmh"])
def test_an_image_without_a_mask_is_refused_plainly(
    tool: str, image: Path, tmp_path: Path
) -> None:
    done = SegmentImage(in_file=image, in_mask=None, tool=tool).run(cwd=tmp_path)
    record = done.outputs.record
    assert record["Status"] == "failed"
    assert record["Warning"].startswith(f"no segmentation by {tool}: the image has no brain mask")
    assert done.outputs.out_files == {}


def test_a_tool_that_breaks_down_stops_nothing_either(
    image: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def break_down(*_: object) -> None:
        raise RuntimeError("non-zero status 1")

    monkeypatch.setattr("bids_sr.engines.segmentation.atropos.Atropos.segment", break_down)
    done = SegmentImage(in_file=str(image), in_mask=str(image), tool="atropos").run(
        cwd=str(tmp_path)
    )
    assert done.outputs.out_labels is None
    assert done.outputs.record["Status"] == "failed"
    assert "RuntimeError: non-zero status 1" in done.outputs.record["Warning"]
    assert "Traceback" in caplog.text  # the place is in the log


def test_another_contrast_is_skipped_with_the_reason(image: Path, tmp_path: Path) -> None:
    done = SegmentImage(
        in_file=image, in_mask=None, tool="wmh", refusal="wmh is made for FLAIR, not for T1w"
    ).run(cwd=tmp_path)
    record = done.outputs.record
    assert (record["Tool"], record["Status"]) == ("wmh", "skipped")
    assert record["Reason"] == "wmh is made for FLAIR, not for T1w"
    assert "Warning" not in record


def test_results_are_saved_with_their_sidecars(image: Path, tmp_path: Path) -> None:
    table = tmp_path / "table.tsv"
    table.write_text("index\tname\n")
    paths = {
        "labels": tmp_path / "out" / "a_dseg.nii.gz",
        "table": tmp_path / "out" / "a_dseg.tsv",
    }
    paths["mask-lesion"] = tmp_path / "out" / "a_mask.nii.gz"
    done = SaveDerivatives(
        in_files={"labels": str(image), "table": str(table)},
        out_paths={name: str(path) for name, path in paths.items()},
        metadata={"labels": {"Sources": ["bids::x"]}, "mask-lesion": {"Type": "Lesion"}},
        record={"Method": "m"},
        record_key="Segmentation",
    ).run(cwd=tmp_path)
    assert len(done.outputs.out_files) == 2
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["a_dseg.json", "a_dseg.nii.gz", "a_dseg.tsv"]
    sidecar = json.loads((tmp_path / "out" / "a_dseg.json").read_text())
    assert sidecar == {"Sources": ["bids::x"], "Segmentation": {"Method": "m"}}


def test_the_qc_file_has_a_row_a_tool() -> None:
    records = [
        {"Tool": "wmh", "Status": "done", "Count": 3, "Seconds": 2.0},
        {"Tool": "atropos", "Status": "refused", "Warning": "no mask", "Seconds": 0.1},
    ]
    quality = QualityRecord.of(
        image="sub-01/anat/sub-01_FLAIR.nii.gz",
        suffix="FLAIR",
        action="super-resolve",
        sloppy=False,
        steps={},
        method=MethodRecord(),
        curve=NO_CURVE,
        segmentations=tuple(map(StepRecord, records)),
    ).to_dict()
    assert quality["Segmentations"] == {"wmh": records[0], "atropos": records[1]}
    assert quality["Warnings"] == ["no mask"]
    assert quality["TimingsSeconds"] == {"segmentation_wmh": 2.0, "segmentation_atropos": 0.1}


def test_without_a_fused_volume_nothing_is_segmented(tmp_path: Path) -> None:
    segment = SegmentImage(in_file=None, in_mask=None, tool="atropos").run(cwd=str(tmp_path))
    record = segment.outputs.record
    assert (record["Status"], record["Reason"]) == ("skipped", "there is no image to segment")
    on_slices = SegmentationOnSlices(
        in_files=segment.outputs.out_files,
        segmentation=record,
        sr_file=None,
        slices_file=None,
        acquisition=None,
    ).run(cwd=str(tmp_path))
    assert on_slices.outputs.out_files == {}
    assert on_slices.outputs.record["Status"] == "skipped"
    figure = SegmentationFigure(in_file=None, in_labels=None, colours=[]).run(cwd=str(tmp_path))
    assert figure.outputs.out_file is None
