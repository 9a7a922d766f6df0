from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bids_sr.bids.derivatives import (
    FIGURES,
    GUIDE_FIGURES,
    output_path,
    output_paths,
    resolution_label,
    source_uri,
)
from bids_sr.bids.image import AnatImage
from bids_sr.bids.output_sidecars import (
    mask_metadata,
    preproc_metadata,
    product_metadata,
    stage_metadata,
)
from bids_sr.bids.selection import ReferenceRule
from bids_sr.exceptions import InputDataError

AddImage = Callable[..., Path]
Plan = Callable[..., dict[str, AnatImage]]
OUT = Path("/out")

T2W_TOO = ReferenceRule(surface_contrasts=("T2w",))


def names(image: AnatImage) -> dict[str, str]:
    paths = output_paths(OUT, image)
    named = {key: value for key, value in vars(paths).items() if isinstance(value, Path)}
    return {key: str(path.relative_to(OUT)) for key, path in named.items()}


def test_names_of_the_reference_t1w(add_image: AddImage, plan: Plan) -> None:
    add_image("sub-01_ses-a_acq-2D_run-02_T1w")
    (image,) = plan().values()
    start = "sub-01/ses-a/anat/sub-01_ses-a_acq-2D_run-02_"
    assert names(image) == {
        "product": f"{start}res-1mm_desc-sr_T1w.nii.gz",
        "preproc": f"{start}desc-preproc_T1w.nii.gz",
        "mask": f"{start}desc-brain_mask.nii.gz",
        "native_mask": f"{start}space-orig_desc-brain_mask.nii.gz",
        "denoised": f"{start}space-orig_desc-denoised_T1w.nii.gz",
        "n4": f"{start}space-orig_desc-n4_T1w.nii.gz",
        "quality": f"{start}desc-sr_qc.json",
        "slice_profile": f"{start}desc-sr_sliceprofile.tsv",
        "uncertainty": f"{start}desc-sr_uncertainty.nii.gz",
        "model": f"{start}desc-sr_model.safetensors",
    }
    figures = output_paths(OUT, image).figures
    assert figures["sliceprofile"] == OUT / (
        "sub-01/figures/sub-01_ses-a_acq-2D_run-02_desc-sliceprofile_T1w.svg"
    )
    assert set(figures) == {*FIGURES, *GUIDE_FIGURES}


def test_names_of_other_contrasts(add_image: AddImage, plan: Plan) -> None:
    add_image("sub-01_FLAIR")
    add_image("sub-01_acq-2D_T2w")
    images = plan(output_resolution=0.8, reference=T2W_TOO)
    assert names(images["sub-01_FLAIR"]) == {
        "product": "sub-01/anat/sub-01_res-0p8mm_desc-sr_FLAIR.nii.gz",
        "mask": "sub-01/anat/sub-01_space-FLAIR_desc-brain_mask.nii.gz",
        "native_mask": "sub-01/anat/sub-01_acq-FLAIR_space-orig_desc-brain_mask.nii.gz",
        "denoised": "sub-01/anat/sub-01_space-orig_desc-denoised_FLAIR.nii.gz",
        "n4": "sub-01/anat/sub-01_space-orig_desc-n4_FLAIR.nii.gz",
        "quality": "sub-01/anat/sub-01_acq-FLAIR_desc-sr_qc.json",
        "slice_profile": "sub-01/anat/sub-01_acq-FLAIR_desc-sr_sliceprofile.tsv",
        "uncertainty": "sub-01/anat/sub-01_acq-FLAIR_desc-sr_uncertainty.nii.gz",
        "model": "sub-01/anat/sub-01_acq-FLAIR_desc-sr_model.safetensors",
    }
    t2w = names(images["sub-01_acq-2D_T2w"])
    assert t2w["preproc"] == "sub-01/anat/sub-01_acq-2D_desc-preproc_T2w.nii.gz"
    assert t2w["mask"] == "sub-01/anat/sub-01_acq-2D_space-T2w_desc-brain_mask.nii.gz"
    assert t2w["native_mask"] == "sub-01/anat/sub-01_acq-2DT2w_space-orig_desc-brain_mask.nii.gz"


def test_no_two_images_share_a_name(add_image: AddImage, plan: Plan) -> None:
    for session in ("", "ses-a_"):
        for stem in ("T1w", "acq-2D_T1w", "run-2_T1w", "T2w", "acq-2D_T2w", "FLAIR", "PDw"):
            add_image(f"sub-01_{session}{stem}")
    written = [
        path for image in plan(reference=T2W_TOO).values() for path in names(image).values()
    ]
    assert len(written) == len(set(written))


def test_entities_that_a_mask_may_not_have_are_folded(add_image: AddImage, plan: Plan) -> None:
    add_image("sub-01_acq-x_inv-1_MP2RAGE")
    (image,) = plan(modalities=("MP2RAGE",)).values()
    paths = names(image)
    assert paths["product"] == "sub-01/anat/sub-01_acq-x_inv-1_res-1mm_desc-sr_MP2RAGE.nii.gz"
    assert paths["mask"] == "sub-01/anat/sub-01_acq-xinv1_space-MP2RAGE_desc-brain_mask.nii.gz"
    assert paths["native_mask"] == (
        "sub-01/anat/sub-01_acq-xMP2RAGEinv1_space-orig_desc-brain_mask.nii.gz"
    )


