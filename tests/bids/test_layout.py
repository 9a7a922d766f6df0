from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bids_sr.bids.image import AnatImage, decision_row
from bids_sr.bids.layout import open_layout, plan_images
from bids_sr.bids.selection import Selection
from bids_sr.bids.sidecar import AcquisitionOverrides
from bids_sr.exceptions import InputDataError

AddImage = Callable[..., Path]
Plan = Callable[..., dict[str, AnatImage]]


def test_every_image_is_accounted_for(add_image: AddImage, plan: Plan) -> None:
    add_image("sub-01_T1w", {"SliceThickness": 4})
    add_image("sub-01_FLAIR", extension=".nii")
    add_image("sub-01_T2w", spacings=(1.0, 1.0, 1.2))
    add_image("sub-01_echo-1_MESE")
    add_image("sub-01_part-phase_T2w")
    add_image("sub-01_foo-1_T1w")
    add_image("sub-01_acq-4D_T1w", shape=(9, 8, 5, 3))
    images = plan()
    assert {stem: image.action for stem, image in images.items()} == {
        "sub-01_T1w": "super-resolve",
        "sub-01_FLAIR": "super-resolve",
        "sub-01_T2w": "pass-through",
        "sub-01_echo-1_MESE": "skip",
        "sub-01_part-phase_T2w": "skip",
        "sub-01_foo-1_T1w": "skip",
        "sub-01_acq-4D_T1w": "skip",
    }
    reasons = {stem: image.reason for stem, image in images.items()}
    assert reasons["sub-01_T1w"] == "voxels of 1 x 1 x 4 mm: anisotropy 4.00, scale 4.00"
    assert reasons["sub-01_T2w"] == (
        "voxels of 1 x 1 x 1.2 mm: anisotropy 1.20 is below --min-anisotropy 1.5"
    )
    assert reasons["sub-01_echo-1_MESE"] == (
        "suffix MESE is not among --modalities T1w T2w FLAIR PDw"
    )
    assert reasons["sub-01_part-phase_T2w"] == "part-phase is not a magnitude image"
    assert "foo-1" in reasons["sub-01_foo-1_T1w"]
    assert reasons["sub-01_acq-4D_T1w"] == (
        "4-D image of 3 volumes; --sr-method finetuned takes single volumes only"
    )
    assert sum(image.processed for image in images.values()) == 3


def test_a_series_is_planned_where_the_method_takes_it(add_image: AddImage, plan: Plan) -> None:
    add_image("sub-01_T1w", {}, shape=(9, 8, 5, 3))
    image = plan(sr_method="latent")["sub-01_T1w"]
    assert image.action == "super-resolve"
    assert image.n_frames == 3
    assert image.reason.endswith("3 frames, one by one")
    assert not image.is_reference  # a 4-D file must not become desc-preproc


def test_record_of_an_image(add_image: AddImage, plan: Plan) -> None:
    path = add_image("sub-01_ses-a_acq-2D_run-01_FLAIR", {"BodyPart": "HEAD", "SliceThickness": 3})
    (image,) = plan().values()
    assert image.path == path
    assert image.relpath == "sub-01/ses-a/anat/sub-01_ses-a_acq-2D_run-01_FLAIR.nii.gz"
    assert (image.subject, image.session, image.suffix) == ("01", "a", "FLAIR")
    assert image.entities == {
        "subject": "01",
        "session": "a",
        "acquisition": "2D",
        "run": "01",
    }
    assert image.metadata["SliceThickness"] == 3
    assert image.source_grid is not None
    assert image.target_grid is not None
    assert image.target_grid.shape == (9, 8, 20)
    assert image.target_spacing == 1.0
    assert image.scale == pytest.approx(4.0)
    assert image.brain
    assert image.processed
    assert not image.is_reference
    copy = pickle.loads(pickle.dumps(image))
    assert copy.facts == image.facts
    assert np.array_equal(copy.target_grid.affine, image.target_grid.affine)


