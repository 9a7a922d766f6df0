from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bids_sr.bids import AnatImage
from bids_sr.cli.plan_table import print_plan
from bids_sr.records.quality import QualityRecord
from bids_sr.records.step_record import StepRecord
from bids_sr.records.verdict import Check, Verdict
from bids_sr.run.crashes import Crash
from bids_sr.run.exit_codes import ExitCode
from bids_sr.run.outcome import Outcomes, after_run, planned


def write_quality(path: Path, **known: Any) -> None:
    image = f"sub-01/anat/{path.stem}.nii.gz"
    path.write_text(json.dumps(QualityRecord(image=image, **known).to_dict()))


def image(name: str, action: Any = "super-resolve", reason: str = "because") -> AnatImage:
    subject = name.split("_")[0].removeprefix("sub-")
    return AnatImage(
        path=Path(f"/raw/{name}.nii.gz"),
        relpath=f"sub-{subject}/anat/{name}.nii.gz",
        entities={"subject": subject},
        suffix=name.rpartition("_")[2],
        action=action,
        reason=reason,
    )


IMAGES = [
    image("sub-01_T1w"),
    image("sub-01_T2w"),
    image("sub-02_T1w", "pass-through"),
    image("sub-03_T1w", "skip"),
    image("sub-04_T1w", "fail", "no header"),
]


def outcomes(tmp_path: Path, crashes: list[Crash], finished: set[str]) -> Outcomes:
    def image_of(node: str) -> AnatImage | None:
        return next((image for image in IMAGES if image.stem in node), None)

    return after_run(
        IMAGES,
        crashes,
        image_of=image_of,
        finished=lambda image: image.stem in finished,
        quality_path=lambda image: tmp_path / f"{image.stem}.json",
    )


def crash(node: str, message: str) -> Crash:
    return Crash(node=node, message=message, path=Path("crash.txt"))


def test_before_the_run() -> None:
    statuses = [outcome.status for outcome in planned(IMAGES).images]
    assert statuses == ["planned", "planned", "planned", "skipped", "failed"]


def test_each_image_is_told_from_its_first_crash(tmp_path: Path) -> None:
    write_quality(tmp_path / "sub-02_T1w.json", warnings=("odd", "small"))
    crashes = [
        crash("w.sub-01_T1w.denoise", "first"),
        crash("w.sub-01_T1w.save", "second"),
        crash("w.report", "common"),
    ]
    result = outcomes(tmp_path, crashes, {"sub-02_T1w"})
    assert [outcome.line for outcome in result.images] == [
        "sub-01_T1w: failed at denoise: first",
        "sub-01_T2w: not done: the run ended before it",
        "sub-02_T1w: done: odd; small",
        "sub-03_T1w: skipped",
        "sub-04_T1w: failed at planning: no header",
    ]
    assert [other.message for other in result.other_crashes] == ["common"]
    assert result.code == ExitCode.SOME_FAILED


def test_unreadable_quality_is_no_failure(tmp_path: Path) -> None:
    (tmp_path / "sub-01_T1w.json").write_text("{")
    done = {"sub-01_T1w", "sub-01_T2w", "sub-02_T1w"}
    assert outcomes(tmp_path, [], done).having("done")[0].message == ""


@pytest.mark.parametrize("failing", [0, 1])
def test_all_done_is_0_and_one_failure_is_1(tmp_path: Path, failing: int) -> None:
    crashes = [crash("w.sub-01_T1w.x", "no")] * failing
    result = after_run(
        IMAGES[:4],
        crashes,
        image_of=lambda node: IMAGES[0],
        finished=lambda image: True,
        quality_path=lambda image: tmp_path / "none.json",
    )
    assert result.code == failing


def test_what_fails_beside_the_product_leaves_the_image_done(tmp_path: Path) -> None:
    write_quality(tmp_path / "sub-01_T1w.json", warnings=("no brain mask: dark",))
    result = after_run(
        IMAGES[:2],
        [crash("w.sub-01_T1w.reports_wf.save_sr_figure", "OSError: no space")],
        image_of=lambda node: IMAGES[0],
        finished=lambda image: True,
        quality_path=lambda image: tmp_path / f"{image.stem}.json",
        makes_product=lambda node: False,
    )
    assert [outcome.line for outcome in result.images] == [
        "sub-01_T1w: done, but incomplete: no brain mask: dark; save_sr_figure failed: "
        "OSError: no space",
        "sub-01_T2w: done",
    ]
    assert result.code == ExitCode.SOME_FAILED


@pytest.mark.parametrize(("status", "code"), [("failed", 1), ("skipped", 0), ("done", 0)])
def test_a_segmentation_that_was_asked_for_and_failed_is_told(
    tmp_path: Path, status: str, code: int
) -> None:
    segmentation = StepRecord({"Tool": "atropos", "Status": status})
    write_quality(tmp_path / "sub-01_T1w.json", segmentations=(segmentation,))
    result = outcomes(tmp_path, [], {image.stem for image in IMAGES})
    assert result.images[0].status == "done"
    assert result.images[0].incomplete == bool(code)
    only = Outcomes(images=result.images[:1])
    assert only.code == code


NOISY = Check(name="noise", title="Noise", value=9.0, high=8, status="look", reason="Noisy.")


@pytest.mark.parametrize(
    ("checks", "status", "lenient", "strict"),
    [((NOISY,), "look", ExitCode.OK, ExitCode.SOME_FAILED), ((), "ok", ExitCode.OK, ExitCode.OK)],
)
def test_only_a_strict_run_counts_an_image_to_look_at_as_failed(
    tmp_path: Path, checks: tuple[Check, ...], status: str, lenient: int, strict: int
) -> None:
    write_quality(tmp_path / "sub-01_T1w.json", verdict=Verdict(checks=checks))
    result = after_run(
        IMAGES[:1],
        [],
        image_of=lambda node: None,
        finished=lambda image: True,
        quality_path=lambda image: tmp_path / f"{image.stem}.json",
    )
    assert result.images[0].line == f"sub-01_T1w: done, verdict {status}"
    assert result.code == lenient
    assert replace(result, strict=True).code == strict
    fused = {"sub-01_desc-fused_T2w": Verdict(checks=checks)}
    beside = Outcomes(fused_verdicts=fused)
    assert set(beside.fused_looks) == (set(fused) if checks else set())
    assert (beside.code, replace(beside, strict=True).code) == (lenient, strict)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    stream = Terminal()
    print_plan(IMAGES, stream)
    text = stream.getvalue()
    assert "━┳━" in text
    assert "what happens" in text
    assert "sub-04_T1w" in text
    assert text.endswith(
        "5 images of 4 subjects: 2 to super-resolve, 1 to pass through, 1 skipped, "
        "1 that cannot be used\n"
    )


def test_what_failed_and_was_left_out_is_known(tmp_path: Path) -> None:
    warning = "the image was not denoised: killed"
    steps = {
        "denoise": StepRecord({"Status": "failed", "Warning": warning}),
        "bias_correction": StepRecord({"Status": "corrected"}),
    }
    write_quality(tmp_path / "sub-01_T1w.json", steps=steps, warnings=(warning,))
    result = outcomes(tmp_path, [], {image.stem for image in IMAGES})
    assert result.images[0].left_out == ("the image was not denoised",)
    assert result.images[1].left_out == ()
    assert result.code == ExitCode.SOME_FAILED  # of the image without header alone
    assert not result.images[0].incomplete
