"""The raw-shaped view, on files made by hand; made by a run: tests/test_hand_over.py."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bids_sr.bids.dataset import update_decisions
from bids_sr.bids.image import AnatImage
from bids_sr.bids.raw_view import prepare_raw_view, write_raw_view
from bids_sr.bids.view_contents import view_name
from bids_sr.exceptions import InputDataError
from bids_sr.files.writing import link_atomic

AddImage = Callable[..., Path]
Plan = Callable[..., dict[str, AnatImage]]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def view(tmp_path: Path) -> Path:
    return tmp_path / "view"


def add_product(
    out: Path, relpath: str, action: str = "super-resolve", res: str = "1mm", text: str = "SR"
) -> Path:
    stem, suffix = relpath.removesuffix(".nii.gz").rsplit("_", 1)
    path = out / f"{stem}_res-{res}_desc-sr_{suffix}.nii.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    sidecar: dict[str, Any] = {"Sources": [f"bids:raw:{relpath}"], "SliceThickness": 1.0}
    sidecar["SuperResolution"] = {"Action": action}
    path.with_name(path.name.replace(".nii.gz", ".json")).write_text(json.dumps(sidecar))
    return path


def files(root: Path) -> list[str]:
    return sorted(
        path.relative_to(root).as_posix() for path in root.rglob("sub-*") if not path.is_dir()
    )


def test_names() -> None:
    assert view_name("sub-01/anat/sub-01_T1w.nii") == "sub-01/anat/sub-01_rec-SR_T1w.nii.gz"
    name = "sub-01/ses-a/anat/sub-01_ses-a_acq-2D_ce-gd_rec-norm_run-02_part-mag_T2w.nii.gz"
    assert view_name(name) == name.replace("rec-norm", "rec-normSR")


def test_what_is_on_disk_decides(
    dataset: Path, add_image: AddImage, out: Path, view: Path
) -> None:
    add_image("sub-01_acq-next_T1w")
    for stem in ("acq-done", "acq-failed", "acq-passed", "acq-old", "acq-other"):
        add_image(f"sub-01_{stem}_T1w")
        add_product(out, f"sub-01/anat/sub-01_{stem}_T1w.nii.gz")
    passed = add_product(
        out, "sub-01/anat/sub-01_acq-passed_T1w.nii.gz", action="pass-through", res="4mm"
    )
    newer = add_product(out, "sub-01/anat/sub-01_acq-old_T1w.nii.gz", res="0p8mm", text="newer")
    chosen = add_product(out, "sub-01/anat/sub-01_acq-other_T1w.nii.gz", res="2mm", text="chosen")
    for path in (newer, passed):
        os.utime(path, (2e9, 2e9))
    os.utime(chosen, (1e9, 1e9))
    rows = [
        {"image": "sub-01/anat/sub-01_acq-failed_T1w.nii.gz", "status": "failed"},
        {"image": "sub-01/anat/sub-01_acq-old_T1w.nii.gz", "status": "skipped"},
        {
            "image": "sub-01/anat/sub-01_acq-next_T1w.nii.gz",
            "status": "planned",
            "action": "super-resolve",
        },
        {"image": "sub-02/anat/sub-02_T1w.nii.gz", "status": "failed"},
        {
            "image": "sub-01/anat/sub-01_acq-other_T1w.nii.gz",
            "status": "done",
            "output": chosen.relative_to(out).as_posix(),
        },
    ]
    update_decisions(out, rows)
    notes = write_raw_view(view, dataset, out, ["01"])
    assert notes == [
        f"sub-01/anat/sub-01_acq-failed_T1w.nii.gz: as acquired in {view}, its super-resolution "
        "failed",
        f"sub-01/anat/sub-01_acq-next_T1w.nii.gz: as acquired in {view}, its super-resolution is "
        "not done",
    ]
    images = [name for name in files(view) if name.endswith(".nii.gz")]
    ends = ("done_rec-SR", "failed", "next", "old_rec-SR", "other_rec-SR", "passed")
    assert images == [f"sub-01/anat/sub-01_acq-{end}_T1w.nii.gz" for end in ends]
    anat = view / "sub-01/anat"
    assert (anat / "sub-01_acq-old_rec-SR_T1w.nii.gz").read_text() == "newer"
    assert (anat / "sub-01_acq-other_rec-SR_T1w.nii.gz").read_text() == "chosen"


def test_a_view_follows_what_became_of_a_scan(
    dataset: Path, add_image: AddImage, out: Path, view: Path
) -> None:
    add_image("sub-01_T1w", {"EchoTime": 0.1})
    product = add_product(out, "sub-01/anat/sub-01_T1w.nii.gz")
    write_raw_view(view, dataset, out, ["01"])
    ends = (".json", ".nii.gz")
    assert files(view) == [f"sub-01/anat/sub-01_rec-SR_T1w{end}" for end in ends]
    mine = view / "sub-01" / "notes.txt"
    mine.write_text("mine")
    product.unlink()
    write_raw_view(view, dataset, out, ["01"])
    assert files(view) == [f"sub-01/anat/sub-01_T1w{end}" for end in ends]
    assert mine.read_text() == "mine"
    assert json.loads((view / "sub-01/anat/sub-01_T1w.json").read_text()) == {"EchoTime": 0.1}


def test_a_sidecar_that_cannot_be_read_and_a_file_not_fetched_are_linked(
    dataset: Path, add_image: AddImage, out: Path, view: Path
) -> None:
    path = add_image("sub-01_T1w")
    path.with_name("sub-01_T1w.json").write_text("{")
    path.unlink()
    path.symlink_to("../../.git/annex/objects/absent")
    write_raw_view(view, dataset, out, ["01"])
    for end in (".json", ".nii.gz"):
        link = view / f"sub-01/anat/sub-01_T1w{end}"
        assert link.is_symlink()
        assert Path(os.path.normpath(link.parent / link.readlink())) == dataset / (
            f"sub-01/anat/sub-01_T1w{end}"
        )


def test_only_whole_names_are_replaced(
    dataset: Path, add_image: AddImage, out: Path, view: Path
) -> None:
    add_image("sub-01_T1w")
    add_product(out, "sub-01/anat/sub-01_T1w.nii.gz")
    fmap = dataset / "sub-01" / "fmap" / "sub-01_epi.json"
    fmap.parent.mkdir()
    fmap.write_text('["anat/sub-01_T1w.nii.gz", "xsub-01_T1w.nii.gz", "sub-01_T1w.nii.gz.bak"]')
    write_raw_view(view, dataset, out, ["01"])
    assert (view / "sub-01/fmap/sub-01_epi.json").read_text() == (
        '["anat/sub-01_rec-SR_T1w.nii.gz", "xsub-01_T1w.nii.gz", "sub-01_T1w.nii.gz.bak"]'
    )


def test_copies_where_links_are_impossible(tmp_path: Path, monkeypatch: Any) -> None:
    def no_links(*_: Any, **__: Any) -> None:
        raise PermissionError("no links here")

    source = tmp_path / "source"
    source.write_text("data")
    monkeypatch.setattr(Path, "symlink_to", no_links)
    target = link_atomic(source, tmp_path / "folder" / "target")
    assert not target.is_symlink()
    assert target.read_text() == "data"
    assert [path.name for path in target.parent.iterdir()] == ["target"]


def _write(view: Path, dataset: Path, out: Path, subject: str) -> None:
    for _ in range(5):
        write_raw_view(view, dataset, out, [subject])


def test_jobs_at_the_same_time_do_not_harm_each_other(
    dataset: Path, add_image: AddImage, out: Path, view: Path
) -> None:
    for subject in ("01", "02"):
        for session in ("a", "b"):
            stem = f"sub-{subject}_ses-{session}_T1w"
            add_image(stem)
            add_product(out, f"sub-{subject}/ses-{session}/anat/{stem}.nii.gz")
    jobs = [
        multiprocessing.get_context("fork").Process(
            target=_write, args=(view, dataset, out, label)
        )
        for label in ("01", "01", "02", "02")
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join(60)
    assert [job.exitcode for job in jobs] == [0] * 4
    written = [path.relative_to(view).as_posix() for path in view.rglob("*") if not path.is_dir()]
    expected = ["README"]
    for subject in ("01", "02"):
        for session in ("a", "b"):
            stem = f"sub-{subject}/ses-{session}/anat/sub-{subject}_ses-{session}_rec-SR_T1w"
            expected += [f"{stem}.json", f"{stem}.nii.gz"]
    assert sorted(written) == expected


@pytest.mark.parametrize("where", ["data", "data/sub-01", ".", "out/sub-01"])
def test_a_folder_of_another_dataset_is_refused_also_by_links(
    dataset: Path, out: Path, tmp_path: Path, where: str
) -> None:
    out.mkdir()
    link = tmp_path.parent / f"{tmp_path.name}_link"
    link.symlink_to(tmp_path)
    with pytest.raises(InputDataError, match=r"the raw-like folder and .* lie in one another"):
        prepare_raw_view(link / where, dataset, out, [])


def test_a_folder_that_holds_something_else_is_refused(
    dataset: Path, out: Path, view: Path, tmp_path: Path
) -> None:
    view.mkdir()
    (view / ".DS_Store").touch()
    prepare_raw_view(view, dataset, out, [])
    prepare_raw_view(view, dataset, out, [])  # a second run
    with pytest.raises(InputDataError, match="not empty and was not made from"):
        prepare_raw_view(view, dataset, tmp_path / "other_out", [])
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    with pytest.raises(InputDataError, match="not empty and was not made from"):
        prepare_raw_view(tmp_path / "full", dataset, out, [])


def test_a_file_in_the_place_of_the_folder_is_refused(
    dataset: Path, out: Path, view: Path
) -> None:
    view.touch()
    with pytest.raises(InputDataError, match="cannot be written"):
        prepare_raw_view(view, dataset, out, [])


def test_a_name_that_is_taken_is_refused_before_any_work(
    dataset: Path, add_image: AddImage, plan: Plan, out: Path, view: Path
) -> None:
    add_image("sub-01_T1w")
    add_image("sub-01_rec-SR_T1w", spacings=(1.0, 1.0, 1.0))
    with pytest.raises(InputDataError, match=r"would be .*_rec-SR_T1w"):
        prepare_raw_view(view, dataset, out, plan().values())
    assert not view.exists()


def test_nothing_is_written_through_a_link(
    dataset: Path, add_image: AddImage, out: Path, view: Path
) -> None:
    add_image("sub-01_T1w")
    add_product(out, "sub-01/anat/sub-01_T1w.nii.gz")
    view.mkdir()
    (view / "sub-01").symlink_to(dataset / "sub-01")
    before = files(dataset)
    with pytest.raises(InputDataError, match="is a link; expected a folder"):
        write_raw_view(view, dataset, out, ["01"])
    assert files(dataset) == before


@pytest.mark.parametrize("encoding", ["utf-8-sig", "latin-1"])
def test_a_table_of_any_encoding_keeps_its_rows(
    dataset: Path, add_image: AddImage, out: Path, view: Path, encoding: str
) -> None:
    add_image("sub-01_T1w")
    add_image("sub-01_part-phase_T1w")
    add_product(out, "sub-01/anat/sub-01_T1w.nii.gz")
    table = "filename\toperator\nanat/sub-01_T1w.nii.gz\tMüller\n"
    table += "anat/sub-01_part-phase_T1w.nii.gz\tMüller\n"
    (dataset / "sub-01/sub-01_scans.tsv").write_bytes(table.encode(encoding))
    write_raw_view(view, dataset, out, ["01"])
    assert (view / "sub-01/sub-01_scans.tsv").read_text(encoding="utf-8") == (
        "filename\toperator\nanat/sub-01_rec-SR_T1w.nii.gz\tMüller\n"
    )


def test_links_within_the_dataset_are_not_followed_and_others_once(
    dataset: Path, add_image: AddImage, out: Path, view: Path
) -> None:
    add_image("sub-01_T1w")
    for link, target in {"loop": ".", "up": "..", "again": "anat", "ses-1": "../.."}.items():
        (dataset / "sub-01" / link).symlink_to(target)
    store = dataset.parent / "store"
    (store / "back").mkdir(parents=True)
    (store / "back/store").symlink_to(store)
    (store / "sub-01_bold.nii.gz").touch()
    (dataset / "sub-01/func").symlink_to(store)
    write_raw_view(view, dataset, out, ["01"])
    assert files(view) == [
        "sub-01/anat/sub-01_T1w.nii.gz",
        "sub-01/func/sub-01_bold.nii.gz",
    ]


def test_an_image_that_is_not_the_subjects_is_left_out(
    dataset: Path, add_image: AddImage, write_nifti: Callable[..., Path], out: Path, view: Path
) -> None:
    add_image("sub-05_T1w")
    write_nifti(dataset / "sub-05/anat/sub-06_T1w.nii.gz")
    write_nifti(dataset / "sub-05/extra/anat/sub-05_T1w.nii.gz")
    write_nifti(dataset / "sub-05_T1w.nii.gz")
    (dataset / "sub-05/anat/sub-05_T2w.nii.gz").symlink_to("../../sub-07_T2w.nii.gz")
    write_nifti(dataset / "sub-05/anat/original/sub-05_T1w.nii.gz")
    rows = ["anat/sub-05_T1w", "anat/sub-06_T1w", "anat/original/sub-05_T1w", "func/sub-05_bold"]
    table = "".join(f"{row}.nii.gz\t1\n" for row in rows)
    (dataset / "sub-05/sub-05_scans.tsv").write_text(f"filename\tn\n{table}")
    write_raw_view(view, dataset, out, ["05"])
    assert files(view) == ["sub-05/anat/sub-05_T1w.nii.gz", "sub-05/sub-05_scans.tsv"]
    assert (view / "sub-05/sub-05_scans.tsv").read_text() == (
        "filename\tn\nanat/sub-05_T1w.nii.gz\t1\nfunc/sub-05_bold.nii.gz\t1\n"
    )


def test_contrasts_that_refine_surfaces_are_as_acquired_unless_asked_for(
    dataset: Path, add_image: AddImage, out: Path, view: Path
) -> None:
    stems = [f"sub-01_acq-{acq}_{suffix}" for acq in "ab" for suffix in ("T1w", "T2w", "FLAIR")]
    for stem in stems:
        add_image(stem)
        add_product(out, f"sub-01/anat/{stem}.nii.gz")
    for contrasts in ((), ("T2w",), ("T2w", "FLAIR")):
        assert write_raw_view(view, dataset, out, ["01"], surface_contrasts=contrasts) == []
        endings = {name.split("_")[-1] for name in files(view) if "rec-SR" in name}
        assert endings == {
            f"{suffix}{end}" for suffix in ("T1w", *contrasts) for end in (".nii.gz", ".json")
        }