def test_bad_files_fail_alone(add_image: AddImage, plan: Plan, dataset: Path) -> None:
    add_image("sub-01_T1w")
    add_image("sub-02_T1w").write_bytes(b"no image")
    add_image("sub-03_T1w", {"SliceThickness": "thick"})
    add_image("sub-04_T1w")
    (dataset / "sub-04/anat/sub-04_T1w.json").write_text('{"SliceThickness": ')
    add_image("sub-05_T1w")
    (dataset / "sub-05/anat/sub-05_T1w.json").write_text("[1]")
    link = add_image("sub-06_T1w")
    link.unlink()
    link.symlink_to("../../.git/annex/objects/absent.nii.gz")
    images = plan()
    assert [image.action for image in images.values()] == ["super-resolve"] + ["fail"] * 5
    assert "cannot be read as NIfTI" in images["sub-02_T1w"].reason
    assert "SliceThickness is 'thick'" in images["sub-03_T1w"].reason
    assert "sub-04_T1w.json: the sidecar cannot be read" in images["sub-04_T1w"].reason
    assert "the sidecar cannot be read (it holds a list)" in images["sub-05_T1w"].reason
    assert "git annex get" in images["sub-06_T1w"].reason


def test_what_is_no_regular_file_fails_alone(
    add_image: AddImage, plan: Plan, dataset: Path
) -> None:
    add_image("sub-01_T1w")
    add_image("sub-02_T1w")
    os.mkfifo(dataset / "sub-02/anat/sub-02_T1w.json")
    add_image("sub-03_T1w").unlink()
    os.mkfifo(dataset / "sub-03/anat/sub-03_T1w.nii.gz")
    add_image("sub-04_T1w")
    (dataset / "sub-04/anat/sub-04_T1w.json").symlink_to("/dev/zero")
    add_image("sub-05_T1w")
    (dataset / "sub-05/anat/sub-05_T1w.json").write_text("[" * 100_000 + "]" * 100_000)
    images = plan()
    assert [image.action for image in images.values()] == ["super-resolve"] + ["fail"] * 4
    assert "sub-02_T1w.json: the sidecar cannot be read (a named pipe)" in (
        images["sub-02_T1w"].reason
    )
    assert "sub-03_T1w.nii.gz: found a named pipe" in images["sub-03_T1w"].reason
    assert "sub-04_T1w.json: the sidecar cannot be read (a device)" in images["sub-04_T1w"].reason
    assert "more than 64 levels deep" in images["sub-05_T1w"].reason


@pytest.mark.parametrize("kind", ["pipe", "deep", "device"])
def test_a_description_that_cannot_be_read_is_told(
    add_image: AddImage, plan: Plan, dataset: Path, kind: str
) -> None:
    add_image("sub-01_T1w")
    path = dataset / "dataset_description.json"
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.write_text("[" * 100_000 + "]" * 100_000)
    with pytest.raises(InputDataError, match=r"dataset_description\.json: "):
        plan()


def test_output_spacing_near_the_slice_spacing_is_passed_through(
    add_image: AddImage, plan: Plan
) -> None:
    add_image("sub-01_T1w", spacings=(0.5, 0.5, 1.4))
    image = plan()["sub-01_T1w"]
    assert image.action == "pass-through"
    assert "1.40 times the output spacing of 1 mm" in image.reason
    assert image.target_grid is image.source_grid
    assert image.target_spacing == pytest.approx(1.4)
    finer = plan(output_resolution="native")["sub-01_T1w"]
    assert finer.action == "super-resolve"
    assert finer.target_spacing == pytest.approx(0.5)
    assert plan(min_anisotropy=1.3)["sub-01_T1w"].action == "super-resolve"


@pytest.mark.parametrize("thickness", ["thick", 12, -1, [3]])
def test_a_thickness_that_nothing_needs_costs_no_image(
    add_image: AddImage, plan: Plan, thickness: object
) -> None:
    add_image("sub-01_T1w", {"SliceThickness": thickness}, spacings=(1.0, 1.0, 1.0))
    image = plan()["sub-01_T1w"]
    assert image.action == "pass-through"
    assert image.facts is not None
    (warning,) = image.facts.warnings
    assert "passed through, so this does not matter" in warning
    assert "SliceThickness" in warning or "times as thick" in warning


def test_no_method_passes_every_image_through(add_image: AddImage, plan: Plan) -> None:
    add_image("sub-01_T1w")
    image = plan(sr_method="none")["sub-01_T1w"]
    assert (image.action, image.target_spacing) == ("pass-through", 4.0)
    assert image.reason == "voxels of 1 x 1 x 4 mm: --sr-method none"


def test_output_grid_and_resolution(add_image: AddImage, plan: Plan) -> None:
    add_image("sub-01_T1w")
    sliced = plan(output_grid="slice", output_resolution=0.8)["sub-01_T1w"]
    assert sliced.target_grid is not None
    assert sliced.target_grid.shape == (11, 10, 21)
    assert sliced.target_grid.spacings[2] == pytest.approx(0.8)
    assert sliced.target_spacing == 0.8


