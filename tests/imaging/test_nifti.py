"""Reading to the last byte, refusing what is no image, writing whole files."""

from __future__ import annotations

import gzip
import logging
from pathlib import Path

import nibabel as nb
import numpy as np
import pytest

from bids_sr.exceptions import InputDataError
from bids_sr.imaging.nifti import read_nifti, write_nifti

AFFINE = np.array(
    [[-0.8, 0.1, 0.0, 10.5], [0.1, 0.8, 0.3, -20.25], [0.0, -0.05, 5.0, 3.0], [0, 0, 0, 1.0]]
)
OBLIQUE = np.eye(4)
_c, _s = np.cos(0.3), np.sin(0.3)
OBLIQUE[:3, :3] = np.array([[1, 0, 0], [0, _c, -_s], [0, _s, _c]]) @ np.diag([0.719, 0.719, 6.0])
OBLIQUE[:3, 3] = (-91.3, 40.1, 7.7)


def _data(dtype: str = "float32") -> np.ndarray:
    return (np.random.default_rng(0).uniform(0, 200, (6, 7, 8))).astype(dtype)


def _raw(path: Path, data: np.ndarray, affine: np.ndarray = OBLIQUE) -> Path:
    nb.Nifti1Image(data, affine).to_filename(path)
    return path


# --- reading ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["image.nii", "image.nii.gz"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_reads_every_type_and_name(tmp_path: Path, name: str, dtype: str) -> None:
    path = _raw(tmp_path / name, _data(dtype))
    data, affine = read_nifti(path)
    assert data.dtype == np.float32
    np.testing.assert_allclose(data, _data(dtype), rtol=1e-7)
    np.testing.assert_allclose(affine, OBLIQUE, atol=1e-5)
    assert read_nifti(path, np.float64)[0].dtype == np.float64


def test_applies_slope_and_intercept(tmp_path: Path) -> None:
    image = nb.Nifti1Image(_data("int16"), OBLIQUE)
    image.header.set_slope_inter(0.5, -3)
    stored = nb.Nifti1Image(nb.Nifti1Image(_data("int16") * 0.5 - 3, OBLIQUE).dataobj, OBLIQUE)
    stored.header.set_data_dtype("int16")
    stored.to_filename(tmp_path / "scaled.nii.gz")
    data, _ = read_nifti(tmp_path / "scaled.nii.gz")
    np.testing.assert_allclose(data, _data("int16") * 0.5 - 3, atol=0.01)


def test_reads_big_endian_and_nifti_2(tmp_path: Path) -> None:
    big = nb.Nifti1Image(_data(), OBLIQUE, nb.Nifti1Header(endianness=">"))
    big.to_filename(tmp_path / "big.nii")
    second = nb.Nifti2Image(_data(), OBLIQUE)
    second.to_filename(tmp_path / "second.nii.gz")
    for name in ("big.nii", "second.nii.gz"):
        np.testing.assert_array_equal(read_nifti(tmp_path / name)[0], _data())


def test_reads_pairs(tmp_path: Path) -> None:
    nb.Nifti1Pair(_data(), OBLIQUE).to_filename(tmp_path / "pair.img")
    np.testing.assert_array_equal(read_nifti(tmp_path / "pair.img")[0], _data())


def test_squeezes_trailing_axes_of_one(tmp_path: Path) -> None:
    path = _raw(tmp_path / "image.nii.gz", _data()[..., None, None])
    assert read_nifti(path)[0].shape == (6, 7, 8)


def test_integer_type_reads_a_mask_even_an_empty_one(tmp_path: Path) -> None:
    path = _raw(tmp_path / "mask.nii.gz", np.zeros((4, 4, 4), np.uint8))
    data, _ = read_nifti(path, np.uint8)
    assert data.dtype == np.uint8
    assert not data.any()
    ones = _raw(tmp_path / "ones.nii.gz", np.ones((4, 4, 4), np.float32))
    assert read_nifti(ones, bool)[0].all()


def test_integer_type_refuses_values_that_do_not_fit(tmp_path: Path) -> None:
    path = _raw(tmp_path / "labels.nii.gz", np.full((4, 4, 4), 300, np.int16))
    with pytest.raises(InputDataError, match="0 to 255 to fit uint8"):
        read_nifti(path, np.uint8)


@pytest.mark.parametrize("remainder", [0.5, 0.9, "checksum"])
def test_refuses_truncated_gzip(tmp_path: Path, remainder: float | str) -> None:
    path = _raw(tmp_path / "image.nii.gz", _data())
    content = path.read_bytes()
    end = len(content) - 4 if remainder == "checksum" else int(len(content) * float(remainder))
    path.write_bytes(content[:end])
    with pytest.raises(InputDataError, match=r"end early or are corrupt|cannot be read as NIfTI"):
        read_nifti(path)


def test_refuses_a_wrong_checksum(tmp_path: Path) -> None:
    path = _raw(tmp_path / "image.nii.gz", _data())
    content = bytearray(path.read_bytes())
    content[-8] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(InputDataError, match="CRC"):
        read_nifti(path)


def test_refuses_truncated_plain_file(tmp_path: Path) -> None:
    path = _raw(tmp_path / "image.nii", _data())
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputDataError, match="end early"):
        read_nifti(path)


def test_refuses_gzip_whose_content_is_short(tmp_path: Path) -> None:
    path = _raw(tmp_path / "image.nii.gz", _data())
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-100]))
    with pytest.raises(InputDataError, match="end early"):
        read_nifti(path)


