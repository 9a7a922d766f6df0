"""The peak of memory is that of this process, or of a program that it ran."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from bids_sr.compute.memory import peak_memory_gb


def test_it_sees_an_array() -> None:
    before = peak_memory_gb()
    big = np.ones(int((before + 0.2) * 1e9 / 8))
    assert peak_memory_gb() > before + 0.15
    del big


def test_a_program_counts_where_it_is_asked_for() -> None:
    size = int((peak_memory_gb() + 0.3) * 1e9)
    subprocess.run([sys.executable, "-c", f"x = bytes({size}); y = bytearray(x)"], check=True)
    assert peak_memory_gb(with_children=True) >= peak_memory_gb() + 0.25
