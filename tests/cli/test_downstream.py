"""What is handed to the comparison: real tools, and the reference segmented once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bids_sr.cli import downstream
from bids_sr.evaluation.downstream import Segmented
from bids_sr.imaging import Volume


def test_what_has_a_name_is_segmented_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def counted(volume: Volume, mask: np.ndarray, lesions: bool, *_: int) -> Segmented:
        calls.append(lesions)
        return Segmented(tissues=mask.astype(np.uint8), lesions=mask if lesions else None)

    monkeypatch.setattr(downstream, "_segment", counted)
    segment = downstream.segmenter(tmp_path / "kept", threads=1, seed=0)
    image = Volume(np.zeros((3, 3, 3), np.float32), np.eye(4))
    mask = np.eye(3, dtype=bool)[None].repeat(3, axis=0)
    first = segment(image, mask, True, "reference")
    second = segment(image, mask, True, "reference")
    assert calls == [True]
    np.testing.assert_array_equal(first.tissues, second.tissues)
    np.testing.assert_array_equal(first.lesions, second.lesions)
    assert segment(image, mask, False, "").lesions is None
    assert calls == [True, False]
