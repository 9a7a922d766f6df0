"""What headers of real files get wrong, and what is said about it."""

from __future__ import annotations

import contextlib
import errno
import gzip
import os
import tempfile
from pathlib import Path
from typing import Any

import nibabel as nb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bids_sr.exceptions import InputDataError
from bids_sr.imaging import Volume, check_input
from bids_sr.imaging.header import describe
from bids_sr.imaging.nifti import read_nifti

AFFINE = np.diag([1.0, 1.0, 6.0, 1.0])


def _image(shape: tuple[int, ...] = (6, 7, 8)) -> nb.Nifti1Image:
    image = nb.Nifti1Image(np.arange(np.prod(shape), dtype=np.int16).reshape(shape), AFFINE)
    image.set_qform(AFFINE, code=1)
    image.set_sform(AFFINE, code=1)
    return image


def _saved(image: nb.Nifti1Image, tmp_path: Path, name: str = "image.nii.gz") -> Path:
    image.to_filename(tmp_path / name)
    return tmp_path / name


def _patched(path: Path, offset: int, dtype: str, *values: float) -> Path:
    """Write values into the header of an uncompressed file."""
    content = bytearray(path.read_bytes())
    patch = np.array(values, dtype=dtype).tobytes()
    content[offset : offset + len(patch)] = patch
    path.write_bytes(bytes(content))
    return path


def test_reports_a_good_header(tmp_path: Path) -> None:
    path = _saved(_image(), tmp_path)
    report = check_input(path)
    assert report.path == path
    assert report.shape == (6, 7, 8)
    assert report.zooms == (1.0, 1.0, 6.0)
    assert (report.slice_axis, report.anisotropy) == (2, 6.0)
    assert (report.dtype, report.n_volumes, report.affine_source) == ("int16", 1, "sform")
    np.testing.assert_array_equal(report.affine, AFFINE)
    assert report.warnings == ()


def test_reports_4d_without_refusing(tmp_path: Path) -> None:
    report = check_input(_saved(_image((4, 5, 6, 3)), tmp_path))
    assert (report.shape, report.n_volumes) == ((4, 5, 6), 3)


@pytest.mark.parametrize("name", ["image.nii.gz", "image.nii"])
@pytest.mark.parametrize("kind", [nb.Nifti1Image, nb.Nifti2Image])
def test_reads_only_the_start_of_a_file(
    kind: type[nb.Nifti1Image], name: str, tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 4000, (64, 64, 64), dtype=np.int16)
    image = kind(noise, AFFINE)
    image.set_sform(AFFINE, code=1)
    image.header.extensions.append(nb.nifti1.Nifti1Extension("comment", b"x" * 5000))
    whole = _saved(image, tmp_path, name)
    start = tmp_path / f"start_{name}"
    start.write_bytes(whole.read_bytes()[:30_000])
    with pytest.raises(InputDataError):
        Volume.load(start)
    expected = describe(whole, nb.load(whole))
    for path in (whole, start):
        report = check_input(path)
        assert (report.shape, report.dtype) == (expected.shape, expected.dtype)
        assert report.affine_source == expected.affine_source
        assert report.warnings == expected.warnings
        np.testing.assert_array_equal(report.affine, expected.affine)


def test_sform_wins_over_a_disagreeing_qform(tmp_path: Path) -> None:
    image, other = _image(), AFFINE.copy()
    other[2, 3] = 4.0
    image.set_qform(other, code=1)
    report = check_input(_saved(image, tmp_path))
    assert report.affine_source == "sform"
    np.testing.assert_array_equal(report.affine, AFFINE)
    assert report.warnings == ("qform and sform disagree by up to 4.00 mm; the sform is used.",)


def test_qform_alone_is_used(tmp_path: Path) -> None:
    image = _image()
    image.set_sform(None, code=0)
    report = check_input(_saved(image, tmp_path))
    assert (report.affine_source, report.warnings) == ("qform", ())


def test_without_forms_the_zooms_are_used_with_a_warning(tmp_path: Path) -> None:
    image = nb.Nifti1Image(np.zeros((6, 7, 8), np.int16), None)
    image.header.set_zooms((0.5, 0.5, 3.0))
    report = check_input(_saved(image, tmp_path))
    assert report.affine_source == "zooms"
    assert report.zooms == (0.5, 0.5, 3.0)
    assert len(report.warnings) == 1
    assert "orientation is not known" in report.warnings[0]