@pytest.mark.parametrize(
    ("spacing", "label"),
    [(1.0, "1mm"), (0.8, "0p8mm"), (1.015625, "1p02mm"), (0.999, "1mm"), (10.0, "10mm")],
)
def test_resolution_label(add_image: AddImage, plan: Plan, spacing: float, label: str) -> None:
    add_image("sub-01_T1w")
    image = plan()["sub-01_T1w"]
    assert resolution_label(replace(image, target_spacing=spacing)) == label


def test_images_without_output_have_no_name(add_image: AddImage, plan: Plan) -> None:
    add_image("sub-01_MESE")
    with pytest.raises(InputDataError, match=r"no output grid \(action skip\)"):
        output_paths(OUT, plan()["sub-01_MESE"])


def test_unknown_entities_make_no_name(add_image: AddImage, plan: Plan) -> None:
    add_image("sub-01_T1w")
    with pytest.raises(InputDataError, match="do not give an output name"):
        output_path(OUT, plan()["sub-01_T1w"], desc="sr", atlas="x")


def test_sidecar_of_the_product(add_image: AddImage, plan: Plan) -> None:
    raw = {
        "EchoTime": 0.1,
        "SliceThickness": 3,
        "SpacingBetweenSlices": 4,
        "SliceTiming": [0, 1],
        "IntendedFor": "x",
        "MRAcquisitionType": "2D",
    }
    add_image("sub-01_ses-a_FLAIR", raw)
    image = plan()["sub-01_ses-a_FLAIR"]
    sidecar = product_metadata(image)
    history = sidecar.pop("SuperResolution")
    assert sidecar == {
        "EchoTime": 0.1,
        "MRAcquisitionType": "2D",
        "Description": "Super-resolved FLAIR image",
        "SkullStripped": False,
        "Sources": ["bids:raw:sub-01/ses-a/anat/sub-01_ses-a_FLAIR.nii.gz"],
        "SliceThickness": 1.0,
        "SpacingBetweenSlices": 1.0,
        "Resolution": "1 x 1 x 1 mm voxels",
    }
    assert history["Action"] == "super-resolve"
    assert history["Scale"] == 4.0
    assert (history["SpacingBetweenSlices"], history["SliceThickness"]) == (4, 3)
    assert (history["SliceAxis"], history["SliceProfile"]) == (2, "slr")
    assert history["Origins"]["thickness"] == "sidecar"
    (assumption,) = history["Assumptions"]
    assert assumption.startswith("the slice profile is not stated: assumed slr")


def test_sidecar_of_an_image_passed_through(add_image: AddImage, plan: Plan) -> None:
    add_image("sub-01_T1w", {"SliceThickness": 1.1, "SkullStripped": True}, spacings=(1, 1, 1.2))
    sidecar = product_metadata(plan()["sub-01_T1w"])
    assert sidecar["Description"] == "Passed through T1w image"
    assert (sidecar["SliceThickness"], sidecar["SpacingBetweenSlices"]) == (1.1, 1.2)
    assert sidecar["SkullStripped"] is True
    assert sidecar["Resolution"] == "1 x 1 x 1.2 mm voxels"
    assert "anisotropy 1.20 is below" in sidecar["SuperResolution"]["Reason"]


def test_a_text_of_no_is_not_yes(add_image: AddImage, plan: Plan) -> None:
    add_image("sub-01_T1w", {"SliceThickness": 3, "SkullStripped": "false"})
    assert product_metadata(plan()["sub-01_T1w"])["SkullStripped"] is False


def test_sidecars_of_the_other_images(add_image: AddImage, plan: Plan) -> None:
    add_image("sub-01_T1w", {"SliceThickness": 3, "SliceTiming": [0]})
    image = plan()["sub-01_T1w"]
    raw, product = "bids:raw:sub-01/anat/sub-01_T1w.nii.gz", "sub-01_res-1mm_desc-sr_T1w.nii.gz"
    assert source_uri(image) == raw
    preproc = preproc_metadata(OUT, image)
    assert preproc["Sources"] == [f"bids::sub-01/anat/{product}", raw]
    assert "Resolution" not in preproc
    n4 = stage_metadata(image, "n4")
    assert n4["SliceThickness"] == 3
    assert "SliceTiming" not in n4
    assert n4["SpatialReference"] == raw
    assert mask_metadata(OUT, image, native=True) == {
        "Type": "Brain",
        "Description": "Brain mask of the T1w image on the acquired grid",
        "Sources": [raw],
        "SpatialReference": raw,
    }
    mask = mask_metadata(OUT, image, native=False)
    assert mask["SpatialReference"] == f"bids::sub-01/anat/{product}"
    assert mask["Sources"][0] == "bids::sub-01/anat/sub-01_space-orig_desc-brain_mask.nii.gz"
    existing = mask_metadata(OUT, replace(image, existing_mask_uri="bids:tool:m"), native=True)
    assert existing["Sources"] == [raw, "bids:tool:m"]
