"""A fused volume in the place of the stack that is the reference, and what goes when it is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nb
import pytest

from bids_sr.bids.derivatives import output_paths
from bids_sr.bids.fused_outputs import fused_metadata, fused_paths
from bids_sr.bids.fused_reference import FusedReferences, provide_fused
from bids_sr.bids.image import AnatImage
from bids_sr.bids.layout import open_layout, plan_images
from bids_sr.bids.references import settle_references, surface_notes
from bids_sr.bids.selection import ReferenceRule, Selection
from bids_sr.bids.stacks import stack_groups
from bids_sr.bids.view_contents import find_products, subject_contents
from bids_sr.bids.view_fused import find_fused
from bids_sr.records.fusion_record import FusedStack, FusionRecord
from bids_sr.records.method_record import Output

AddImage = Callable[..., Path]
NAME = "sub-01_desc-fused_T1w"
SINGLE = {"sub-01_acq-ax_desc-preproc_T1w.nii.gz", "sub-01_acq-ax_desc-brain_mask.nii.gz"}
FUSED = {"sub-01_desc-preproc_T1w.nii.gz", "sub-01_desc-brain_mask.nii.gz"}
OUTPUT = Output(shape=(300, 9, 9), spacings=(1, 1, 1), intensities=(-3, 9), residual_percent=None)


def plan(dataset: Path, words: tuple[str, ...] = (), **options: bool) -> list[AnatImage]:
    rule = ReferenceRule.from_words(words, "session")
    selection = Selection(sr_method="bspline", reference=rule, **options)
    return plan_images(open_layout(dataset), selection)


class Results:
    """An output folder as a run leaves it, before references are settled."""

    def __init__(self, root: Path, write_nifti: Callable[..., Path]) -> None:
        self.root, self.write_nifti = root, write_nifti

    def write(self, path: Path, **sidecar: object) -> None:
        self.write_nifti(path, shape=(9, 8, 5))
        name = path.name.replace(".nii.gz", ".json")
        path.with_name(name).write_text(json.dumps(sidecar))

    def single(self, images: list[AnatImage]) -> None:
        for image in images:
            paths = output_paths(self.root, image)
            self.write(paths.mask, BrainExtraction={})
            if paths.preproc:
                self.write(paths.preproc, SuperResolution={})

    def fused(self, images: list[AnatImage], status: str = "done", mask: bool = True) -> None:
        (group,) = stack_groups(images)
        paths, frame = fused_paths(self.root, group), group.finest
        stacks = [FusedStack(image=i.relpath, used=status == "done") for i in group.members]
        record = FusionRecord(
            status=status,
            product=group.name,
            frame=frame.relpath,
            stacks=tuple(stacks),
            output=OUTPUT,
        )
        paths.quality.parent.mkdir(parents=True, exist_ok=True)
        paths.quality.write_text(json.dumps(record.to_dict()))
        if status == "done":
            sidecar = {**fused_metadata(group, frame), "Fusion": record.to_dict()}
            self.write(paths.products[frame.relpath], **sidecar)
            if mask:
                self.write(paths.mask, Type="Brain")

    def settle(self, images: list[AnatImage], words: tuple[str, ...] = ()) -> FusedReferences:
        rule = ReferenceRule.from_words(words, "session")
        result = provide_fused(self.root, images, rule, {NAME})
        complete = [image.relpath for image in images]
        result.notes += settle_references(
            self.root, images, rule, complete=complete, fused=result.paths
        )
        return result

    @property
    def handed(self) -> set[str]:
        paths = [*self.root.rglob("*_desc-preproc_*.nii.gz")]
        paths += [p for p in self.root.rglob("*desc-brain_mask.nii.gz") if "_space-" not in p.name]
        for path in paths:
            assert path.with_name(path.name.replace(".nii.gz", ".json")).exists()
        return {path.name for path in paths}


@pytest.fixture
def results(tmp_path: Path, write_nifti: Callable[..., Path]) -> Results:
    return Results(tmp_path / "out", write_nifti)


@pytest.fixture
def stacks(dataset: Path, add_image: AddImage) -> Path:
    add_image("sub-01_acq-ax_T1w", {"EchoTime": 0.01}, spacings=(1, 1, 4))
    add_image("sub-01_acq-sag_T1w", {"EchoTime": 0.01}, spacings=(5, 1, 1))
    return dataset


def test_the_fused_volume_takes_the_place_of_the_stack(stacks: Path, results: Results) -> None:
    images = plan(stacks)
    for _ in range(2):  # and again in the next run
        results.single(images)
        results.fused(images)
        assert results.settle(images).notes == []
        assert results.handed == FUSED
        moved = results.root / "sub-01/anat/sub-01_acq-ax_space-T1w_desc-brain_mask.nii.gz"
        assert moved.exists()
    anat = results.root / "sub-01/anat"
    sidecar = json.loads((anat / "sub-01_desc-preproc_T1w.json").read_text())
    assert sidecar["Sources"] == [
        "bids::sub-01/anat/sub-01_res-1mm_desc-fused_T1w.nii.gz",
        "bids:raw:sub-01/anat/sub-01_acq-ax_T1w.nii.gz",
        "bids:raw:sub-01/anat/sub-01_acq-sag_T1w.nii.gz",
    ]
    assert "in the place of sub-01_acq-ax_T1w" in sidecar["Description"]
    assert sidecar["EchoTime"] == 0.01
    assert "Resolution" not in sidecar
    mask = json.loads((anat / "sub-01_desc-brain_mask.json").read_text())
    assert mask["SpatialReference"] == "bids::sub-01/anat/sub-01_desc-preproc_T1w.nii.gz"
    assert mask["Type"] == "Brain"


@pytest.mark.parametrize("status", ["failed", "skipped"])
def test_without_a_fused_volume_the_stack_is_the_reference(
    stacks: Path, results: Results, status: str
) -> None:
    images = plan(stacks)
    results.single(images)
    results.fused(images)
    results.settle(images)
    results.single(images)
    results.fused(images, status)
    notes = results.settle(images).notes
    assert results.handed == SINGLE
    assert {note.partition(":")[0] for note in notes} == {f"removed {name}" for name in FUSED}
    assert not list(results.root.rglob("sub-01_space-T1w_desc-brain_mask*"))


def test_a_run_without_fusing_takes_it_back(stacks: Path, results: Results) -> None:
    images = plan(stacks)
    results.single(images)
    results.fused(images)
    results.settle(images)
    alone = plan(stacks, fuse_stacks=False)
    results.single(alone)
    results.settle(alone)
    assert results.handed == SINGLE


def test_a_stack_that_was_asked_for_stays(stacks: Path, results: Results) -> None:
    words = ("acq=ax",)
    images = plan(stacks, words)
    results.single(images)
    results.fused(images)
    assert results.settle(images, words).paths == {}
    assert results.handed == SINGLE


def test_the_reference_may_have_failed(stacks: Path, results: Results) -> None:
    """Others were fused without it: there is a reference where there was none."""
    images = plan(stacks)
    results.single([image for image in images if not image.is_reference])
    results.fused(images)
    results.settle(images)
    assert results.handed == FUSED


def test_without_a_brain_nothing_is_provided(stacks: Path, results: Results) -> None:
    images = plan(stacks)
    results.fused(images, mask=False)
    assert results.settle(images).notes[0] == (
        f"{NAME}: not provided as sub-01_desc-preproc_T1w.nii.gz: no brain was found"
    )
    assert results.handed == set()


def test_a_step_that_did_not_run_provides_nothing(stacks: Path, results: Results) -> None:
    images = plan(stacks)
    results.single(images)
    results.fused(images)  # of an earlier run
    assert provide_fused(results.root, images, ReferenceRule(), set()).paths == {}
    assert results.handed == SINGLE


def test_what_freesurfer_must_know_is_said_of_the_fused_volume(
    stacks: Path, results: Results
) -> None:
    images = plan(stacks)
    results.single(images)
    results.fused(images)
    paths = results.settle(images).paths
    notes = surface_notes(results.root, images, paths)
    assert [note.partition(":")[0] for note in notes] == ["sub-01_desc-preproc_T1w.nii.gz"] * 2
    assert "negative values down to -3" in notes[0]


def test_a_t2w_that_is_no_longer_handed_on_goes(
    dataset: Path, add_image: AddImage, results: Results
) -> None:
    add_image("sub-01_acq-ax_T2w")
    add_image("sub-01_acq-sag_T2w", spacings=(5, 1, 1))
    both = ReferenceRule.from_words((), "session", ("T2w",))
    selection = Selection(sr_method="bspline", reference=both)
    images = plan_images(open_layout(dataset), selection)
    results.single(images)
    results.fused(images)
    fused = provide_fused(results.root, images, both, {"sub-01_desc-fused_T2w"}).paths
    assert results.handed == {"sub-01_desc-preproc_T2w.nii.gz"}
    assert nb.load(next(iter(fused.values())).preproc).shape == (9, 8, 5)
    after = plan(dataset)
    notes = settle_references(
        results.root, after, ReferenceRule(), complete=[image.relpath for image in after]
    )
    assert notes == ["removed sub-01_desc-preproc_T2w.nii.gz: this run provides no T2w"]
    assert results.handed == set()


def test_the_view_has_the_fused_volume_in_the_place_of_its_stacks(
    stacks: Path, results: Results, add_image: AddImage
) -> None:
    add_image("sub-01_acq-other_T1w", {"EchoTime": 0.1})
    images = plan(stacks)
    for image in images:
        record = {"Action": "super-resolve"}
        sources = [f"bids:raw:{image.relpath}"]
        results.write(
            output_paths(results.root, image).product, SuperResolution=record, Sources=sources
        )
    results.fused(images)
    scans = "filename\n" + "".join(f"anat/{image.path.name}\n" for image in images)
    (stacks / "sub-01/sub-01_scans.tsv").write_text(scans)
    products, _ = find_products(results.root, "01")
    fused = find_fused(results.root, "01", products)
    assert len(products) == 3
    contents = subject_contents(stacks, "01", products, fused)
    assert set(contents.copies) == {
        "sub-01/anat/sub-01_rec-fusedSR_T1w.nii.gz",
        "sub-01/anat/sub-01_acq-other_rec-SR_T1w.nii.gz",
    }
    copied = contents.copies["sub-01/anat/sub-01_rec-fusedSR_T1w.nii.gz"]
    assert copied.name == "sub-01_res-1mm_desc-fused_T1w.nii.gz"
    assert contents.sidecars["sub-01/anat/sub-01_rec-fusedSR_T1w.json"]["EchoTime"] == 0.01
    assert contents.texts["sub-01/sub-01_scans.tsv"].splitlines() == [
        "filename",
        "anat/sub-01_rec-fusedSR_T1w.nii.gz",
        "anat/sub-01_acq-other_rec-SR_T1w.nii.gz",
    ]
    results.fused(images, "failed")  # the volume of an earlier run is not the one of this
    assert find_fused(results.root, "01", products) == {}
    results.fused(images)
    held_back = [path for path in products if "acq-ax" not in path]
    assert find_fused(results.root, "01", held_back) == {}