@pytest.mark.parametrize("zoom", [0.0, -6.0, np.nan])
def test_bad_zooms_without_sform_are_refused(tmp_path: Path, zoom: float) -> None:
    image = _image()
    image.set_sform(None, code=0)
    path = _patched(_saved(image, tmp_path, "image.nii"), 76 + 3 * 4, "<f4", zoom)
    with pytest.raises(InputDataError, match=r"voxel sizes 1 x 1 x .*expected positive"):
        check_input(path)


@pytest.mark.parametrize("zoom", [0.0, 5.0])
def test_zooms_that_contradict_the_sform_are_reported(tmp_path: Path, zoom: float) -> None:
    path = _patched(_saved(_image(), tmp_path, "image.nii"), 76 + 3 * 4, "<f4", zoom)
    report = check_input(path)
    assert report.zooms == (1.0, 1.0, 6.0)
    assert any(f"voxel sizes 1 x 1 x {zoom:g} mm differ" in text for text in report.warnings)


def test_zooms_of_nifti_2_and_big_endian_are_found(tmp_path: Path) -> None:
    second = nb.Nifti2Image(np.zeros((4, 4, 4), np.int16), AFFINE)
    assert check_input(_saved(second, tmp_path, "second.nii.gz")).warnings == ()
    big = nb.Nifti1Image(np.zeros((4, 4, 4), np.int16), AFFINE, nb.Nifti1Header(endianness=">"))
    assert check_input(_saved(big, tmp_path, "big.nii")).warnings == ()


@pytest.mark.parametrize(
    ("unit", "factor", "name"), [("meter", 1e-3, "metre"), ("micron", 1e3, "micrometre")]
)
def test_other_units_are_converted(tmp_path: Path, unit: str, factor: float, name: str) -> None:
    scaled = np.diag([factor, factor, 6 * factor, 1.0])
    image = nb.Nifti1Image(np.zeros((4, 4, 4), np.int16), scaled)
    image.header.set_xyzt_units(unit)
    report = check_input(_saved(image, tmp_path))
    np.testing.assert_allclose(report.zooms, (1.0, 1.0, 6.0), rtol=1e-6)
    assert report.warnings == (f"The header's unit is the {name}; lengths were converted to mm.",)


def test_qform_that_is_no_rotation_matters_only_without_sform(tmp_path: Path) -> None:
    # quatern_b at byte 256
    path = _patched(_saved(_image(), tmp_path, "image.nii"), 256, "<f4", 1e5)
    report = check_input(path)
    np.testing.assert_array_equal(report.affine, AFFINE)
    assert len(report.warnings) == 1
    assert "qform is not a rotation" in report.warnings[0]
    _patched(path, 254, "<i2", 0)  # sform_code
    with pytest.raises(InputDataError, match="cannot be read as NIfTI"):
        check_input(path)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 347), st.integers(0, 255)), min_size=1, max_size=6))
def test_garbage_headers_are_refused_or_read_but_never_crash(
    patches: list[tuple[int, int]],
) -> None:
    content = bytearray(_image().to_bytes())
    for offset, value in patches:
        content[offset] = value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.nii"
        path.write_bytes(bytes(content))
        with contextlib.suppress(InputDataError):
            assert check_input(path).shape
        with contextlib.suppress(InputDataError):
            assert np.isfinite(Volume.load(path).data).all()


def test_unusable_sform_is_refused_with_the_file(tmp_path: Path) -> None:
    # srow_y at byte 296: all zero
    path = _patched(_saved(_image(), tmp_path, "image.nii"), 296, "<f4", 0, 0, 0, 0)
    with pytest.raises(InputDataError, match=r"image\.nii: .*cannot be inverted"):
        check_input(path)


@pytest.mark.parametrize("shape", [(6, 7), (6, 7, 1), (1, 7, 8), (6, 7, 1, 4)])
def test_single_slices_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputDataError, match="at least 2 slices"):
        check_input(_saved(_image(shape), tmp_path))


