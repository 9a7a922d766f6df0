"""What other tools get of a run: one small dataset, one run, read by the other tools' own code.

The dataset has what makes a view hard: two sessions, an existing ``rec-``, an isotropic image, a
scan that fails, a phase image, inherited sidecars, tables and sidecars that name images.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np
import pytest

from bids_sr.bids import (
    OutputPaths,
    Selection,
    open_layout,
    output_paths,
    plan_images,
    validate_dataset,
)
from bids_sr.imaging import Acquisition, Grid, Volume, degrade, lay_out_grid

ACQUISITION = Acquisition(spacing=12.0, thickness=10.0, slice_axis=2)
FACTS = {"SliceThickness": 10.0, "SpacingBetweenSlices": 12.0, "MRAcquisitionType": "2D"}
LANDMARKS = {"NAS": [50, 90, 10], "LPA": [10, 50, 8], "RPA": [90, 50, 8]}
OPTIONS = [
    *("--sr-method", "bspline", "--skull-strip-method", "none", "--sloppy"),
    *("--denoise-method", "none", "--anat-biascorrect", "none", "--level", "full"),
    *("--nprocs", "2", "--omp-nthreads", "1"),
]
ONE, TWO = "sub-01/ses-1/anat/sub-01_ses-1", "sub-01/ses-2/anat/sub-01_ses-2"


@dataclass(frozen=True)
class Run:
    bids: Path
    out: Path
    view: Path
    work: Path
    masks: Path

    def again(
        self, *words: str, contrasts: tuple[str, ...] = ("T2w", "FLAIR")
    ) -> subprocess.CompletedProcess[str]:
        folders = ["--raw-like-dir", self.view, "-w", self.work, "-d", f"masks={self.masks}"]
        command = [sys.executable, "-m", "bids_sr", self.bids, self.out, "participant", *folders]
        command += ["--surface-contrasts", *contrasts] if contrasts else []
        command += ["--skip-bids-validation", "--use-plugin", self.masks / "linear.yml"]
        return subprocess.run(
            [*map(str, command), *OPTIONS, *words], capture_output=True, text=True, timeout=600
        )


def write_text(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def write_series(path: Path, shape: tuple[int, ...], spacings: tuple[float, ...]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nb.Nifti1Image(np.ones(shape, dtype=np.int16), np.diag([*spacings[:3], 1]))
    image.header.set_zooms(spacings)
    image.header.set_xyzt_units("mm", "sec")
    image.to_filename(path)


def write_dataset(bids: Path, masks: Path, head: Volume) -> None:
    thick = degrade(head, ACQUISITION, noise_fraction=0.01, seed=1)
    description = {"Name": "hand-over", "BIDSVersion": "1.9.0", "DatasetType": "raw"}
    description |= {"License": "CC0", "DatasetDOI": "doi:10.0.2.3/dataset"}
    write_text(bids / "dataset_description.json", description)
    write_text(bids / "README", "Thick-slice images degraded from the MNI152 template.\n" * 5)
    write_text(bids / "participants.tsv", "participant_id\tage\nsub-01\t30\nsub-02\t40\n")
    write_text(bids / "phenotype" / "iq.tsv", "participant_id\tiq\nsub-01\t100\n")
    write_text(bids / "code" / "convert.py", "")
    write_text(bids / "T1w.json", {"MagneticFieldStrength": 3, "PixelSpacing": [2, 2], **FACTS})
    write_text(bids / "task-rest_bold.json", {"TaskName": "rest", "RepetitionTime": 2.0})
    for stem in (f"{ONE}_rec-norm_T1w", f"{TWO}_T1w", f"{ONE}_T2w", f"{ONE}_part-mag_FLAIR"):
        thick.save(bids / f"{stem}.nii.gz")
        if "T1w" not in stem:
            write_text(bids / f"{stem}.json", FACTS)
    write_text(bids / f"{TWO}_T1w.json", {"AnatomicalLandmarkCoordinates": LANDMARKS})
    thick.save(bids / f"{ONE}_part-phase_FLAIR.nii.gz")
    write_text(bids / f"{ONE}_part-phase_FLAIR.json", {"Units": "arbitrary"})
    head.save(bids / f"{ONE}_acq-iso_T1w.nii.gz")
    for ses, grid in (("1", head), ("2", thick)):
        mask = grid.with_data((grid.data > 100).astype(np.float32))
        name = f"sub-01/ses-{ses}/anat/sub-01_ses-{ses}_desc-brain_mask.nii.gz"
        mask.save(masks / name, dtype=np.uint8)
    write_text(masks / "linear.yml", "plugin: Linear")  # all in one process: fast
    empty = thick.with_data(np.full_like(thick.data, 7))
    empty.save(bids / f"{TWO}_FLAIR.nii.gz")
    thick.save(bids / "sub-02/anat/sub-02_T1w.nii.gz")
    func = bids / "sub-01/ses-2/func/sub-01_ses-2_task-rest_bold.nii.gz"
    write_series(func, (8, 8, 4, 3), (3, 3, 4, 2))
    fmap = bids / "sub-01/ses-2/fmap/sub-01_ses-2_dir-AP_epi.nii.gz"
    write_series(fmap, (8, 8, 4), (3, 3, 4))
    intended = ["bids::" + f"{TWO}_T1w.nii.gz", "bids::" + func.relative_to(bids).as_posix()]
    facts = {"PhaseEncodingDirection": "j", "TotalReadoutTime": 0.05, "IntendedFor": intended}
    write_text(fmap.with_name("sub-01_ses-2_dir-AP_epi.json"), facts)
    scans = [f"{ONE}_{name}" for name in ("rec-norm_T1w", "acq-iso_T1w", "T2w")]
    scans += [f"{ONE}_part-{part}_FLAIR" for part in ("mag", "phase")]
    rows = "".join(f"anat/{Path(scan).name}.nii.gz\t2000-01-01T12:00:00\n" for scan in scans)
    write_text(bids / "sub-01/ses-1/sub-01_ses-1_scans.tsv", "filename\tacq_time\n" + rows)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    from nilearn.datasets import load_mni152_template

    root = tmp_path_factory.mktemp("hand_over")
    hand_over = Run(*(root / name for name in ("bids", "out", "view", "work", "masks")))
    template = load_mni152_template(resolution=4)
    head = Volume(data=1000 * template.get_fdata(dtype="float32"), affine=template.affine)
    write_dataset(hand_over.bids, hand_over.masks, head)
    before = {path: path.stat().st_mtime_ns for path in hand_over.bids.rglob("*")}
    done = hand_over.again("--participant-label", "01")
    assert done.returncode == 1, done.stdout + done.stderr  # one scan is constant
    assert f"{TWO}_FLAIR.nii.gz: as acquired in" in done.stderr
    assert {path: path.stat().st_mtime_ns for path in hand_over.bids.rglob("*")} == before
    yield hand_over
    shutil.rmtree(root)


def files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if not path.is_dir()}


def stored(path: Path) -> Any:
    return json.loads(path.read_text())


def test_the_view_is_valid_raw_bids(run: Run) -> None:
    assert validate_dataset(run.bids).errors == ()
    validation = validate_dataset(run.view)
    assert validation.note == ""
    assert validation.errors == ()
    description = stored(run.view / "dataset_description.json")
    assert description["DatasetType"] == "raw"
    assert [maker["Name"] for maker in description["GeneratedBy"]] == ["bids_sr"]
    assert "DatasetDOI" not in description  # it is that of another dataset
    assert description["SourceDatasets"][0]["DOI"] == "doi:10.0.2.3/dataset"


def test_every_scan_is_in_the_view_once(run: Run) -> None:
    assert files(run.view) == {
        "README",
        "dataset_description.json",
        "participants.tsv",
        "phenotype/iq.tsv",
        "task-rest_bold.json",
        "sub-01/ses-1/sub-01_ses-1_scans.tsv",
        *(f"{ONE}_rec-normSR_T1w{end}" for end in (".nii.gz", ".json")),
        *(f"{ONE}_acq-iso_T1w{end}" for end in (".nii.gz", ".json")),
        *(f"{ONE}_rec-SR_T2w{end}" for end in (".nii.gz", ".json")),
        *(f"{ONE}_rec-SR_part-mag_FLAIR{end}" for end in (".nii.gz", ".json")),
        *(f"{TWO}_rec-SR_T1w{end}" for end in (".nii.gz", ".json")),
        f"{TWO}_FLAIR.nii.gz",  # failed: as acquired
        "sub-01/ses-2/func/sub-01_ses-2_task-rest_bold.nii.gz",
        "sub-01/ses-2/fmap/sub-01_ses-2_dir-AP_epi.nii.gz",
        "sub-01/ses-2/fmap/sub-01_ses-2_dir-AP_epi.json",
    }
    for relpath in files(run.view):
        path = run.view / relpath
        if path.is_symlink():
            assert not path.readlink().is_absolute()
            assert path.resolve() == (run.bids / relpath).resolve()
        assert path.exists()
    product = run.out / f"{ONE}_rec-norm_res-4mm_desc-sr_T1w.nii.gz"
    copy = run.view / f"{ONE}_rec-normSR_T1w.nii.gz"
    assert copy.read_bytes() == product.read_bytes()
    assert not copy.is_symlink()


def test_sidecars_and_tables_of_the_view_say_what_holds(run: Run) -> None:
    sidecar = stored(run.view / f"{TWO}_rec-SR_T1w.json")
    assert sidecar["SliceThickness"] == sidecar["SpacingBetweenSlices"] == pytest.approx(4.0)
    assert sidecar["MagneticFieldStrength"] == 3  # inherited
    assert sidecar["SuperResolution"]["SliceThickness"] == 10.0
    # In voxels of the acquired grid, or of its grid; Sources: for derivatives only.
    for name in ("AnatomicalLandmarkCoordinates", "PixelSpacing", "Sources", "SkullStripped"):
        assert name not in sidecar
    assert stored(run.view / f"{ONE}_acq-iso_T1w.json")["PixelSpacing"] == [2, 2]
    fmap = stored(run.view / "sub-01/ses-2/fmap/sub-01_ses-2_dir-AP_epi.json")
    assert fmap["IntendedFor"][0] == f"bids::{TWO}_rec-SR_T1w.nii.gz"
    with (run.view / "sub-01/ses-1/sub-01_ses-1_scans.tsv").open(newline="") as stream:
        rows = [row["filename"] for row in csv.DictReader(stream, delimiter="\t")]
    ends = ("rec-normSR_T1w", "acq-iso_T1w", "rec-SR_T2w", "rec-SR_part-mag_FLAIR")
    assert rows == [f"anat/sub-01_ses-1_{end}.nii.gz" for end in ends]


def test_reports_only_brings_the_view_up_to_date(run: Run) -> None:
    copy, lost = run.view / f"{ONE}_rec-SR_T2w.nii.gz", run.view / f"{TWO}_rec-SR_T1w.nii.gz"
    before = copy.stat().st_mtime_ns
    lost.unlink()
    # As if an earlier run had left the acquired image there.
    (run.view / f"{TWO}_T1w.nii.gz").symlink_to(run.bids / f"{TWO}_T1w.nii.gz")
    expected = files(run.view) | {lost.relative_to(run.view).as_posix()}
    done = run.again("--participant-label", "01", "--reports-only")
    assert done.returncode == 0, done.stderr
    assert files(run.view) == expected - {f"{TWO}_T1w.nii.gz"}
    assert copy.stat().st_mtime_ns == before


def test_images_handed_on_are_what_freesurfer_reads(run: Run) -> None:
    """recon-all -i: one affine in both forms, millimetres, finite, nothing below zero."""
    images = [*run.out.glob("sub-01/**/*_desc-preproc_T?w.nii.gz")]
    images += [*run.view.glob("sub-01/**/anat/*SR_*.nii.gz")]
    assert len(images) == 3 + 4
    for path in images:
        image = nb.load(path)
        assert image.header["qform_code"] == image.header["sform_code"] == 1
        np.testing.assert_allclose(image.get_qform(), image.get_sform(), atol=1e-5)
        assert image.header.get_xyzt_units()[0] == "mm"
        data = image.get_fdata()
        assert np.isfinite(data).all()
        assert data.min() >= 0
        assert data.ndim == 3
        assert max(np.array(data.shape) * image.header.get_zooms()) <= 256


SMRIPREP = """
import json, sys
from smriprep.utils.bids import collect_derivatives
out, sessions = sys.argv[1], json.loads(sys.argv[2])
spaces = ["MNI152NLin2009cAsym", "fsnative"]
print(json.dumps([collect_derivatives(out, "01", spaces, session_id=one) for one in sessions]))
"""
BUILD = """
import json, sys
from niworkflows.utils.spaces import Reference, SpatialReferences
from smriprep.workflows.anatomical import init_anat_fit_wf
from smriprep.workflows.surfaces import _check_cw256
from niworkflows.interfaces.freesurfer import detect_inputs
found, t1w, out = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
def nodes(precomputed, mode, freesurfer):
    workflow = init_anat_fit_wf(
        bids_root=".", output_dir=out, freesurfer=freesurfer, hires=True, longitudinal=False,
        msm_sulc=False, t1w=[t1w], t2w=[], flair=[], skull_strip_mode=mode,
        skull_strip_template=Reference("MNI152NLin2009cAsym"), precomputed=precomputed,
        omp_nthreads=1, spaces=SpatialReferences(["MNI152NLin2009cAsym"], checkpoint=True))
    return workflow.list_node_names()