def test_slice_spacing_of_the_command_line_moves_the_grid(add_image: AddImage, plan: Plan) -> None:
    add_image("sub-01_T1w")
    image = plan(overrides=AcquisitionOverrides(slice_spacing=5.0))["sub-01_T1w"]
    assert image.source_grid is not None
    assert image.target_grid is not None
    assert image.source_grid.spacings[2] == pytest.approx(5.0)
    assert image.source_grid.affine[2, 3] == -8.0
    assert image.target_grid.shape[2] == 25


def test_subjects_and_sessions(add_image: AddImage, dataset: Path) -> None:
    for stem in ("sub-01_ses-a_T1w", "sub-01_ses-b_T1w", "sub-011_T1w", "sub-02_T1w"):
        add_image(stem)
    layout = open_layout(dataset, participant_label=["sub-01"])
    assert [image.subject for image in plan_images(layout, Selection())] == ["01", "01"]
    images = plan_images(
        layout, Selection(participant_label=("sub-01",), session_label=("ses-b",))
    )
    assert [(image.stem, image.action) for image in images] == [
        ("sub-01_ses-a_T1w", "skip"),
        ("sub-01_ses-b_T1w", "super-resolve"),
    ]
    assert images[0].reason == "session a is not among --session-label b"
    everyone = plan_images(open_layout(dataset), Selection(session_label=("a",)))
    assert everyone[2].reason == "an image without session is not among --session-label a"
    assert len(everyone) == 4


def test_missing_subjects_are_listed_with_the_existing_ones(
    add_image: AddImage, dataset: Path
) -> None:
    add_image("sub-01_T1w")
    with pytest.raises(InputDataError, match=r"no subject 77; expected labels among 01"):
        open_layout(dataset, participant_label=["sub-77"])
    layout = open_layout(dataset)
    with pytest.raises(InputDataError, match="no subject 77"):
        plan_images(layout, Selection(participant_label=("77",)))


def test_folders_that_are_no_dataset(dataset: Path) -> None:
    with pytest.raises(InputDataError, match=r"no sub-\* folder"):
        open_layout(dataset)
    with pytest.raises(InputDataError, match="no such folder"):
        open_layout(dataset / "absent")


def test_other_folders_are_not_planned(
    add_image: AddImage, plan: Plan, dataset: Path, write_nifti: Callable[..., Path]
) -> None:
    add_image("sub-01_T1w")
    for folder in ("derivatives/x", "sourcedata", "code", ".git"):
        write_nifti(dataset / folder / "sub-01/anat/sub-01_T1w.nii.gz")
    write_nifti(dataset / "sub-01/func/sub-01_task-rest_bold.nii.gz")
    assert [image.relpath for image in plan().values()] == ["sub-01/anat/sub-01_T1w.nii.gz"]


def test_names_that_would_meet_all_fail(add_image: AddImage, dataset: Path) -> None:
    add_image("sub-01_T1w")
    add_image("sub-01_T1w", extension=".nii")
    add_image("sub-02_acq-FLAIR_T1w")
    add_image("sub-02_FLAIR")
    add_image("sub-03_T1w")
    add_image("sub-03_T1w", extension=".nii").write_bytes(b"no image")
    add_image("sub-04_run-1_acq-a_T1w")
    add_image("sub-04_acq-a_run-1_T1w")
    images = {image.relpath: image for image in plan_images(open_layout(dataset), Selection())}
    assert {image.action for image in images.values()} == {"fail"}
    for first, second in (
        ("sub-01/anat/sub-01_T1w.nii", "sub-01/anat/sub-01_T1w.nii.gz"),
        ("sub-02/anat/sub-02_FLAIR.nii.gz", "sub-02/anat/sub-02_acq-FLAIR_T1w.nii.gz"),
    ):
        assert f"those of {second};" in images[first].reason
        assert f"those of {first};" in images[second].reason
        assert "none of them is used" in images[first].reason