def test_rgb_and_complex_are_refused(tmp_path: Path) -> None:
    rgb = np.zeros((4, 4, 4), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    with pytest.raises(InputDataError, match="RGB values"):
        check_input(_saved(nb.Nifti1Image(rgb, AFFINE), tmp_path))
    phase = np.zeros((4, 4, 4), dtype=np.complex64)
    with pytest.raises(InputDataError, match="complex values"):
        check_input(_saved(nb.Nifti1Image(phase, AFFINE), tmp_path))


def test_absent_empty_and_foreign_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputDataError, match="no such file"):
        check_input(tmp_path / "absent.nii.gz")
    (tmp_path / "empty.nii.gz").touch()
    with pytest.raises(InputDataError, match=r"empty \(0 bytes\)"):
        check_input(tmp_path / "empty.nii.gz")
    (tmp_path / "text.nii.gz").write_text("not an image")
    with pytest.raises(InputDataError, match="cannot be read as NIfTI"):
        check_input(tmp_path / "text.nii.gz")
    (tmp_path / "text.nii").write_text("not an image" * 100)
    with pytest.raises(InputDataError, match="cannot be read as NIfTI"):
        check_input(tmp_path / "text.nii")
    nb.MGHImage(np.zeros((4, 4, 4), np.float32), AFFINE).to_filename(tmp_path / "image.mgz")
    with pytest.raises(InputDataError, match="found a MGHImage"):
        check_input(tmp_path / "image.mgz")


def test_unfetched_annex_content_gets_its_command(tmp_path: Path) -> None:
    link = tmp_path / "sub-01_T1w.nii.gz"
    link.symlink_to(".git/annex/objects/aa/bb/SHA256E-s1--c.nii.gz/SHA256E-s1--c.nii.gz")
    pointer = tmp_path / "sub-02_T1w.nii.gz"
    pointer.write_text("/annex/objects/SHA256E-s1--c.nii.gz\n")
    for path in (link, pointer):
        with pytest.raises(InputDataError, match="not been fetched") as caught:
            check_input(path)
        assert f"datalad get {path}" in str(caught.value)
        assert f"git annex get {path}" in str(caught.value)


def test_other_broken_links_are_called_so(tmp_path: Path) -> None:
    (tmp_path / "link.nii.gz").symlink_to(tmp_path / "gone.nii.gz")
    with pytest.raises(InputDataError, match=r"broken link to .*gone"):
        check_input(tmp_path / "link.nii.gz")


@pytest.mark.parametrize("kind", [nb.Nifti1Image, nb.Nifti2Image])
@pytest.mark.parametrize("size", [2**31 - 16, 1 << 27, 0, -16])
@pytest.mark.parametrize("swapped", [False, True])
def test_a_header_extension_is_bounded(
    tmp_path: Path, kind: type[nb.Nifti1Image], size: int, swapped: bool
) -> None:
    image = kind(np.arange(60, dtype=np.int16).reshape(3, 4, 5), AFFINE)
    image.header.extensions.append(nb.nifti1.Nifti1Extension(6, b"x" * 100))
    path = _saved(image, tmp_path, "image.nii")
    if swapped:
        header = image.header.as_byteswapped()
        path.write_bytes(
            header.structarr.tobytes() + path.read_bytes()[len(header.structarr.tobytes()) :]
        )
    start = int(image.header.sizeof_hdr) + 4
    _patched(path, start, ">i4" if swapped else "<i4", size)
    bomb = tmp_path / "image.nii.gz"
    with gzip.open(bomb, "wb", compresslevel=1) as stream:
        stream.write(path.read_bytes())
        stream.write(bytes(1 << 26))
    for file in (path, bomb):
        with pytest.raises(InputDataError, match=r"a header extension of -?\d+ bytes; expected"):
            check_input(file)
        with pytest.raises(InputDataError, match="a header extension of"):
            Volume.load(file)


def test_a_long_header_of_its_own_is_bounded(tmp_path: Path) -> None:
    path = tmp_path / "image.img"
    nb.Nifti1Pair(np.arange(60, dtype=np.int16).reshape(3, 4, 5), AFFINE).to_filename(path)
    header = path.with_suffix(".hdr")
    whole = bytearray(header.read_bytes()[:348] + b"\1\0\0\0")
    header.write_bytes(whole + np.array([(1 << 26) + 16, 6], "<i4").tobytes() + bytes(64))

    with pytest.raises(InputDataError, match="a header extension of"):
        check_input(path)


def test_a_pipe_is_no_image(tmp_path: Path) -> None:
    path = tmp_path / "image.nii.gz"
    os.mkfifo(path)

    with pytest.raises(InputDataError, match="found a named pipe; expected a regular file"):
        check_input(path)


@pytest.mark.parametrize("name", ["image.nii", "image.nii.gz"])
@pytest.mark.parametrize("offset", [np.inf, -np.inf, np.nan])
def test_an_offset_that_is_no_number_is_refused(tmp_path: Path, name: str, offset: float) -> None:
    path = _patched(_saved(_image(), tmp_path, "plain.nii"), 108, "<f4", offset)
    target = tmp_path / name
    content = path.read_bytes()
    target.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    with pytest.raises(InputDataError, match="cannot be read as NIfTI"):
        check_input(target)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE])
