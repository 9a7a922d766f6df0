"""The library as a user calls it: kinds of image, wrong types, what is printed, what help says."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np
import pytest

import bids_sr.imaging
import bids_sr.sr
from bids_sr.exceptions import AcquisitionError, InputDataError
from bids_sr.imaging import (
    Acquisition,
    ForwardModel,
    Grid,
    Series,
    SliceProfile,
    Volume,
    degrade,
    lay_out_grid,
)
from bids_sr.records.learning_curve import CurvePoint, LearningCurve
from bids_sr.records.method_record import MethodRecord
from bids_sr.sr import (
    METHODS,
    Reconstruction,
    check_slices,
    correct_slice_gain,
    reconstruct,
    super_resolve,
    super_resolve_guided,
    super_resolve_together,
)

PUBLIC = {
    name: thing
    for room in (bids_sr.imaging, bids_sr.sr)
    for name, thing in vars(room).items()
    if name in room.__all__
}


@pytest.fixture
def slices() -> Volume:
    values = np.random.default_rng(1).uniform(1, 2, (24, 20, 8)).astype(np.float32)
    return Volume(values, np.diag([1.0, 1.0, 6.0, 1.0]))


def test_what_goes_in_comes_out(slices: Volume, tmp_path: Path) -> None:
    path = slices.save(tmp_path / "image.nii.gz")
    expected = super_resolve(slices, Acquisition(thickness=5), method="bspline")

    of_path = super_resolve(path, Acquisition(thickness=5), method="bspline")
    of_text = super_resolve(str(path), method="bspline")
    of_nibabel = super_resolve(nb.load(path), method="bspline")

    assert isinstance(of_path, Volume)
    assert np.array_equal(of_path.data, expected.data)
    assert np.array_equal(of_text.data, expected.data)
    assert isinstance(of_nibabel, nb.Nifti1Image)
    assert np.array_equal(of_nibabel.get_fdata(), expected.data)
    assert np.allclose(of_nibabel.affine, expected.affine)
    assert of_nibabel.header["sform_code"] == of_nibabel.header["qform_code"] == 1
    assert of_nibabel.header.get_xyzt_units() == ("mm", "sec")


@pytest.mark.parametrize("kind", [nb.Nifti1Image, nb.Nifti2Image, nb.MGHImage])
def test_every_format_of_nibabel_is_taken(slices: Volume, kind: type) -> None:
    image = kind(slices.data, slices.affine)
    result = super_resolve(image, method="bspline")
    assert np.array_equal(
        result.get_fdata(), super_resolve(slices, method="bspline").data.astype(float)
    )


def test_an_affine_that_was_changed_in_memory_counts(slices: Volume) -> None:
    image = slices.to_nibabel()
    image.affine[2, 2] = 5.0  # the header still says 6 mm
    assert Volume.of(image).spacings[2] == pytest.approx(5.0)


def test_scaled_values_of_a_nibabel_file_are_those_of_the_scanner(
    slices: Volume, tmp_path: Path
) -> None:
    image = nb.Nifti1Image((slices.data * 100).astype(np.int16), slices.affine)
    image.header.set_slope_inter(0.01, 3.0)
    nb.save(image, tmp_path / "scaled.nii.gz")
    loaded = Volume.of(nb.load(tmp_path / "scaled.nii.gz"))
    assert np.array_equal(loaded.data, Volume.load(tmp_path / "scaled.nii.gz").data)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (nb.Nifti1Image(np.ones((4, 4, 4, 2), np.float32), np.eye(4)), "found 2 volumes"),
        (nb.Nifti1Image(np.ones((4, 4, 4), np.complex64), np.eye(4)), "complex"),
        (nb.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4)), "the same value"),
        (nb.Nifti1Image(np.full((4, 4, 4), np.nan, np.float32), np.eye(4)), "NaN"),
        (nb.Nifti1Image(np.ones((4, 4), np.float32), np.eye(4)), "expected a 3-D image"),
        (nb.Nifti1Image(np.full((4, 4, 4), 1e300), np.eye(4)), "NaN or infinite"),
        (nb.Nifti1Image(np.arange(64.0).reshape(4, 4, 4) * 1e36, np.eye(4)), "most 1e[+]18"),
    ],
)
def test_a_nibabel_image_is_checked_like_a_file(image: nb.Nifti1Image, words: str) -> None:
    with pytest.raises(InputDataError, match=words):
        super_resolve(image, method="bspline")


@pytest.mark.parametrize("name", ["image.nii", "image.nii.gz", "image.mgz"])
@pytest.mark.parametrize("kept", [0, 400, None])
def test_a_file_that_was_cut_or_removed_since_it_was_opened(
    slices: Volume, tmp_path: Path, name: str, kept: int | None
) -> None:
    path = tmp_path / name
    nb.save(nb.MGHImage(slices.data, slices.affine), path) if "mgz" in name else slices.save(path)
    image = nb.load(path)
    if kept is None:
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputDataError, match=r"cannot be read .*Load the image again"):
        super_resolve(image, method="bspline")


@pytest.mark.parametrize("resolution", ["x", "1", True, [1, 1, 1]])
def test_a_resolution_is_a_number(slices: Volume, resolution: Any) -> None:
    with pytest.raises(TypeError, match="expected mm, 'native' or None"):
        super_resolve(slices, method="bspline", output_resolution=resolution)


def test_a_result_of_one_voxel_is_refused(slices: Volume) -> None:
    with pytest.raises(AcquisitionError, match="expected room for two voxels"):
        super_resolve(slices, method="bspline", output_resolution=1e9)


def test_stacks_come_as_a_list(slices: Volume) -> None:
    for image in (slices, slices.to_nibabel(), "stack.nii.gz"):
        with pytest.raises(TypeError, match="expected a list, one image"):
            super_resolve_together(image, method="bspline")


@pytest.mark.parametrize("path", ["a" * 5000 + ".nii", "a\0b.nii.gz"])
def test_a_text_that_is_no_path(path: str) -> None:
    with pytest.raises(InputDataError, match="cannot be read as NIfTI"):
        super_resolve(path, method="bspline")


@pytest.mark.parametrize("call", [super_resolve, super_resolve_together, super_resolve_guided])
def test_an_array_has_no_voxel_size(call: Callable[..., Any], slices: Volume) -> None:
    arguments: list[Any] = [slices.data, slices] if call is super_resolve_guided else [slices.data]
    if call is super_resolve_together:
        arguments = [[slices, slices.data]]
    with pytest.raises(TypeError, match=r"numpy.ndarray; expected a Volume, a nibabel image or a"):
        call(*arguments)


def test_wrong_types_are_named(slices: Volume) -> None:
    with pytest.raises(TypeError, match="type float; expected an Acquisition"):
        super_resolve(slices, 5.0)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="'5' of type str; expected a number of mm"):
        Acquisition(thickness="5")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="slice profile of type int"):
        Acquisition(profile=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"Volume.load\(path\)"):
        Volume("image.nii.gz", np.eye(4))  # type: ignore[arg-type]


def test_an_acquisition_takes_the_spacing_from_the_image(slices: Volume) -> None:
    stated = Acquisition(thickness=5)
    assert stated.for_volume(slices) == Acquisition(spacing=6, thickness=5, slice_axis=2)
    assert Acquisition().for_volume(slices) == Acquisition.from_volume(slices)
    assert Acquisition(thickness=5).for_volume(slices).assumed == ("profile",)
    for use in ("gap", "known_spacing"):
        with pytest.raises(AcquisitionError, match="without a slice spacing"):
            getattr(stated, use)
    for ask in (stated.to_dict, lambda: stated.scale(1.0), lambda: Acquisition().slice_profile):
        with pytest.raises(AcquisitionError, match="without a slice spacing"):
            ask()
    with pytest.raises(AcquisitionError, match="without a slice spacing"):
        degrade(slices, stated)


def test_what_is_printed_is_one_short_line(slices: Volume) -> None:
    acquisition = Acquisition.from_volume(slices)
    result = reconstruct(
        slices, acquisition, method="bspline", grid=lay_out_grid(slices, slice_axis=2)
    )
    fused = super_resolve_together([slices], method="bspline")
    things = [
        slices,
        slices.grid,
        Series.of([slices]),
        acquisition,
        Acquisition(),
        result,
        result.record,
        result.curve,
        fused,
        fused.stacks[0],
        check_slices(slices, acquisition),
        correct_slice_gain(slices, acquisition)[1],
        ForwardModel.between(lay_out_grid(slices, slice_axis=2), slices.grid, acquisition),
        MethodRecord(),
    ]
    for thing in things:
        line = repr(thing)
        assert line.startswith(f"{type(thing).__name__}(")
        assert "\n" not in line
        assert "array" not in line
        assert len(line) <= 160, line
    assert repr(slices) == "Volume(24 x 20 x 8 voxels of 1 x 1 x 6 mm, float32)"
    assert repr(Grid((2, 3, 4), np.eye(4))) == "Grid(2 x 3 x 4 voxels of 1 x 1 x 1 mm)"


@pytest.mark.parametrize(
    "kind",
    [*(thing for thing in PUBLIC.values() if is_dataclass(thing)), *METHODS.values()],
    ids=lambda kind: kind.__name__,
)
def test_help_explains_every_field(kind: Any) -> None:
    explained = "\n".join(inspect.getdoc(base) or "" for base in kind.__mro__)
    assert "Attributes\n----------" in explained or not fields(kind)
    named = {
        name
        for line in re.findall(r"^(\w[\w, ]*) :", explained, re.M)
        for name in line.split(", ")
    }
    assert {entry.name for entry in fields(kind) if not entry.name.startswith("_")} <= named


def test_what_is_not_stated_is_estimated_from_the_image(
    thick: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = []

    def remember(method: Any, lr: Volume, acquisition: Acquisition, grid: Grid) -> Reconstruction:
        used.append(acquisition)
        return Reconstruction(volume=lr)

    monkeypatch.setattr(METHODS["finetuned"], "reconstruct", remember)
    super_resolve(thick)  # Gaussian slices of 6 mm, every 8 mm
    super_resolve(thick, Acquisition(thickness=6))
    super_resolve(thick, Acquisition(thickness=6, profile="rect"))

    estimated, kind, told = used
    assert estimated.thickness not in (None, 0.85 * 8)
    assert set(estimated.assumed) == {"thickness", "profile"}
    assert kind.thickness == 6
    assert (told.thickness, told.profile) == (6, "rect")


def test_what_differs_reads_differently() -> None:
    """Nipype decides by what is printed whether a step must be done again."""
    table = SliceProfile.rect(3.0)
    other = replace(table, positions=table.positions * 1.0001)
    pairs: list[tuple[Any, Any]] = [
        (Acquisition(spacing=6.0), Acquisition(spacing=6.0000001)),
        (Acquisition(thickness=5), Acquisition(thickness=5, assumed=("thickness",))),
        (Acquisition(profile=table), Acquisition(profile=other)),
        (MethodRecord(method="self"), MethodRecord(method="self", details={"Steps": 3})),
        (MethodRecord(), MethodRecord(remarks=("a warning",))),
        (curve_of(0.1), curve_of(0.2)),
    ]
    for one, another in pairs:
        assert repr(one) != repr(another)
        assert repr(one) == repr(replace(one))


def curve_of(loss: float) -> LearningCurve:
    return LearningCurve(points=(CurvePoint(step=1, seconds=0.0, loss=loss),))


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int16])
def test_whole_numbers_give_what_floats_give(
    slices: Volume, dtype: type, caplog: pytest.LogCaptureFixture
) -> None:
    whole = slices.with_data((slices.data * 200 / slices.data.max()).astype(dtype))
    results = [
        super_resolve(volume, Acquisition(thickness=4.0, profile="slr"), method="bspline")
        for volume in (whole, whole.with_data(whole.data.astype(np.float32)))
    ]
    np.testing.assert_array_equal(results[0].data, results[1].data)
    assert not [record for record in caplog.records if record.exc_info]


def test_voxels_of_no_scan_are_refused_in_memory_too(slices: Volume) -> None:
    image = nb.Nifti1Image(slices.data, slices.affine @ np.diag([1e-3, 1e-3, 1e-3, 1]))
    with pytest.raises(InputDataError, match=r"expected 0\.01 to 100 mm\. Correct the unit"):
        super_resolve(image, method="bspline")
    with pytest.raises(AcquisitionError, match=r"for a field of view of .* mm, which makes"):
        super_resolve(Volume(slices.data, image.affine), method="bspline")