image = found["t1w_preproc"]
print(json.dumps({
    "ours": nodes(found, "force", False), "surfaces": nodes(found, "force", True),
    "raw": nodes({}, "skip", False), "flags": _check_cw256([image], []),
    "inputs": detect_inputs([image], [found["t2w_preproc"]])}, default=bool))
"""


def smriprep(script: str, home: Path, *words: str) -> Any:
    """Run sMRIPrep's own code in a process of its own, with a template folder of one template."""
    pytest.importorskip("smriprep", reason="pip install smriprep, or bids_sr[test]")
    template = home / "tpl-MNI152NLin2009cAsym"
    write_text(template / "template_description.json", {"Name": "a stand-in"})
    for name in ("res-01_T1w", "res-02_T1w", "res-01_desc-brain_mask", "res-02_desc-brain_mask"):
        write_text(template / f"tpl-MNI152NLin2009cAsym_{name}.nii.gz", "never read")
    environment = {"TEMPLATEFLOW_HOME": str(home), "TEMPLATEFLOW_AUTOUPDATE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", script, *words],
        capture_output=True,
        text=True,
        env={**os.environ, **environment, "NO_ET": "1"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def every_other_name(run: Run) -> list[Path]:
    """Name all that an image may bring, also what this run did not write (figures apart)."""
    images = plan_images(open_layout(run.bids), Selection(participant_label=("01",)))
    fields = {field.name for field in dataclasses.fields(OutputPaths)} - {"figures", "preproc"}
    return [
        getattr(output_paths(run.out, image), field)
        for image in images
        if image.processed
        for field in sorted(fields)
        if not (field == "mask" and image.is_reference and image.suffix == "T1w")
    ]


def test_smriprep_finds_our_t1w_and_mask_and_nothing_else(run: Run, tmp_path: Path) -> None:
    others = every_other_name(run)
    assert len(others) > 40
    absent = [path for path in others if not path.exists()]
    for path in absent:
        path.touch()
    first, second = smriprep(SMRIPREP, tmp_path, str(run.out), '["1", "2"]')
    for path in absent:
        path.unlink()
    assert first == {
        "t1w_preproc": str(run.out / f"{ONE}_acq-iso_desc-preproc_T1w.nii.gz"),
        "t1w_mask": str(run.out / f"{ONE}_acq-iso_desc-brain_mask.nii.gz"),
        "t2w_preproc": str(run.out / f"{ONE}_desc-preproc_T2w.nii.gz"),
        "transforms": {},
    }
    assert second == {
        "t1w_preproc": str(run.out / f"{TWO}_desc-preproc_T1w.nii.gz"),
        "t1w_mask": str(run.out / f"{TWO}_desc-brain_mask.nii.gz"),
        "transforms": {},
    }


def test_smriprep_builds_on_them_without_n4_and_brain_extraction(run: Run, tmp_path: Path) -> None:
    (collected,) = smriprep(SMRIPREP, tmp_path, str(run.out), '["1"]')
    t1w = str(run.bids / f"{ONE}_rec-norm_T1w.nii.gz")
    built = smriprep(BUILD, tmp_path, json.dumps(collected), t1w, str(tmp_path))
    parts = {name: {node.split(".")[0] for node in built[name]} for name in ("ours", "surfaces")}
    assert {"anat_template_wf", "n4_only_wf"} <= {node.split(".")[0] for node in built["raw"]}
    for names in parts.values():
        assert {"anat_validate", "apply_mask", "fast"} <= names
        assert not names & {"anat_template_wf", "n4_only_wf", "brain_extraction_wf", "binarize"}
    assert not any("n4" in node.lower() for node in built["ours"] + built["surfaces"])
    assert "refinement_wf" not in parts["surfaces"]  # the mask is taken as it is
    assert built["flags"] == []  # no -cw256
    assert built["inputs"] == [None, None, False, None]  # 4 mm: no T2w for surfaces, no -hires


LIMITS = """
import json, sys
import nibabel as nb, numpy as np
from niworkflows.interfaces.freesurfer import detect_inputs
answers = []
for zooms in json.loads(sys.argv[1]):
    nb.Nifti1Image(np.zeros((2, 2, 2), np.uint8), np.diag([*zooms, 1])).to_filename("one.nii")
    t2w, flair, high_resolution, _ = detect_inputs(["one.nii"], ["one.nii"], [])
    answers.append([bool(t2w), bool(high_resolution)])
print(json.dumps(answers))
"""


def test_surface_limits_are_as_the_page_says(tmp_path: Path, monkeypatch: Any) -> None:
    """As in docs/how-to/run-before-fmriprep.md: 1.2 mm for a T2w, 0.95 mm for -hires."""
    monkeypatch.chdir(tmp_path)
    acquired = [
        Grid((320, 320, 36), np.diag([0.719, 0.719, 4, 1])),
        Grid((406, 448, 36), np.diag([0.513, 0.513, 4, 1])),
        Grid((35, 256, 256), np.diag([4.8, 1.016, 1.016, 1])),
        Grid((256, 256, 22), np.diag([0.86, 0.86, 6.6, 1])),
    ]
    coarse = Grid((192, 192, 30), np.diag([1.25, 1.25, 5, 1]))
    axes = [int(np.argmax(grid.spacings)) for grid in acquired]
    scans = list(zip(acquired, axes, strict=True))
    raw = [list(grid.spacings) for grid in acquired]
    default = [list(lay_out_grid(grid, slice_axis=axis).spacings) for grid, axis in scans]
    fine = [
        list(lay_out_grid(grid, slice_axis=axis, output_resolution=0.8).spacings)
        for grid, axis in scans
    ]
    over = list(lay_out_grid(coarse, slice_axis=2).spacings)
    answers = smriprep(LIMITS, tmp_path, json.dumps([*raw, *default, *fine, over]))
    assert answers[:4] == [[False, False]] * 4
    assert answers[4:8] == [[True, False]] * 4
    assert answers[8:12] == [[True, True]] * 4
    assert answers[12] == [False, False]  # 1.25 mm stays 1.25 mm


def test_one_reference_a_subject_is_what_a_run_over_sessions_needs(
    run: Run, tmp_path: Path
) -> None:
    words = ("--participant-label", "01", "--anat-reference-per", "subject")
    done = run.again(*words, "--anat-reference", "session=2")
    assert "is the reference now" in done.stderr
    (collected,) = smriprep(SMRIPREP, tmp_path, str(run.out), "[null]")
    assert collected == {
        "t1w_preproc": str(run.out / f"{TWO}_desc-preproc_T1w.nii.gz"),
        "t1w_mask": str(run.out / f"{TWO}_desc-brain_mask.nii.gz"),
        "t2w_preproc": str(run.out / f"{ONE}_desc-preproc_T2w.nii.gz"),
        "transforms": {},
    }


def test_no_contrast_refines_surfaces_unasked(run: Run, tmp_path: Path) -> None:
    """After a run that was asked to hand on T2w and FLAIR: what it handed on goes."""
    done = run.again("--participant-label", "01", contrasts=())
    assert "removed sub-01_ses-1_desc-preproc_T2w.nii.gz: this run provides no T2w" in done.stderr
    assert "FLAIR and T2w images are in" in done.stderr
    (collected,) = smriprep(SMRIPREP, tmp_path, str(run.out), '["1"]')
    assert sorted(collected) == ["t1w_mask", "t1w_preproc", "transforms"]
    super_resolved = {path.name for path in run.view.glob("sub-01/**/anat/*SR_*.nii.gz")}
    assert super_resolved == {
        "sub-01_ses-1_rec-normSR_T1w.nii.gz",
        "sub-01_ses-2_rec-SR_T1w.nii.gz",
    }
    t2w = run.view / f"{ONE}_T2w.nii.gz"
    assert t2w.resolve() == (run.bids / f"{ONE}_T2w.nii.gz").resolve()
