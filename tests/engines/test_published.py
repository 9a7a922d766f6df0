from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from bids_sr.engines.published import SYSTEM_FOLDER, published_weights, sha256
from bids_sr.exceptions import WeightsError


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
    found = [next(i for i, root in enumerate(roots) if p.is_relative_to(root)) for p in places]
    assert found == sorted(found)
    assert places[-1] == tmp_path / "home" / "hd-bet_params" / "release_2.0.0"


def test_home_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError

    monkeypatch.setattr(Path, "home", homeless)
    assert published_weights("hd-bet").find(None) is None


def test_sha256(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"weights")
    assert sha256(tmp_path / "file") == hashlib.sha256(b"weights").hexdigest()
