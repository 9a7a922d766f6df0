from __future__ import annotations

import functools
import hashlib
import re
import shlex
import subprocess
import threading
import tomllib
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bids_sr.cli import tools
from bids_sr.exceptions import WeightsError
from bids_sr.files import file_digest
from bids_sr.published import (
    PACKAGED_FOLDER,
    SYSTEM_FOLDER,
    names,
    published_weights,
)
from bids_sr.sr.contract.weights import Weights


def test_registry_entry() -> None:
    weights = published_weights("hd-bet")
    assert list(weights.files) == ["plans.json", "dataset.json", "fold_all/checkpoint_final.pth"]
    assert weights.url.startswith("https://")


def test_unknown_name() -> None:
    with pytest.raises(WeightsError, match="expected one of hd-bet"):
        published_weights("hd-bat")


def test_order_of_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BIDS_SR_WEIGHTS", str(tmp_path / "variable"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    places = published_weights("hd-bet").candidates(tmp_path / "argument")
    roots = [tmp_path / "argument", tmp_path / "variable", SYSTEM_FOLDER, tmp_path / "home"]
    positions = [next(i for i, root in enumerate(roots) if p.is_relative_to(root)) for p in places]
    assert positions == sorted(positions)
    assert places[-1] == tmp_path / "home" / "hd-bet_params" / "release_2.0.0"


