from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from bids_sr.run.progress import LAST_OF_STACKS, ImageEnds, StageLines
from bids_sr.workflows import fusion


def node(name: str) -> SimpleNamespace:
    return SimpleNamespace(fullname=f"w.sub_01_T1w_wf.{name}", name=name)


@pytest.fixture
def lines() -> StageLines:
    return StageLines(lambda name: "sub-01_T1w" if "sub_01_T1w_wf" in name else None)


def test_a_stage_has_a_line_at_both_ends(
    lines: StageLines, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        for name in ("denoise", "segment_wmh", "some_helper", "save_quality"):
            lines(node(name), "start")
            lines(node(name), "end")
        lines(node("super_resolve"), "end")  # cached: never started
        lines(node("extract_brain"), "start")
        lines(node("extract_brain"), "exception")
    assert [record.getMessage() for record in caplog.records] == [
        "sub-01_T1w: denoising ...",
        "sub-01_T1w: denoising done (0 s)",
        "sub-01_T1w: segmentation by wmh ...",
        "sub-01_T1w: segmentation by wmh done (0 s)",
        "sub-01_T1w: results written",
        "sub-01_T1w: super-resolution unchanged",
        "sub-01_T1w: brain mask ...",
        "sub-01_T1w: brain mask failed",
    ]
    assert len(lines.ended) == 5


def test_nothing_is_said_to_be_written_after_a_failure(
    lines: StageLines, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        lines(node("check_input"), "exception")
        lines(node("save_quality"), "end")  # as the scheduler does with what it skips
    assert caplog.messages == ["sub-01_T1w: check failed"]


def test_images_done_are_counted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    lines = StageLines(lambda name: name.split(".")[1], count=4)

    def event(stem: str, name: str, status: str) -> None:
        lines(SimpleNamespace(fullname=f"w.{stem}.{name}", name=name), status)

    with caplog.at_level(logging.INFO):
        event("a", "super_resolve", "start")
        clock[0] = 60.0
        event("a", "save_quality", "end")
        event("b", "denoise", "exception")
        event("b", "save_quality", "end")
        event("c", "super_resolve", "start")
        clock[0] = 200.0
        event("c", "save_quality", "end")
        event("d", "save_quality", "end")
    assert caplog.messages == [
        "a: super-resolution ...",
        "a: results written (1 of 4, about 3 min left)",
        "b: denoising failed",
        "c: super-resolution ...",
        "c: results written (2 of 4, about 2 min left)",
        "d: results written (3 of 4)",
    ]


def test_images_that_an_earlier_run_had_done_say_nothing_of_the_pace(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    lines = StageLines(lambda name: name.split(".")[1], count=4)
    with caplog.at_level(logging.INFO):
        for stem, start in (("a", False), ("b", False), ("c", True), ("d", True)):
            if start:
                lines(
                    SimpleNamespace(fullname=f"w.{stem}.fuse_stacks", name="fuse_stacks"), "start"
                )
            clock[0] += 600.0 if start else 1.0
            lines(SimpleNamespace(fullname=f"w.{stem}.save_quality", name="save_quality"), "end")
    assert [line for line in caplog.messages if "written" in line] == [
        "a: results written (1 of 4)",
        "b: results written (2 of 4)",
        "c: results written (3 of 4, about 10 min left)",
        "d: results written (4 of 4)",
    ]


def test_fused_volumes_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    lines = StageLines(lambda name: name.split(".")[1], count=3)
    with caplog.at_level(logging.INFO):
        for stem, name in (("a", "save_quality"), ("b", "save_quality"), ("ab", LAST_OF_STACKS)):
            lines(SimpleNamespace(fullname=f"w.{stem}.{name}", name=name), "end")
    assert caplog.messages[-1] == "ab: fusing ended (3 of 3)"


def test_the_last_nodes_are_those_of_the_graphs() -> None:
    assert fusion.LAST_NODE == LAST_OF_STACKS


def test_learning_from_all_images_is_told(
    lines: StageLines, caplog: pytest.LogCaptureFixture
) -> None:
    learn = SimpleNamespace(fullname="w.dataset_FLAIR_wf.learn", name="learn")
    with caplog.at_level(logging.INFO):
        lines(learn, "start")
    assert caplog.messages == ["FLAIR: learning from all images ..."]


def test_a_fused_volume_is_called_by_its_name(caplog: pytest.LogCaptureFixture) -> None:
    lines = StageLines({"w.sub_01_desc_fused_T2w_wf.fuse_stacks": "sub-01_desc-fused_T2w"}.get)
    fuse = SimpleNamespace(fullname="w.sub_01_desc_fused_T2w_wf.fuse_stacks", name="fuse_stacks")
    with caplog.at_level(logging.INFO):
        lines(fuse, "start")
    assert caplog.messages == ["sub-01_desc-fused_T2w: fusing stacks ..."]


def test_nodes_of_no_image_are_silent(lines: StageLines, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        lines(SimpleNamespace(fullname="w.denoise", name="denoise"), "start")
    assert not caplog.records


def test_an_image_ends_once_with_its_last_step_or_after_its_first_failure(
    lines: StageLines,
) -> None:
    ended: list[str] = []
    images = [SimpleNamespace(relpath=name) for name in ("good", "bad")]
    names = [{f"w.sub_01_T1w_wf.{name}{step}" for step in "123"} for name in ("good", "bad")]
    watch = ImageEnds(
        lines, list(zip(images, names, strict=True)), lambda image: ended.append(image.relpath)
    )
    for name, status in [
        ("good1", "start"),
        ("good1", "end"),
        ("bad1", "exception"),
        ("bad1", "end"),  # Nipype ends what failed in its own process
        ("bad2", "exception"),
        ("good2", "end"),
        ("learn", "end"),  # of no single image
    ]:
        watch(node(name), status)
    assert ended == ["bad"]
    watch(node("good3"), "end")
    watch(node("good3"), "end")
    assert ended == ["bad", "good"]


def test_a_step_beside_the_product_does_not_end_its_image(lines: StageLines) -> None:
    ended: list[str] = []
    names = {f"w.sub_01_T1w_wf.{name}" for name in ("save_sr", "draw", "save_figure")}
    watch = ImageEnds(
        lines,
        [(SimpleNamespace(relpath="a"), names)],
        lambda image: ended.append(image.relpath),
        lambda name: name.endswith("save_sr"),
    )
    watch(node("draw"), "exception")
    assert ended == []
    watch(node("save_sr"), "end")
    assert ended == ["a"]


def test_nodes_that_end_or_fail_are_told_of_after_their_image(lines: StageLines) -> None:
    told: list[str] = []
    watch = ImageEnds(
        lines,
        [(SimpleNamespace(relpath="image"), {"w.sub_01_T1w_wf.last"})],
        lambda image: told.append(image.relpath),
        node_ended=told.append,
    )
    for name, status in [("last", "start"), ("last", "end"), ("save_fused", "exception")]:
        watch(node(name), status)
    assert told == ["image", "w.sub_01_T1w_wf.last", "w.sub_01_T1w_wf.save_fused"]
