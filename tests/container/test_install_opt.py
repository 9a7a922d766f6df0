"""Weights and templates come into an image whole and checked, or the build ends."""

from __future__ import annotations

import functools
import hashlib
import http.server
import importlib.util
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from bids_sr.published import published_weights

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = "weights/hd-bet_params/release_2.0.0"
TEMPLATE = "templateflow/tpl-X/tpl-X_res-01_T1w.nii.gz"
FILES = {
    f"{FOLDER}/plans.json": b"{}",
    f"{FOLDER}/dataset.json": b"[]",
    f"{FOLDER}/fold_all/checkpoint_final.pth": b"numbers",
    TEMPLATE: b"image",
}


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    path = REPOSITORY / "container" / "install_opt.py"
    spec = importlib.util.spec_from_file_location("install_opt", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "LOCAL", tmp_path / "opt")
    return module


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a folder with small files named as HD-BET's, a template, and their digests."""
    folder = tmp_path / "opt"
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    lines = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in FILES.items()]
    (folder / "SHA256SUMS").write_text("# from the release\n" + "".join(lines))
    return folder


@pytest.fixture
def mirror(source: Path, tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Serve the files from elsewhere; only the digests stay in the folder of the build."""
    served = tmp_path / "served"
    source.rename(served)
    source.mkdir()
    (served / "SHA256SUMS").rename(source / "SHA256SUMS")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=served)
    handler.log_message = lambda *_: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/", served
        server.shutdown()


def test_by_default_two_empty_folders(install: ModuleType, tmp_path: Path) -> None:
    words = ["--weights", "", "--templates", "", "--source", str(tmp_path / "absent")]
    assert install.main([str(tmp_path / "image"), *words]) == 0
    assert {path.name for path in (tmp_path / "image").iterdir() if path.is_dir()} == {
        "weights",
        "templateflow",
    }


def test_what_is_asked_for_comes_from_a_folder_and_is_found_there(
    install: ModuleType, source: Path, tmp_path: Path
) -> None:
    target = tmp_path / "image"
    words = ["--weights", "hd-bet brain-5", "--templates", "tpl-X", "--source", str(source)]
    assert install.main([str(target), *words]) == 0
    for name, content in FILES.items():
        assert (target / name).read_bytes() == content
    assert install.read_sums(target / "SHA256SUMS") == install.read_sums(source / "SHA256SUMS")
    assert published_weights("hd-bet").require(target / "weights") == target / FOLDER


def test_what_is_asked_for_comes_from_a_mirror(
    install: ModuleType, mirror: tuple[str, Path], tmp_path: Path
) -> None:
    target = tmp_path / "image"
    words = ["--weights", "hd-bet", "--templates", "tpl-X", "--source", mirror[0]]
    assert install.main([str(target), *words]) == 0
    for name, content in FILES.items():
        assert (target / name).read_bytes() == content


def test_a_damaged_file_of_a_mirror_ends_the_build(
    install: ModuleType,
    mirror: tuple[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (mirror[1] / FOLDER / "plans.json").write_bytes(b"{x")
    target = tmp_path / "image"
    assert install.main([str(target), "--weights", "hd-bet", "--source", mirror[0]]) == 1
    assert hashlib.sha256(b"{x").hexdigest() in capsys.readouterr().err
    assert not (target / FOLDER / "plans.json").exists()


@pytest.mark.parametrize(
    ("spoil", "words", "message"),
    [
        ("absent", ["--weights", "hd-bet"], r"Found no .*plans\.json; expected the file with SHA"),
        ("other", ["--weights", "hd-bet"], r"Found SHA-256 \w{64} of .*plans\.json; expected"),
        ("unlisted", ["--weights", "hd-bet"], r"no SHA-256 of weights/hd-bet.*tools fetch hd-bet"),
        ("none", ["--weights", "hd-bte"], r"no published weights named 'hd-bte'"),
        ("none", ["--weights", "prettier-edsr"], r"Found no SHA-256 of weights/prettier/"),
        ("none", ["--templates", "tpl-Y"], r"Found no file of templateflow/tpl-Y/"),
        ("folder", ["--weights", "hd-bet"], r"Found no folder .*opt; expected weights"),
        ("outside", ["--weights", "hd-bet"], r"Found .*\.\./x.* at .*SHA256SUMS:\d"),
        ("short", ["--weights", "hd-bet"], r"Found 'abc  x' at .*SHA256SUMS:\d"),
    ],
)
def test_the_build_ends_with_the_reason(
    install: ModuleType,
    source: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spoil: str,
    words: list[str],
    message: str,
) -> None:
    sums, plans = source / "SHA256SUMS", source / FOLDER / "plans.json"
    if spoil == "absent":
        plans.unlink()
    elif spoil == "other":
        plans.write_bytes(b"{} ")
    elif spoil == "unlisted":
        sums.write_text("")
    elif spoil == "folder":
        source.rename(tmp_path / "elsewhere")
    elif spoil == "outside":
        sums.write_text(f"{'0' * 64}  ../x\n")
    elif spoil == "short":
        sums.write_text("abc  x\n")
    assert install.main([str(tmp_path / "image"), *words, "--source", str(source)]) == 1
    said = capsys.readouterr().err
    assert re.search(message, said), said