@pytest.mark.parametrize("name", ["image.nii", "image.nii.gz"])
def test_refuses_a_header_that_promises_more_than_memory_holds(tmp_path: Path, name: str) -> None:
    plain = _raw(tmp_path / "plain.nii", _data())
    content = bytearray(plain.read_bytes())
    content[42:48] = np.array([32767] * 3, "<i2").tobytes()  # dim[1..3]
    packed = gzip.compress(bytes(content)) if name.endswith(".gz") else bytes(content)
    (tmp_path / name).write_bytes(packed)
    with pytest.raises(InputDataError, match="bytes where the header promises 1407"):
        read_nifti(tmp_path / name)


def test_refuses_4d(tmp_path: Path) -> None:
    path = _raw(tmp_path / "bold.nii.gz", np.stack([_data()] * 5, axis=-1))
    with pytest.raises(InputDataError, match=r"5 volumes .*bold|bold.*5 volumes"):
        read_nifti(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_refuses_non_finite(tmp_path: Path, bad: float) -> None:
    data = _data()
    data[1, 2, 3] = bad
    with pytest.raises(InputDataError, match="1 of 336 voxels"):
        read_nifti(_raw(tmp_path / "nan.nii.gz", data))


def test_refuses_values_beyond_float32(tmp_path: Path) -> None:
    data = _data("float64")
    data[0, 0, 0] = 1e200
    with pytest.raises(InputDataError, match="infinite"):
        read_nifti(_raw(tmp_path / "large.nii.gz", data))


def test_refuses_constant(tmp_path: Path) -> None:
    with pytest.raises(InputDataError, match=r"same value \(7\)"):
        read_nifti(_raw(tmp_path / "flat.nii.gz", np.full((4, 4, 4), 7, np.int16)))


def test_logs_what_the_header_gets_wrong(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    image = nb.Nifti1Image(_data(), None)
    image.to_filename(tmp_path / "nowhere.nii.gz")
    with caplog.at_level(logging.WARNING):
        read_nifti(tmp_path / "nowhere.nii.gz")
    assert "neither qform nor sform" in caplog.text


# --- writing ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "stored"),
    [
        ("float64", "float32"),
        ("float16", "float32"),
        ("float32", "float32"),
        ("bool", "uint8"),
        ("int64", "int32"),
        ("uint64", "int32"),
        ("int16", "int16"),
        ("uint16", "uint16"),
    ],
)
def test_default_types(tmp_path: Path, dtype: str, stored: str) -> None:
    path = write_nifti(tmp_path / "image.nii.gz", _data(dtype), OBLIQUE)
    image = nb.load(path)
    assert image.get_data_dtype() == stored
    np.testing.assert_array_equal(np.asarray(image.dataobj), _data(dtype).astype(stored))


def test_header(tmp_path: Path) -> None:
    header = nb.load(write_nifti(tmp_path / "image.nii.gz", _data(), OBLIQUE)).header
    assert (int(header["qform_code"]), int(header["sform_code"])) == (1, 1)
    np.testing.assert_allclose(header.get_qform(), header.get_sform(), atol=1e-4)
    np.testing.assert_allclose(header.get_sform(), OBLIQUE, atol=1e-5)
    assert header.get_xyzt_units()[0] == "mm"
    assert header.get_slope_inter() in ((1.0, 0.0), (None, None))
    np.testing.assert_allclose(header.get_zooms(), [0.719, 0.719, 6.0], rtol=1e-6)


def test_sheared_affine_keeps_its_sform(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "image.nii.gz", _data(), AFFINE)
    np.testing.assert_allclose(nb.load(path).affine, AFFINE, atol=1e-5)


def test_asked_integer_type_rounds(tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "image.nii.gz", _data(), OBLIQUE, np.int16)
    np.testing.assert_array_equal(np.asarray(nb.load(path).dataobj), np.rint(_data()))


def test_refuses_values_that_do_not_fit_the_asked_type(tmp_path: Path) -> None:
    with pytest.raises(InputDataError, match="expected 0 to 255"):
        write_nifti(tmp_path / "image.nii.gz", _data() * 10, OBLIQUE, np.uint8)
    assert not list(tmp_path.iterdir())


def test_refuses_other_endings(tmp_path: Path) -> None:
    with pytest.raises(InputDataError, match=r"ends with \.nii"):
        write_nifti(tmp_path / "image.mgz", _data(), OBLIQUE)


def test_same_content_same_bytes(tmp_path: Path) -> None:
    first = write_nifti(tmp_path / "first.nii.gz", _data(), OBLIQUE).read_bytes()
    assert first == write_nifti(tmp_path / "second.nii.gz", _data(), OBLIQUE).read_bytes()


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_nifti(tmp_path / "image.nii.gz", _data(), OBLIQUE)
    before = path.read_bytes()

    def _fail(self: nb.Nifti1Image, filename: Path) -> None:
        Path(filename).write_bytes(b"half a fi")
        raise OSError("disk full")

    monkeypatch.setattr(nb.Nifti1Image, "to_filename", _fail)
    with pytest.raises(OSError, match="disk full"):
        write_nifti(path, _data() + 1, OBLIQUE)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["image.nii.gz"]


def test_a_stream_that_unpacks_to_far_more_than_promised_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bids_sr.imaging.nifti.MOST_UNPACKED", 1 << 20)
    path = tmp_path / "image.nii.gz"
    nb.Nifti1Image(_data(), OBLIQUE).to_filename(path)
    with gzip.open(path, "ab") as stream:
        stream.write(bytes(1 << 20))
    read_nifti(path)  # some more is no harm
    with gzip.open(path, "ab", compresslevel=1) as stream:
        stream.write(bytes(1 << 23))
    with pytest.raises(InputDataError, match=r"more than \d+ bytes where \d+ are promised"):
        read_nifti(path)