def test_a_file_that_the_system_refuses_is_bad_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Root may read everything, so that the refusal is simulated."""

    def refuse(path: Path, *_: object) -> None:
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr("bids_sr.imaging.header.open_regular", refuse)
    with pytest.raises(InputDataError, match=f"cannot be read .{os.strerror(number)}"):
        check_input(_saved(_image(), tmp_path))


def test_a_link_to_itself_is_bad_data(tmp_path: Path) -> None:
    path = tmp_path / "image.nii.gz"
    path.symlink_to(path.name)
    with pytest.raises(InputDataError, match="link"):
        check_input(path)


@pytest.mark.parametrize("name", ["image.nii", "image.nii.gz"])
@pytest.mark.parametrize(
    ("kind", "place", "dtype", "first"),
    [(nb.Nifti1Image, 108, "<f4", 352), (nb.Nifti2Image, 168, "<i8", 544)],
)
def test_voxels_do_not_begin_within_the_header(
    tmp_path: Path, name: str, kind: Any, place: int, dtype: str, first: int
) -> None:
    image = kind(np.arange(210, dtype=np.int16).reshape(6, 7, 5), AFFINE)
    path = tmp_path / "image.nii"
    for offset in (-16, 0, 1, first - 1, first, first + 16):
        image.to_filename(path)
        content = _patched(path, place, dtype, offset).read_bytes() + bytes(16)
        written = tmp_path / name
        written.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
        for read in (check_input, read_nifti):
            if offset >= first:
                read(written)
                continue
            with pytest.raises(InputDataError, match=f"offset {offset}") as refused:
                read(written)
            if offset == 0:
                assert f"expected {first} or more" in str(refused.value)


def test_a_header_of_its_own_leaves_the_data_at_0(tmp_path: Path) -> None:
    nb.Nifti1Pair(_image().dataobj, AFFINE).to_filename(tmp_path / "image.img")
    assert check_input(tmp_path / "image.img").shape == (6, 7, 8)
    assert read_nifti(tmp_path / "image.img")[0].max() == 335
    _patched(tmp_path / "image.hdr", 108, "<f4", -16)
    with pytest.raises(InputDataError, match="vox_offset -16"):
        check_input(tmp_path / "image.img")


def test_text_in_place_of_an_image_is_refused(tmp_path: Path) -> None:
    for name in ("image.nii", "image.nii.gz"):
        (tmp_path / name).write_bytes(b"no image")
        with pytest.raises(InputDataError, match="cannot be read as NIfTI"):
            check_input(tmp_path / name)


def test_an_image_without_voxels_is_refused(tmp_path: Path) -> None:
    image = nb.Nifti1Image(np.zeros((4, 5, 6, 0), np.int16), AFFINE)
    with pytest.raises(InputDataError, match=r"found shape \(4, 5, 6, 0\), which holds no voxel"):
        check_input(_saved(image, tmp_path))


@pytest.mark.parametrize(
    ("unit", "scale", "words"),
    [
        ("mm", 1e-3, "found voxels of 0.001 x 0.001 x 0.006 mm; expected 0.01 to 100 mm"),
        ("mm", 1e3, "found voxels of 1000 x 1000 x 6000 mm; expected 0.01 to 100 mm"),
        ("meter", 1, "6000 mm, in the header's unit, the metre; expected 0.01 to 100 mm"),
    ],
)
def test_voxels_of_no_scan_are_refused(
    tmp_path: Path, unit: str, scale: float, words: str
) -> None:
    affine = AFFINE @ np.diag([scale, scale, scale, 1])
    image = nb.Nifti1Image(np.ones((6, 7, 8), np.int16), affine)
    image.header.set_xyzt_units(unit)
    with pytest.raises(InputDataError, match=words):
        check_input(_saved(image, tmp_path))


def test_axes_that_are_not_at_right_angles_are_told(tmp_path: Path) -> None:
    affine = AFFINE.copy()
    affine[0, 2] = 1.0
    image = nb.Nifti1Image(np.ones((6, 7, 8), np.int16), affine)
    image.set_qform(None, code=0)
    report = check_input(_saved(image, tmp_path))
    assert any("9.5 degrees off right angles" in warning for warning in report.warnings)
