"""What a methods text says of results: read from their records, not from the plan."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bids_sr.records.method_record import MethodRecord, Output
from bids_sr.reports.results_text import ResultFacts, results_text

OUTPUT = Output(
    shape=(99, 117, 95),
    spacings=(0.999999, 1.0, 0.997),
    intensities=(0.0, 1.0),
    residual_percent=1.0,
)
DONE = MethodRecord(
    method="finetuned",
    model="brain-5.safetensors",
    output=OUTPUT,
    details={"ModelSHA256": "0123456789abcdef" * 4, "DataConsistency": {"Applied": True}},
)


def test_weights_voxels_and_data_consistency_are_told() -> None:
    assert results_text([("FLAIR", DONE), ("T1w", DONE)]) == (
        "The pretrained weights were *brain-5* (SHA-256 `0123456789ab`). "
        "The resulting images have voxels of 1 × 1 × 1 mm. "
        "Data consistency was enforced on each result: degraded again by the acquisition model, a "
        "result agrees with the acquired slices up to their noise."
    )


def test_adding_a_result_twice_changes_nothing() -> None:
    facts = ResultFacts()
    facts.add("FLAIR", DONE)
    once = facts.text
    facts.add("FLAIR", DONE)
    assert facts.text == once


def test_different_voxels_are_told_by_contrast() -> None:
    fine = replace(DONE, output=replace(OUTPUT, spacings=(0.8, 0.8, 0.8)))
    assert "voxels of 0.8 × 0.8 × 0.8 mm (T1w) and 1 × 1 × 1 mm (FLAIR, T2w)." in results_text(
        [("T1w", fine), ("T2w", DONE), ("FLAIR", DONE)]
    )


def test_many_voxel_sizes_are_told_as_a_range() -> None:
    sizes = (0.5, 0.6, 0.7, 0.8, 0.9)
    each = [replace(DONE, output=replace(OUTPUT, spacings=(size, size, 1.0))) for size in sizes]
    assert "voxels with sides of 0.5 to 1 mm." in results_text(("T1w", one) for one in each)


def test_what_was_not_done_is_not_claimed() -> None:
    plain = MethodRecord(method="bspline", output=OUTPUT)
    assert results_text([("FLAIR", plain)]) == "The resulting images have voxels of 1 × 1 × 1 mm."
    assert results_text([("FLAIR", MethodRecord(method="none", output=OUTPUT))]) == ""
    both = results_text([("FLAIR", DONE), ("T1w", plain)])
    assert "enforced on some results" in both


def test_images_that_were_interpolated_instead_are_told() -> None:
    instead = replace(DONE, fallback_reason="too few slices")
    assert results_text([("T2w", instead), ("T1w", DONE)]).endswith(
        "Some T2w images were interpolated instead."
    )


@pytest.mark.parametrize("digest", [None, 7, ["x"]])
def test_a_digest_that_is_none_is_left_out(digest: object) -> None:
    text = results_text([("T1w", replace(DONE, details={"ModelSHA256": digest}))])
    assert "*brain-5*." in text
