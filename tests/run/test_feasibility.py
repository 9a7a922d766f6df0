"""What is impossible is refused in the plan, with the number, and fails its image alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bids_sr.bids import AnatImage
from bids_sr.bids.names import specification
from bids_sr.bids.sidecar import AcquisitionFacts
from bids_sr.config import RunConfig
from bids_sr.imaging import Acquisition, Grid, lay_out_grid
from bids_sr.run import feasibility
from bids_sr.run.feasibility import memory_problem, name_problem, refuse_impossible
from bids_sr.run.plan import make_plan


@pytest.fixture
def config(tmp_path: Path) -> Callable[..., RunConfig]:
    def make(**changes: Any) -> RunConfig:
        folders = {name: tmp_path / name for name in ("bids", "out", "work")}
        values = {"bids_dir": folders["bids"], "output_dir": folders["out"]}
        return RunConfig(**{**values, "work_dir": folders["work"], **changes})

    return make


def image(labels: str = "sub-01", spacing: float = 1.0, **changes: Any) -> AnatImage:
    source = Grid((256, 256, 30), np.diag([0.9, 0.9, 5.0, 1.0]))
    stem = f"{labels}_FLAIR"
    subject, *entities = (part.split("-") for part in labels.split("_"))
    names = {"acq": "acquisition", "desc": "desc"}
    fields: dict[str, Any] = {
        "path": Path(f"/raw/sub-01/anat/{stem}.nii.gz"),
        "relpath": f"sub-01/anat/{stem}.nii.gz",
        "entities": {"subject": subject[1], **{names[key]: value for key, value in entities}},
        "suffix": "FLAIR",
        "action": "super-resolve",
        "reason": "anisotropy",
        "facts": AcquisitionFacts(
            acquisition=Acquisition(spacing=5.0, thickness=5.0, slice_axis=2),
            header_spacing=5.0,
            sources={},
        ),
        "source_grid": source,
        "target_grid": lay_out_grid(source, slice_axis=2, output_resolution=spacing),
        "target_spacing": spacing,
    }
    return AnatImage(**{**fields, **changes})


def test_an_output_that_no_memory_holds(config: Callable[..., RunConfig]) -> None:
    problem = memory_problem(image(spacing=0.05), config(), 16.0)
    assert "4608 x 4608 x 3000 voxels" in problem
    assert "is expected to need 5,7" in problem
    assert "has 16.0 GB" in problem
    assert "--output-resolution" in problem
    assert memory_problem(image(spacing=0.05), config(), None) == ""
    assert memory_problem(image(), config(), 16.0) == ""


def test_frames_count(config: Callable[..., RunConfig]) -> None:
    assert memory_problem(image(n_frames=2), config(), 3.0) == ""
    assert "in 40 frames" in memory_problem(image(n_frames=40), config(), 3.0)


def test_names_that_the_file_system_does_not_take(config: Callable[..., RunConfig]) -> None:
    def longest(**steps: Any) -> int:
        return next(
            length
            for length in range(230, 100, -1)
            if not name_problem(image(f"sub-01_acq-{'a' * length}"), config(**steps))
        )

    assert 150 < longest(segmentation=("wmh",)) < longest() < 215
    problem = name_problem(image(f"sub-01_acq-{'a' * 215}"), config())
    assert "this file system takes 255. Give the image shorter labels" in problem


def test_names_with_room_are_written_and_those_without_are_not(
    config: Callable[..., RunConfig],
) -> None:
    from bids_sr.bids.derivatives import output_paths
    from bids_sr.files.writing import write_text_atomic

    def written(length: int) -> bool:
        paths = output_paths(config().output_dir, image(f"sub-01_acq-{'a' * length}"))
        files = [path for path in vars(paths).values() if isinstance(path, Path)]
        try:
            for path in [*files, *paths.figures.values()]:
                write_text_atomic(path, "text")
        except OSError:
            return False
        return True

    lengths = range(165, 225)
    refused = [name_problem(image(f"sub-01_acq-{'a' * n}"), config()) != "" for n in lengths]
    first = lengths[refused.index(True)]
    assert written(first - 1)
    assert not written(first)


def test_a_path_that_is_too_long(config: Callable[..., RunConfig], tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a" * 200] * 20)
    assert "a path of" in name_problem(image(), config(output_dir=deep))
    assert "a path of" in name_problem(image(), config(work_dir=deep))


def test_only_the_impossible_image_fails(config: Callable[..., RunConfig]) -> None:
    images = [
        image(),
        image(spacing=0.05),
        image(f"sub-01_acq-{'a' * 230}"),
        replace(image(), action="skip", target_grid=None),
    ]
    checked = refuse_impossible(images, config(), memory_gb=16.0)
    assert [planned.action for planned in checked] == ["super-resolve", "fail", "fail", "skip"]


def test_the_plan_refuses(dataset: Path, tmp_path: Path) -> None:
    folders = {"bids_dir": dataset, "output_dir": tmp_path / "o", "work_dir": tmp_path / "w"}
    images = make_plan(RunConfig(**folders, output_resolution=0.005))  # type: ignore[arg-type]
    reasons = [planned.reason for planned in images if planned.action == "fail"]
    assert any("GB of memory" in reason or "NIfTI file holds" in reason for reason in reasons)
    assert not any(planned.processed and planned.action == "super-resolve" for planned in images)
    elsewhere = make_plan(
        RunConfig(**folders, output_resolution=0.02),  # type: ignore[arg-type]
        here=False,
    )
    assert any(planned.action == "super-resolve" for planned in elsewhere)


def test_names_are_made_only_where_they_may_be_too_long(
    config: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    monkeypatch.setattr(feasibility, "_paths", lambda *words: calls.append(words) or [])
    assert not name_problem(image(), config(segmentation=("atropos", "wmh")))
    assert not calls
    name_problem(image(f"sub-01_acq-{150 * 'x'}"), config())
    assert calls


@pytest.mark.parametrize("suffix", specification()["anat_suffixes"])
@pytest.mark.parametrize("having", ["sub", "sub acq", "all"])
def test_no_name_is_longer_than_the_bound_says(
    config: Callable[..., RunConfig], suffix: str, having: str
) -> None:
    known = specification()["entities"]
    short = [key for key in known if key in {"sub", *having.split()} or having == "all"]
    plan = image(
        path=Path("/raw") / ("_".join(f"{key}-1" for key in short) + f"_{suffix}.nii.gz"),
        suffix=suffix,
        entities={known[key]: "1" for key in short},
        is_reference=True,
        target_spacing=0.05,
    )
    settings = config(segmentation=("atropos", "wmh"))
    most = 2 * len(plan.stem) + feasibility._MOST_ADDED + feasibility._MOST_FOLDERS
    paths = list(feasibility._paths(plan, settings))
    assert paths
    for path in paths:
        root = next(f for f in (settings.output_dir, settings.work_dir) if f in path.parents)
        assert len(path.name) <= len(plan.stem) + feasibility._MOST_ADDED
        assert len(str(path)) <= len(str(root)) + most
