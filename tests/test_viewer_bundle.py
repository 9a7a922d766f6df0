"""The copy of NiiVue is the one that is recorded, and a changed one is noticed."""

from __future__ import annotations

import gzip
import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def bundle() -> ModuleType:
    """Import requirements/viewer_bundle.py, which is no part of the package."""
    path = REPOSITORY / "requirements" / "viewer_bundle.py"
    spec = importlib.util.spec_from_file_location("viewer_bundle", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_copy_is_as_recorded(bundle: ModuleType) -> None:
    assert bundle.check().endswith("as recorded")
    known = bundle.recorded()
    assert known["version"] in known["file"]
    assert known["licence"] == "BSD-2-Clause"


def test_the_copy_needs_no_module_loader(bundle: ModuleType) -> None:
    known = bundle.recorded()
    script = gzip.decompress((bundle.FOLDER / known["file"]).read_bytes()).decode("utf-8")
    assert script.startswith("(function(")
    assert ".niivue={}" in script[:400]


def test_a_changed_copy_is_noticed(bundle: ModuleType, tmp_path: Path) -> None:
    folder = shutil.copytree(bundle.FOLDER, tmp_path / "viewer")
    path = folder / bundle.recorded(folder)["file"]
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()) + b";alert(1)"))
    with pytest.raises(bundle.BundleError, match="the script has the checksum"):
        bundle.check(folder)


def test_a_copy_without_its_licence_is_noticed(bundle: ModuleType, tmp_path: Path) -> None:
    folder = shutil.copytree(bundle.FOLDER, tmp_path / "viewer")
    (folder / "LICENSES.txt").write_text("none")
    with pytest.raises(bundle.BundleError, match="does not name @niivue/niivue"):
        bundle.check(folder)