def test_reference_is_the_finest_then_the_first(add_image: AddImage, plan: Plan) -> None:
    add_image("sub-01_ses-a_run-1_T1w", spacings=(1.0, 1.0, 5.0))
    add_image("sub-01_ses-a_run-2_T1w", spacings=(1.0, 1.0, 3.0))
    add_image("sub-01_ses-a_run-3_T1w", spacings=(1.0, 1.0, 3.0001))
    add_image("sub-01_ses-a_run-4_T1w", {"BodyPart": "KNEE"}, spacings=(1.0, 1.0, 1.0))
    add_image("sub-01_ses-a_T2w")
    add_image("sub-01_ses-a_FLAIR")
    add_image("sub-01_ses-b_T1w", spacings=(1.0, 1.0, 1.0))
    add_image("sub-02_T1w").write_bytes(b"")
    images = plan()
    assert [stem for stem, image in images.items() if image.is_reference] == [
        "sub-01_ses-a_run-2_T1w",
        "sub-01_ses-b_T1w",
    ]
    assert not images["sub-01_ses-a_run-4_T1w"].brain


def test_decision_rows(add_image: AddImage, plan: Plan) -> None:
    add_image("sub-01_ses-a_T1w", {"SliceThickness": 3, "SpacingBetweenSlices": 5})
    add_image("sub-02_T1w").write_bytes(b"")
    images = plan()
    row = decision_row(images["sub-01_ses-a_T1w"], status="done", message="slow", output="x.nii")
    assert row["participant_id"] == "sub-01"
    assert row["session_id"] == "ses-a"
    assert row["message"].startswith("SpacingBetweenSlices is 5 mm")
    assert row["message"].endswith("; slow")
    assert (row["slice_axis"], row["spacing"], row["thickness"], row["gap"]) == (
        "2",
        "4",
        "3",
        "1",
    )
    assert row["profile"] == "slr"
    failed = decision_row(images["sub-02_T1w"])
    assert (failed["action"], failed["status"], failed["session_id"]) == ("fail", "planned", "")
    assert "spacing" not in failed


def test_traces_of_float32_are_no_gap(add_image: AddImage, plan: Plan) -> None:
    add_image("sub-01_T1w", {"SliceThickness": 4 - 1e-7})
    assert decision_row(plan()["sub-01_T1w"])["gap"] == "0"


def test_real_clinical_dataset(shared_data: Path) -> None:
    root = shared_data / "clinical-2d"
    images = {image.stem: image for image in plan_images(open_layout(root), Selection())}
    files = {path.name.split(".")[0] for path in root.glob("sub-*/**/anat/*.nii.gz")}
    assert images.keys() == files
    others = {"MESE", "T2starw"}
    actions = {image.suffix in others: image.action for image in images.values()}
    assert actions == {True: "skip", False: "super-resolve"}
    gap = images["sub-gap01_acq-HFS_T1w"]
    assert gap.facts is not None
    assert gap.facts.acquisition.slice_axis == 2
    assert gap.facts.acquisition.gap == pytest.approx(0.8, abs=1e-4)
    assert all(not image.facts.warnings for image in images.values() if image.facts)
    references = [image for image in images.values() if image.is_reference]
    sessions = {(i.subject, i.session) for i in images.values() if i.suffix == "T1w"}
    assert {(image.subject, image.session) for image in references} == sessions
    assert len(references) == len(sessions)


def test_a_plan_does_not_import_what_only_reconstruction_needs() -> None:
    code = "import sys, bids_sr.bids.layout; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "bids_sr.bids.places" in loaded
    assert not {"bids.layout", "scipy.signal", "scipy.stats", "torch", "nipype", "ants"} & loaded


@pytest.mark.parametrize(
    ("spacings", "resolution", "notice"),
    [
        ((0.57, 0.57, 5.0), None, "in-plane 0.57 -> 1.0 mm"),
        ((0.719, 0.719, 4.0), None, "in-plane 0.72 -> 1.0 mm"),
        ((0.57, 0.57, 5.0), "native", ""),
        ((0.57, 0.57, 5.0), 0.57, ""),
        ((1.016, 1.016, 4.8), None, ""),
        ((1.0, 1.0, 6.0), 2.0, "in-plane 1.0 -> 2.0 mm"),
        ((0.5, 0.5, 0.5), None, ""),  # kept as it is
        ((0.5, 0.5, 0.9), None, ""),
    ],
)
def test_a_loss_of_in_plane_resolution_is_told(
    add_image: AddImage, plan: Plan, spacings: Any, resolution: Any, notice: str
) -> None:
    add_image("sub-01_T1w", shape=(60, 60, 12), spacings=spacings)
    image = plan(output_resolution=resolution)["sub-01_T1w"]
    assert ("in-plane" in image.reason) == bool(notice)
    if notice:
        assert image.reason.endswith(f"; {notice} (--output-resolution native keeps it)")
    elif max(spacings) < 1:
        assert image.action == "pass-through"
        assert image.target_grid is image.source_grid