def test_home_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", homeless)
    assert published_weights("hd-bet").find(None) is None


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Keep the folders of this machine out of the search."""
    monkeypatch.delenv("BIDS_SR_WEIGHTS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """Serve a folder: one file, and an archive with the files of HD-BET in a folder."""
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "file.pth").write_bytes(b"weights")
    with zipfile.ZipFile(tmp_path / "web" / "all.zip", "w") as archive:
        for path in (*published_weights("hd-bet").files, "../../escaped"):
            archive.writestr(f"release/{path}", path)

    class Silent(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    handler = functools.partial(Silent, directory=str(tmp_path / "web"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_every_entry_is_complete() -> None:
    assert set(names()) == {
        "hd-bet",
        "prettier-edsr",
        "prettier-realesrgan",
        "prettier-shufflemixer",
        "brain-5",
    }
    for name in names():
        weights = published_weights(name)
        assert weights.files
        assert weights.licence
        assert weights.packaged or weights.page.startswith("https://")


def test_file_is_fetched_once_into_the_cache(alone: Path, web: str) -> None:
    weights = replace(published_weights("prettier-edsr"), url=f"{web}/file.pth")
    folder = weights.fetch()
    assert folder == alone / "cache" / "bids_sr" / "prettier"
    assert (folder / "EDSR_finetuned.pth").read_bytes() == b"weights"
    assert replace(weights, url=f"{web}/gone").fetch(offline=True) == folder


def test_archive_gives_its_files_and_nothing_else(alone: Path, web: str) -> None:
    weights = replace(published_weights("hd-bet"), url=f"{web}/all.zip")
    folder = weights.fetch(alone / "w")
    assert weights.find(alone / "w") == folder
    files = {str(path.relative_to(alone / "w")) for path in folder.rglob("*") if path.is_file()}
    assert {name for name in files if not name.endswith(".lock")} == {
        f"{weights.folder}/{path}" for path in weights.files
    }
    assert not (alone / "escaped").exists()


def test_archive_without_the_files_is_refused(alone: Path, web: str) -> None:
    with zipfile.ZipFile(alone / "web" / "all.zip", "w") as archive:
        archive.writestr("plans.json", "")
    with pytest.raises(WeightsError, match=r"Found 0 files dataset\.json"):
        replace(published_weights("hd-bet"), url=f"{web}/all.zip").fetch()
    (alone / "web" / "all.zip").write_bytes(b"text")
    with pytest.raises(WeightsError, match="not a zip archive"):
        replace(published_weights("hd-bet"), url=f"{web}/all.zip").fetch(alone / "other")


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("bomb", r"plans\.json in the archive with 3000000 bytes; expected at most 2000000"),
        ("lying", "not a zip archive that can be unpacked"),
        ("members", "list of members is absent or too long"),
        ("locked", "password"),
        ("digest", r"SHA-256 [0-9a-f]{64} of plans\.json; expected 0000"),
    ],
)
def test_an_archive_does_not_grow_without_bounds(
    alone: Path, web: str, kind: str, words: str
) -> None:
    path = alone / "web" / "all.zip"
    weights = replace(
        published_weights("hd-bet"),
        url=f"{web}/all.zip",
        largest_mb=20 if kind == "members" else 2,
    )
    if kind == "digest":
        weights = replace(weights, files={**weights.files, "plans.json": "0" * 64})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in weights.files:
            archive.writestr(name, bytes(3_000_000 if kind in ("bomb", "lying") else 10))
        for number in range(30_000 if kind == "members" else 0):
            archive.writestr(zipfile.ZipInfo(f"{number}"), b"")
    content = path.read_bytes()
    if kind == "lying":  # it says that it unpacks to less
        content = content.replace((3_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    if kind == "locked":
        content = content.replace(b"PK\1\2\x14\3\x14\0\0", b"PK\1\2\x14\3\x14\0\1")
    path.write_bytes(content)

    with pytest.raises(WeightsError, match=words):
        weights.fetch(alone / "w")

    left = [path.name for path in (alone / "w").rglob("*") if path.is_file()]
    assert all(name.endswith(".lock") for name in left)


def test_known_digest_is_checked(alone: Path, web: str) -> None:
    weights = replace(published_weights("prettier-edsr"), url=f"{web}/file.pth")
    wrong = replace(weights, files={"EDSR_finetuned.pth": "0" * 64})
    with pytest.raises(WeightsError, match=r"expected 0000.*save it so that .*EDSR_finetuned"):
        wrong.fetch()
    with pytest.raises(WeightsError, match="expected abc"):
        weights.fetch(sha256="ABC")
    weights.fetch(sha256=hashlib.sha256(b"weights").hexdigest())


def test_offline_says_which_file_to_put_where(alone: Path) -> None:
    place = alone / "w" / "prettier" / "EDSR_finetuned.pth"
    with pytest.raises(WeightsError, match=f"run is offline.*so that {place} exists"):
        published_weights("prettier-edsr").fetch(alone / "w", offline=True)


def test_without_an_address_nothing_is_guessed(alone: Path) -> None:
    weights = replace(published_weights("prettier-edsr"), url=None)
    with pytest.raises(WeightsError, match=r"no download address.*Get EDSR_finetuned\.pth from"):
        weights.fetch()


def test_no_home_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError

    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("BIDS_SR_WEIGHTS", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(WeightsError, match="no home folder"):
        published_weights("prettier-edsr").fetch()


def test_command_line(alone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["fetch", "prettier-shufflemixer", "--weights-dir", str(alone), "--offline"]
    assert tools.main(arguments) != 0
    assert "ShuffleMixer_finetuned.pth exists" in capsys.readouterr().err
    (alone / "prettier").mkdir()
    (alone / "prettier" / "ShuffleMixer_finetuned.pth").write_bytes(b"weights")
    assert tools.main(arguments) == 0
    printed = capsys.readouterr().out
    assert hashlib.sha256(b"weights").hexdigest() in printed
    assert "released digest not known" in printed


SAME_HEADS = (
    {"sub-adult01", "sub-adult03"},
    {"sub-adult02", "sub-adult04", "sub-adult09", "sub-gap01"},
)
"""Subjects of the development data that benchmarks/same_head.py finds to be one."""


def test_the_next_training_leaves_out_whole_heads() -> None:
    settings = Path(__file__).parents[1] / "benchmarks" / "gpu" / "training.toml"
    left_out = set(tomllib.loads(settings.read_text(encoding="utf-8"))["left_out_subjects"])
    for head in SAME_HEADS:
        assert head & left_out in (set(), head)


@pytest.mark.parametrize("name", ["brain-5"])
def test_packaged_weights_are_what_they_say(name: str, tmp_path: Path) -> None:
    """The file, its card and the settings that made it; no folder of a user stands before it."""
    weights = published_weights(name)
    (tmp_path / f"{name}.safetensors").write_bytes(b"another")
    folder = weights.fetch(tmp_path, offline=True)
    assert folder == PACKAGED_FOLDER
    ((path, known),) = weights.files.items()
    assert file_digest(folder / path) == known
    assert (folder / path).stat().st_size < 10e6
    card = Weights.load(folder / path).card.to_dict()
    settings = tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8"))
    recorded = card["Recipe"]["Parameters"]
    assert {name: recorded[name] for name in settings} == settings
    assert {image.split("_")[0] for image in card["Data"]["LeftOut"]} == set(
        settings["left_out_subjects"]
    )
    assert not set(card["Data"]["LeftOut"]) & set(card["Data"]["Files"])
    assert not any(word.startswith("/") for word in shlex.split(card["Command"]))
    assert card["Licence"]
    assert min(card["Validation"]["GainOverCubicDecibel"].values()) > 0.5
    page = (folder / f"{name}.md").read_text(encoding="utf-8")
    trained_on, left_out = (
        {image.split("_")[0] for image in card["Data"][side]} for side in ("Files", "LeftOut")
    )
    for head in SAME_HEADS:
        if head & trained_on and head & left_out:
            assert "**the same head**" in page
            assert all(subject in page for subject in head)


EARLIER = Path(__file__).parents[1] / "benchmarks" / "earlier-weights"


@pytest.mark.parametrize("number", [1, 2, 3, 4])
def test_the_cards_of_earlier_weights_say_where_they_are(number: int) -> None:
    page = (EARLIER / f"brain-{number}.md").read_text(encoding="utf-8")
    digest = re.search(r"The file \(SHA-256 `([0-9a-f]{64})`\)", page)
    place = re.search(r"git show (\S+) >", page)
    assert digest
    assert place
    shown = subprocess.run(["git", "show", place[1]], cwd=EARLIER, capture_output=True)
    if shown.returncode:
        pytest.skip("the history of this repository is not here")
    assert hashlib.sha256(shown.stdout).hexdigest() == digest[1]
