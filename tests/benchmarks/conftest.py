"""The scripts of the benchmarks as modules, and the settings of a tiny training."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture(scope="session")
def load() -> Callable[[str], ModuleType]:
    """Return what imports a script by its path below ``benchmarks``, without ``.py``."""

    def load(name: str) -> ModuleType:
        path = FOLDER / f"{name}.py"
        spec = importlib.util.spec_from_file_location(f"benchmark_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # argparse and dataclasses look it up
        sys.path.insert(0, str(path.parent))  # as where it is run
        try:
            spec.loader.exec_module(module)
        finally:
            sys.path.remove(str(path.parent))
        return module

    return load


@pytest.fixture
def tiny_settings() -> str:
    return """
steps = 100000
patch_slices = 4
patch_width = 16
patch_planes = 8
batch_size = 4
volume_batch = 2
report_every = 20
threads = 1
device = "cpu"
left_out_subjects = ["sub-b"]
"""
