from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from bids_sr.exceptions import ConfigError, EngineError, InputDataError
from bids_sr.sr.learning.frames import part_by_scene, read_shots
from bids_sr.sr.learning.pairs import Pairs, PatchSize
from bids_sr.sr.learning.training_volumes import TrainingVolume
from bids_sr.sr.recipes.video import FrameSampling, Video

av = pytest.importorskip("av")
QUICK: dict[str, Any] = {
    "threads": 1,
    "device": "cpu",
    "channels": 8,
    "blocks": 1,
    "batch_size": 4,
    "patch_width": 16,
    "patch_slices": 4,
    "every": (3,),
}


def write_video(path: Path, frames: npt.NDArray[np.uint8]) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width = frames.shape[1:]
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 4_000_000
        for grey in frames:
            picture = av.VideoFrame.from_ndarray(np.repeat(grey[..., None], 3, 2), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def moving_blobs(number: int, seed: int) -> npt.NDArray[np.uint8]:
    """Return frames of bright blobs that move smoothly."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:48, :64]
    frames = np.zeros((number, 48, 64))
    for _ in range(6):
        cy, cx, vy, vx = *random.uniform(8, 40, 2), *random.uniform(-1.5, 1.5, 2)
        for time in range(number):
            distance = (y - cy - vy * time) ** 2 + (x - cx - vx * time) ** 2
            frames[time] += 200 * np.exp(-distance / 18)
    return np.clip(frames, 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a shot of 40 frames, a cut, another of 30."""
    frames = np.concatenate([moving_blobs(40, 0), 255 - moving_blobs(30, 1)])
    return write_video(tmp_path_factory.mktemp("video") / "clip.mp4", frames)


def test_shots_are_decoded_grey_and_parted_at_cuts(video: Path) -> None:
    shots = read_shots([video], width=64, most_frames=100, least_frames=10)
    assert [name for name, _ in shots] == ["clip.mp4#1", "clip.mp4#2"]
    assert [frames.shape for _, frames in shots] == [(40, 48, 64), (30, 48, 64)]
    np.testing.assert_allclose(shots[0][1], moving_blobs(40, 0) / 255, atol=0.15)
    small = read_shots([video], width=32, most_frames=50, least_frames=20)
    assert [frames.shape for _, frames in small] == [(40, 24, 32)]


def test_bad_videos_are_left_out_aloud(
    video: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    with caplog.at_level(logging.WARNING):
        assert len(read_shots([text, video], width=32, most_frames=9, least_frames=2)) == 1
    assert "text.mp4: cannot be decoded" in caplog.text
    with pytest.raises(InputDataError, match="no shot of 99 frames"):
        read_shots([video], width=32, most_frames=100, least_frames=99)


def test_without_a_decoder_it_says_what_to_install(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(EngineError, match=r"bids_sr\[video\]"):
        read_shots([video], width=32, most_frames=10, least_frames=2)


def test_a_single_frame_is_one_scene() -> None:
    assert len(part_by_scene(np.zeros((1, 4, 4), np.float32))) == 1


def test_the_middle_of_every_few_frames_is_kept() -> None:
    frames = np.random.default_rng(0).random((40, 20, 24)).astype(np.float32)
    volume = TrainingVolume.of("clip", frames, np.ones(3), orders=((1, 0, 2),))
    pairs = Pairs(
        [volume],
        FrameSampling(),
        PatchSize(slices=4, width=16, batch=3),
        factor=8,
        seed=0,
        varied=False,
    )
    for every in (3, 5):
        slices, rows = pairs.draw(volume, FrameSampling.keeping(every, 1.0))
        assert rows.hr.shape[1] == 4 * every
        middle = rows.hr[:, every // 2 :: every]
        torch.testing.assert_close(slices.lr[:, 0], middle, atol=1e-5, rtol=0)


def test_it_learns_motion(video: Path) -> None:
    weights = Video(**QUICK, steps=160, report_every=40, frame_width=64).train([video])
    curve = weights.card.to_dict()["Curve"]
    assert curve[-1]["loss"] < curve[0]["loss"]
    assert weights.card.to_dict()["Recipe"]["Name"] == "video"
    assert weights.card.data == {"Files": ["clip.mp4"], "LeftOut": []}


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"every": (2,)}, "every"),
        ({"every": ()}, "every"),
        ({"every": (9,)}, "every"),
        ({"frame_width": 8}, "frame_width"),
        ({"most_frames": 0}, "most_frames"),
    ],
)
def test_impossible_settings_are_refused(wrong: dict[str, Any], name: str) -> None:
    with pytest.raises(ConfigError, match=name):
        Video(**wrong)
