"""The viewer's page: all that belongs to an image and nothing else, bounded, never stale."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bids_sr.files import file_digest
from bids_sr.imaging import Acquisition, Volume, degrade
from bids_sr.records.fusion_record import FusedStack, FusionRecord
from bids_sr.reports import viewer
from bids_sr.reports.assemble import assemble_subject
from bids_sr.reports.viewer import update_viewer

from .conftest import METHOD, decision, write_decisions, write_json, write_quality
from .viewer_phantom import FLAIR, HOSTILE, PRODUCT, T1W, build, phantom


def write(run: tuple[Path, Path]) -> str:
    return update_viewer(run[1], "01", run[0], write=True)


def content(out: Path) -> dict[str, Any]:
    page = (out / "sub-01_viewer.html").read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="content">(.*?)</script>', page)
    assert found
    shown: dict[str, Any] = json.loads(found[1])
    return shown


def test_the_page_shows_all_that_an_image_has(run: tuple[Path, Path]) -> None:
    assert write(run) == "sub-01_viewer.html"
    (image,) = content(run[1])["images"]
    assert [part["title"] for part in image["images"]] == ["Acquired", "Super-resolved"]
    assert [part["title"] for part in image["overlays"]] == [
        "Uncertainty (standard deviation, calibrated)",
        "Brain mask",
        "Segmentation: atropos",
    ]
    assert [label["name"] for label in image["overlays"][2]["labels"]] == ["head", "ball"]
    assert image["image"] == FLAIR
    assert image["output"] == PRODUCT
    assert image["sha256"] == file_digest(run[1] / PRODUCT)
    assert image["sliceAxis"] == 2
    page = (run[1] / "sub-01_viewer.html").read_text()
    assert not re.findall(r'(?:src|href)="(?!sub-01\.html|data:)[^"#]', page)
    assert "Copyright (c) 2021, Niivue" in page


def test_the_report_links_to_it_and_stands_without_it(run: tuple[Path, Path]) -> None:
    page = assemble_subject(run[1], "01", viewer=write(run)).read_text()
    assert page.count('href="sub-01_viewer.html"') == 2
    (run[1] / "sub-01_viewer.html").unlink()
    assert "_viewer.html" not in assemble_subject(run[1], "01").read_text()


def test_the_same_files_give_the_same_bytes(run: tuple[Path, Path]) -> None:
    write(run)
    path = run[1] / "sub-01_viewer.html"
    before = path.read_bytes()
    path.unlink()
    write(run)
    assert path.read_bytes() == before


def test_a_page_that_is_up_to_date_is_left_alone(
    run: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(run)
    monkeypatch.setattr(viewer, "_page", None)  # would be an error if called
    assert write(run) == "sub-01_viewer.html"
    assert update_viewer(run[1], "01", run[0], write=False) == "sub-01_viewer.html"


@pytest.mark.parametrize("changed", ["result", "acquired", "mask", "gone"])
def test_a_page_of_other_files_is_never_linked(run: tuple[Path, Path], changed: str) -> None:
    write(run)
    mask = run[1] / "sub-01/anat/sub-01_space-FLAIR_desc-brain_mask.nii.gz"
    path = {"result": run[1] / PRODUCT, "acquired": run[0] / FLAIR}.get(changed, mask)
    if changed == "gone":
        path.unlink()
    else:
        volume = Volume.load(path)
        volume.with_data(np.flip(volume.data, axis=0)).save(path)
    assert update_viewer(run[1], "01", run[0], write=False) == ""
    assert not (run[1] / "sub-01_viewer.html").exists()
    assert write(run) == "sub-01_viewer.html"


def test_an_image_whose_result_is_gone_is_not_shown(run: tuple[Path, Path]) -> None:
    write(run)
    (run[1] / PRODUCT).unlink()
    assert write(run) == ""
    assert not (run[1] / "sub-01_viewer.html").exists()


def add_passed_through(run: tuple[Path, Path]) -> None:
    """Add a second image to the output folder, which was passed through."""
    bids, out = run
    product = "sub-01/anat/sub-01_res-2mm_desc-sr_T1w.nii.gz"
    noise = np.random.default_rng(1).uniform(0, 300, phantom().shape).astype(np.float32)
    volume = phantom().with_data(phantom().data + noise)
    for path in (bids / T1W, out / product):
        volume.save(path)
    rows = [
        decision(FLAIR, action="super-resolve", status="done", output=PRODUCT),
        decision(T1W, action="pass-through", status="done", output=product),
    ]
    write_decisions(out, rows)
    write_quality(out / "sub-01/anat/sub-01_desc-sr_qc.json", T1W, action="pass-through")


def test_further_images_of_a_later_run_are_shown_too(run: tuple[Path, Path]) -> None:
    write(run)
    add_passed_through(run)
    assert write(run)
    assert [image["image"] for image in content(run[1])["images"]] == [FLAIR, T1W]


def test_a_fused_volume_is_shown_with_its_stacks(run: tuple[Path, Path]) -> None:
    bids, out = run
    anat = "sub-01/anat/sub-01"
    stacks = [f"{anat}_acq-{plane}_FLAIR.nii.gz" for plane in ("sag", "tra")]
    products = [f"{anat}_acq-{plane}_res-2mm_desc-sr_FLAIR.nii.gz" for plane in ("sag", "tra")]
    rows = []
    for axis, stack, product in zip((0, 2), stacks, products, strict=True):
        acquisition = Acquisition(spacing=8.0, thickness=6.0, slice_axis=axis)
        degrade(phantom(), acquisition).save(bids / stack)
        phantom().save(out / product)
        rows.append(decision(stack, action="super-resolve", status="done", output=product))
    fused = f"{anat}_res-2mm_desc-fused_FLAIR.nii.gz"
    phantom().save(out / fused)
    mask = phantom().with_data((phantom().data > 150).astype(np.uint8))
    mask.save(out / f"{anat}_space-FLAIR_label-brain_desc-fused_mask.nii.gz")
    beside = {"SpatialReference": f"bids::{fused}"}
    write_json(out / f"{anat}_space-FLAIR_label-brain_desc-fused_mask.json", beside)
    record = FusionRecord(
        status="done",
        product="sub-01_desc-fused_FLAIR",
        frame=stacks[1],
        stacks=tuple(FusedStack(image=stack, used=True) for stack in stacks),
    )
    write_json(out / f"{anat}_desc-fused_qc.json", record.to_dict())
    write_decisions(out, rows)
    write(run)
    first, second, volume = content(out)["images"]
    assert [first["sliceAxis"], second["sliceAxis"], volume["sliceAxis"]] == [0, 2, 2]
    assert (volume["title"], volume["outcomeWords"]) == ("sub-01_desc-fused_FLAIR", "fused")
    assert [part["title"] for part in volume["images"]] == [
        "Stack: sub-01_acq-tra_FLAIR",
        "Stack: sub-01_acq-sag_FLAIR",
        "Super-resolved: sub-01_acq-tra_FLAIR",
        "Super-resolved: sub-01_acq-sag_FLAIR",
        "Fused",
    ]
    assert [part["title"] for part in volume["overlays"]] == ["Brain mask"]
    # Each file is in the page once.
    assert volume["images"][0]["volume"] == second["images"][0]["volume"]
    assert len(content(out)["volumes"]) == 2 * 2 + 2


@pytest.mark.parametrize(
    ("source", "titles"),
    [
        (f"bids:raw:{T1W}", ["Acquired", "Guide: sub-01_T1w", "Super-resolved"]),
        ("bids:raw:../../secret.nii.gz", ["Acquired", "Super-resolved"]),
    ],
)
def test_a_guide_is_shown(run: tuple[Path, Path], source: str, titles: list[str]) -> None:
    phantom().save(run[0] / T1W)
    quality = run[1] / "sub-01/anat/sub-01_acq-FLAIR_desc-sr_qc.json"
    guide = {"Source": source, "Used": True}
    write_quality(quality, FLAIR, super_resolution=METHOD.with_details(Guide=guide))
    write(run)
    (image,) = content(run[1])["images"]
    assert [part["title"] for part in image["images"]] == titles


def test_an_image_before_super_resolution_is_shown_if_it_is_there(
    run: tuple[Path, Path],
) -> None:
    stem = run[1] / "sub-01/anat/sub-01_space-orig_desc-n4_FLAIR"
    Volume.load(run[0] / FLAIR).save(f"{stem}.nii.gz")
    write_json(stem.with_suffix(".json"), {"SpatialReference": f"bids:raw:{FLAIR}"})
    write(run)
    (image,) = content(run[1])["images"]
    assert image["images"][1]["title"] == "Acquired, denoised and bias-corrected"


def test_an_image_that_is_constant_where_the_head_is_does_not_cost_the_viewer(
    run: tuple[Path, Path],
) -> None:
    stem = run[1] / "sub-01/anat/sub-01_space-orig_desc-n4_FLAIR"
    volume = Volume.load(run[0] / FLAIR)
    corner = np.zeros_like(volume.data)
    corner[0, 0, 0] = 1.0  # cropped away
    volume.with_data(corner).save(f"{stem}.nii.gz")
    write_json(stem.with_suffix(".json"), {"SpatialReference": f"bids:raw:{FLAIR}"})
    write(run)
    (image,) = content(run[1])["images"]
    constant = content(run[1])["volumes"][image["images"][1]["volume"]]
    assert constant["low"] == 0 < constant["high"]


def test_a_layer_or_an_image_that_fails_costs_no_other(
    run: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    add_passed_through(run)

    def fail(*_: object) -> None:
        raise ZeroDivisionError("of a copy")

    monkeypatch.setattr(viewer, "label_copy", fail)
    write(run)
    images = content(run[1])["images"]
    assert len(images) == 2
    assert "Brain mask: cannot be shown. " in images[0]["notes"][0]
    load, lost = viewer._load, run[1] / PRODUCT
    monkeypatch.setattr(viewer, "_load", lambda x: fail() if x.path == lost else load(x))
    (run[1] / "sub-01_viewer.html").unlink()
    write(run)
    assert [image["image"] for image in content(run[1])["images"]] == [T1W]
    assert "the viewer leaves out sub-01_FLAIR" in caplog.text


@pytest.mark.parametrize("sloppy", [False, True])
def test_what_is_not_a_result_says_so(run: tuple[Path, Path], sloppy: bool) -> None:
    quality = run[1] / "sub-01/anat/sub-01_acq-FLAIR_desc-sr_qc.json"
    write_quality(quality, FLAIR, sloppy=sloppy)
    write(run)
    assert content(run[1])["images"][0]["sloppy"] is sloppy


def test_a_corrected_slice_spacing_is_used(run: tuple[Path, Path]) -> None:
    path = run[0] / FLAIR
    wrong = Volume.load(path).with_slice_spacing(5.0, 2)
    wrong.save(path)
    write(run)
    shown = content(run[1])
    acquired = shown["volumes"][shown["images"][0]["images"][0]["volume"]]
    assert acquired["affine"][2][2] == pytest.approx(8.0)


def test_a_page_that_would_be_too_large_is_reduced_by_the_rule(
    run: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    add_passed_through(run)
    write(run)
    size = (run[1] / "sub-01_viewer.html").stat().st_size
    for most, levels, images in (
        (size + 9000, None, 2),
        (size - 9000, 128, 2),
        (size - 400_000, 64, 1),
    ):
        monkeypatch.setattr(viewer, "MOST_BYTES", most)
        (run[1] / "sub-01_viewer.html").unlink()
        write(run)
        assert (run[1] / "sub-01_viewer.html").stat().st_size <= most
        shown = content(run[1])
        assert len(shown["images"]) == images
        found = {v.get("levels") for v in shown["volumes"].values() if "window" in v}
        page = (run[1] / "sub-01_viewer.html").read_text()
        assert levels in found
        assert ("Grey levels: " in page) == (levels is not None)
        assert ("Left out, so that the page stays below 25 MB: sub-01_T1w" in page) == (
            images == 1
        )
        used = {
            part["volume"]
            for i in shown["images"]
            for k in ("images", "overlays")
            for part in i[k]
        }
        assert used == set(shown["volumes"])


def test_an_image_that_alone_is_too_large_has_larger_voxels(
    run: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write(run)
    page = run[1] / "sub-01_viewer.html"
    before = content(run[1])
    volumes = re.findall(r'id="volume-\d+">([^<]*)<', page.read_text())
    most = page.stat().st_size - sum(map(len, volumes)) // 2
    monkeypatch.setattr(viewer, "MOST_BYTES", most)
    monkeypatch.setattr(viewer, "FEWER_LEVELS", (128,))
    page.unlink()
    write(run)
    assert page.stat().st_size <= most
    assert "Voxels: averaged in twos" in page.read_text()
    after = content(run[1])
    name = after["images"][0]["images"][-1]["volume"]
    shapes = [np.array(shown["volumes"][name]["shape"]) for shown in (before, after)]
    assert (np.ceil(shapes[0] / shapes[1]) >= 2).any()
    monkeypatch.setattr(viewer, "MOST_BYTES", 1_100_000)  # hardly more than NiiVue itself
    page.unlink()
    assert write(run) == ""
    assert "MB of images in large voxels; expected at most" in caplog.text
    assert not page.exists()


def test_what_cannot_be_shown_is_told(run: tuple[Path, Path]) -> None:
    (run[0] / FLAIR).unlink()
    mask = run[1] / "sub-01/anat/sub-01_space-FLAIR_desc-brain_mask.nii.gz"
    mask.write_bytes(b"not an image")
    write(run)
    (image,) = content(run[1])["images"]
    assert [part["title"] for part in image["images"]] == ["Super-resolved"]
    assert len(image["overlays"]) == 2
    lost, broken = image["notes"]
    assert lost == f"Acquired: {FLAIR} was not found in the input dataset."
    assert broken.startswith("Brain mask: cannot be shown.")


def test_a_failure_is_a_warning_and_leaves_no_page(
    run: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write(run)
    (run[0] / FLAIR).unlink()

    def fail(*_: object) -> str:
        raise MemoryError("too much")

    monkeypatch.setattr(viewer, "_page", fail)
    assert write(run) == ""
    assert "no viewer of sub-01" in caplog.text
    assert not (run[1] / "sub-01_viewer.html").exists()
    assert not list(run[1].glob(".*"))


def test_a_subject_without_anything_has_none(run: tuple[Path, Path]) -> None:
    assert update_viewer(run[1], "09", run[0], write=True) == ""


def test_hostile_texts_stay_texts(tmp_path: Path) -> None:
    run = build(tmp_path, words=HOSTILE)
    write(run)
    (image,) = content(run[1])["images"]
    assert image["overlays"][2]["labels"][0]["name"] == HOSTILE[:80]
    assert "<img src=x" not in (run[1] / "sub-01_viewer.html").read_text()


@pytest.mark.parametrize("path", ["../../secret.nii.gz", "/etc/passwd", "sub-02/anat/x.nii.gz"])
def test_files_outside_of_the_subjects_folders_are_not_shown(
    run: tuple[Path, Path], path: str
) -> None:
    known = decision(FLAIR, action="super-resolve", status="done", output=path)
    write_decisions(run[1], [known])
    assert write(run) == ""
