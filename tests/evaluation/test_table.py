"""Tables: what a reader can compute from the rows by hand."""

from __future__ import annotations

import csv
import io
import statistics
from pathlib import Path
from typing import Any

import pytest

from bids_sr.evaluation import table
from bids_sr.evaluation.summary import page_of


def row(image: str, method: str, psnr: float, **more: Any) -> dict[str, Any]:
    return {
        "image": image,
        "protocol": "5/6",
        "slices": "axial",
        "noise": 0.0,
        "method": method,
        "status": "ok",
        "message": "",
        "mask": "given",
        "seconds": 2.0,
        "cpu_seconds": 1.5,
        "peak_gb": 0.5,
        "peak_gpu_gb": None,
        "scores": {"psnr": psnr, "ssim": psnr / 40, "dists": 1 / psnr},
        "file": f"{image}_{method}",
        **more,
    }


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    failed = {"status": "failed", "message": "no\nmemory", "scores": {}}
    return [
        row("a", "bspline", 20.0),
        row("a", "self", 22.0),
        row("b", "bspline", 24.0),
        row("b", "self", 25.0),
        row("c", "self", 30.0),
        row("c", "bspline", 1.0, **failed),
    ]


def test_tsv(rows: list[dict[str, Any]]) -> None:
    lines = list(csv.DictReader(io.StringIO(table.tsv(rows)), delimiter="\t"))
    assert len(lines) == 6
    assert lines[1]["psnr"] == "22.00"
    assert lines[1]["lesion_psnr"] == "n/a"
    assert lines[1]["peak_gpu_gb"] == "n/a"
    assert (lines[5]["status"], lines[5]["psnr"], lines[5]["message"]) == (
        "failed",
        "n/a",
        "no memory",
    )


def test_mean_sd_and_gains_are_paired(rows: list[dict[str, Any]]) -> None:
    methods = table.groups(rows)["5/6 axial"]
    assert table.gains(methods, "self", "bspline") == [2.0, 1.0]  # not of image c
    spread = statistics.stdev([22, 25, 30])
    assert table.mean_sd([22, 25, 30], 2) == f"25.67 ± {spread:.2f}"
    assert table.mean_sd([22], 1) == "22.0"
    assert table.mean_sd([], 1) == "n/a"


def test_markdown(rows: list[dict[str, Any]]) -> None:
    text = table.markdown(rows, "bspline", ["a note"])
    line = next(line for line in text.splitlines() if line.startswith("| 5/6 axial | self"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[2:4] == ["3", "25.67 ± 4.04"]
    assert cells[-5:] == ["1.50 ± 0.71", "1.00", "2.0", "1.5", "0.50"]
    assert "| a | 5/6 axial | 20.00 | 22.00 | 2.00 | 0.5000 | 0.5500 | 1.5 | 0.50 |" in text
    assert "| c | 5/6 axial |  | 30.00 |  |  | 0.7500 | 1.5 | 0.50 |" in text
    assert "- c, 5/6 axial, bspline: no memory" in text
    assert text.endswith("- a note\n")
    lines = [line for line in text.splitlines() if line.startswith("|")]
    tables = {lines[0].count("|"), lines[1].count("|"), line.count("|")}
    assert len(tables) == 1


def test_rows_come_back_from_disk(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    for row in rows:
        table.write_row(tmp_path / f"{row['file']}.json", row)
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "other.json").write_text("[1]")
    stored = table.read_rows(tmp_path)
    assert sorted(row["file"] for row in stored) == sorted(row["file"] for row in rows)
    assert table.value(stored[0], "psnr") == 20.0


def test_the_page_marks_the_best_mean(rows: list[dict[str, Any]]) -> None:
    page = page_of(rows, "bspline", ["a note"], examples=2)
    (group,) = page["groups"]
    best = {
        column: [method for method, cells in group["rows"] if cells[place][1]]
        for place, column in enumerate(group["columns"])
    }
    assert best["PSNR (dB)"] == ["self"]
    assert best["DISTS"] == ["self"]  # lower is better
    assert best["Images"] == best["Median\u00a0s"] == []
    assert page["overview"] == [
        ("bspline", [("+0.00", False)]),
        ("self", [("+1.50", True)]),
    ]
    assert page["failed"] == [("c", "5/6 axial", "bspline", "no memory")]
    assert [example["image"] for example in group["examples"]] == ["a", "b"]  # all methods
    assert group["examples"][0]["items"][1]["file"] == "a_self"
    assert [title for title, _ in page["definitions"]] == ["PSNR (dB)", "SSIM", "DISTS", "Planes"]


@pytest.mark.parametrize(
    "wrong",
    [{"image": None}, {"method": 3}, {"status": ["ok"]}, {"scores": None}, {"scores": "x"}],
)
def test_rows_of_other_shapes_are_left_out(tmp_path: Path, wrong: dict[str, object]) -> None:
    good = {"image": "a", "protocol": "5/6", "method": "bspline", "status": "ok", "scores": {}}
    table.write_row(tmp_path / "good.json", good)
    table.write_row(tmp_path / "wrong.json", good | wrong)
    assert [row["file"] for row in table.read_rows(tmp_path)] == ["good"]
