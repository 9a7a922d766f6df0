from __future__ import annotations

from pathlib import Path

import pytest

from bids_sr.engines.brain import choose_engine
from bids_sr.exceptions import ConfigError, WeightsError


@pytest.fixture(autouse=True)
def _no_other_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("BIDS_SR_WEIGHTS", raising=False)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    folder = tmp_path / "weights" / "release_2.0.0"
    (folder / "fold_all").mkdir(parents=True)
    for name in ("plans.json", "dataset.json", "fold_all/checkpoint_final.pth"):
        (folder / name).touch()
    return tmp_path / "weights"


def test_auto_without_weights(tmp_path: Path) -> None:
    engine, reason = choose_engine("auto", tmp_path)
    assert engine == "template"
    assert "no HD-BET weights" in reason


def test_auto_with_weights(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_engine("auto", weights)[0] == "hdbet"
    monkeypatch.setenv("BIDS_SR_WEIGHTS", str(weights))
    engine, reason = choose_engine("auto")
    assert engine == "hdbet"
    assert str(weights) in reason


@pytest.mark.parametrize("name", ["template", "none"])
def test_asked_for(name: str) -> None:
    assert choose_engine(name) == (name, "asked for")


def test_hdbet_by_name(weights: Path, tmp_path: Path) -> None:
    assert choose_engine("hdbet", weights)[0] == "hdbet"
    with pytest.raises(WeightsError, match=r"no complete weights.*bids_sr-tools fetch hd-bet"):
        choose_engine("hdbet", tmp_path / "elsewhere")


def test_unknown() -> None:
    with pytest.raises(ConfigError, match="'skull'"):
        choose_engine("skull")
