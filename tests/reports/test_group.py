"""The group level: the table and the page of each kind of image."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pytest

from bids_sr.exceptions import InputDataError
from bids_sr.records.learning_curve import GAIN_OVER_CUBIC, GAIN_OVER_LINEAR, Validation
from bids_sr.records.quality import QualityRecord
from bids_sr.records.step_record import StepRecord
from bids_sr.reports.assemble import assemble_subject
from bids_sr.reports.group import group_report, table
from bids_sr.reports.measures import METRICS, Metric
from bids_sr.reports.outliers import LEAST_IMAGES, find_outliers, protocol_of, robust_scores
from bids_sr.reports.records import ImageRecord
from bids_sr.reports.strip_plot import PLOT_HEIGHT, PLOT_WIDTH, strip_plot

from .conftest import acquired, decision, learning_curve, write_decisions, write_quality

BRAIN_MASK = next(metric for metric in METRICS if metric.name == "brain_mask_volume_ml")


def with_mask(facts: dict[str, object]) -> QualityRecord:
    return QualityRecord(image="a_T1w.nii", steps={"brain_mask": StepRecord(facts)})


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


@pytest.fixture(scope="module")
def group(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = shutil.copytree(finished_run, tmp_path_factory.mktemp("group") / "out")
    assemble_subject(root, "01")
    written = group_report(root)
    names = [f"group_{s}.{e}" for s in ("FLAIR", "T1w", "T2w") for e in ("tsv", "html")]
    assert [path.name for path in written] == names
    return root


def test_table_has_a_row_an_image(group: Path) -> None:
    done, planned = read_table(group / "group_FLAIR.tsv")
    assert done["participant_id"] == "sub-01"
    assert done["session_id"] == "ses-01"
    assert done["outcome"] == "done"
    assert float(done["data_consistency_residual_percent"]) == pytest.approx(0.8312)
    assert float(done["validation_gain_db"]) == pytest.approx(1.352)
    assert float(done["brain_mask_volume_ml"]) == pytest.approx(1893.4)
    assert float(done["total_seconds"]) == pytest.approx(165.9)
    assert float(done["output_max"]) == pytest.approx(1251.2)
    assert (done["method"], done["brain_mask_method"]) == ("self", "template")
    assert planned["outcome"] == "unfinished"
    assert planned["session_id"] == planned["brain_mask_volume_ml"] == "n/a"


def test_table_and_page_have_the_verdict(finished_run: Path, tmp_path: Path) -> None:
    root = shutil.copytree(finished_run, tmp_path / "out")
    quality = root / "sub-01/ses-01/anat/sub-01_ses-01_acq-FLAIR_desc-sr_qc.json"
    image = "sub-01/ses-01/anat/sub-01_ses-01_FLAIR.nii.gz"
    write_quality(quality, image, brain_mask={"Method": "template", "VolumeMl": 300.0})
    group_report(root)
    done, planned = read_table(root / "group_FLAIR.tsv")
    assert (done["verdict"], done["look_at"]) == ("look", "mask_volume")
    assert planned["verdict"] == "n/a"
    page = (root / "group_FLAIR.html").read_text()
    assert '<th scope="col">Verdict</th>' in page
    assert "</span> mask_volume</td>" in page
    assert "<b>1</b><span>to look at</span>" in page


def test_an_output_folder_without_verdicts_has_no_column_of_them(
    finished_run: Path, tmp_path: Path
) -> None:
    root = shutil.copytree(finished_run, tmp_path / "out")
    for path in root.rglob("*_qc.json"):
        known = json.loads(path.read_text())
        del known["Verdict"], known["Checks"]
        path.write_text(json.dumps(known))
    group_report(root)
    assert "Verdict" not in (root / "group_FLAIR.html").read_text()
    assert read_table(root / "group_FLAIR.tsv")[0]["verdict"] == "n/a"


def test_failed_images_are_in_the_table_and_on_the_page(group: Path) -> None:
    (row,) = read_table(group / "group_T2w.tsv")
    assert row["outcome"] == "failed"
    assert "copy the file again" in row["message"]
    page = (group / "group_T2w.html").read_text()
    assert "1 image without a result" in page
    assert "&lt;gzip&gt; ends after 812" in page


def test_skipped_images_are_in_neither(group: Path) -> None:
    assert not list(group.glob("group_MESE*"))


def test_page_needs_no_network(group: Path) -> None:
    pages = list(group.glob("group_*.html"))
    assert pages
    for path in pages:
        text = path.read_text()
        assert not re.search(r"<(link|iframe|img)|https?://(?!www\.w3\.org)|@import|url\(", text)
        assert "default-src 'none'" in text


def test_points_lead_to_the_page_of_the_subject(group: Path) -> None:
    page = (group / "group_FLAIR.html").read_text()
    anchor = re.search(r'<a href="sub-01\.html#([\w-]+)"><circle', page)
    assert anchor
    assert f'id="{anchor[1]}"' in (group / "sub-01.html").read_text()
    # sub-02 has no page: no link that leads nowhere
    assert "sub-02.html" not in page


def test_pages_of_other_images_are_linked(group: Path) -> None:
    assert 'href="group_T1w.html"' in (group / "group_FLAIR.html").read_text()


def test_thousand_participants(tmp_path: Path) -> None:
    rows = []
    for n in range(1000):
        image = f"sub-{n:04d}/anat/sub-{n:04d}_T2w.nii.gz"
        rows.append(decision(image, action="super-resolve", status="done", **acquired()))
        if n < 60:
            write_quality(tmp_path / f"sub-{n:04d}/anat/sub-{n:04d}_desc-sr_qc.json", image)
    write_decisions(tmp_path, rows)
    written = group_report(tmp_path)
    assert len(read_table(written[0])) == 1000
    assert written[1].stat().st_size < 3_000_000


def test_nothing_processed_is_refused(tmp_path: Path) -> None:
    write_decisions(tmp_path, [decision("sub-1/anat/sub-1_T1w.nii", action="skip")])
    with pytest.raises(InputDataError, match="run the participant level first"):
        group_report(tmp_path)


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ({"VolumeMl": 12.5}, 12.5),
        ({"VolumeMl": None}, None),
        ({"VolumeMl": True}, None),
        ({"VolumeMl": "many"}, None),
        ({}, None),
    ],
)
def test_measure(content: dict[str, object], value: float | None) -> None:
    image = ImageRecord(image="a_T1w.nii", quality=with_mask(content))
    assert BRAIN_MASK.value(image) == value


def test_numbers_left_from_before_a_failure_are_not_measured() -> None:
    image = ImageRecord(
        image="a_T1w.nii", row={"status": "failed"}, quality=with_mask({"VolumeMl": 1.0})
    )
    assert BRAIN_MASK.value(image) is None


def test_gains_over_different_baselines_have_columns_of_their_own(tmp_path: Path) -> None:
    """``latent`` is measured against linear interpolation, earlier versions did not say."""
    validations = {"1": GAIN_OVER_CUBIC, "2": GAIN_OVER_LINEAR, "3": Validation()}
    rows = []
    for label, validation in validations.items():
        image = f"sub-{label}/anat/sub-{label}_T2w.nii.gz"
        curve = learning_curve(validation=validation)
        write_quality(
            tmp_path / f"sub-{label}/anat/sub-{label}_desc-sr_qc.json", image, curve=curve
        )
        rows.append(decision(image, action="super-resolve", status="done"))
    write_decisions(tmp_path, rows)
    group_report(tmp_path)
    cubic, linear, unknown = read_table(tmp_path / "group_T2w.tsv")
    columns = ("validation_gain_db", "validation_gain_over_linear_interpolation_db", "validation")
    assert [cubic[column] for column in columns] == ["1.352", "n/a", "n/a"]
    assert [linear[column] for column in columns] == ["n/a", "1.352", "n/a"]
    assert [unknown[column] for column in columns] == ["n/a", "n/a", "1.352"]
    page = (tmp_path / "group_T2w.html").read_text()
    assert "Gain over linear interpolation (dB)" in page


@pytest.mark.parametrize("cell", ["nan", "inf", "-inf", "1e308"])
def test_impossible_numbers_in_a_table_cost_no_page(tmp_path: Path, cell: str) -> None:
    rows = [
        decision(f"sub-{n}/anat/sub-{n}_T1w.nii.gz", status="done", spacing=spacing)
        for n, spacing in enumerate(("5", cell, "6"))
    ]
    write_decisions(tmp_path, rows)
    group_report(tmp_path)
    with (tmp_path / "group_T1w.tsv").open(newline="") as stream:
        found = [row["slice_spacing_mm"] for row in csv.DictReader(stream, delimiter="\t")]
    assert found == ["5", "n/a", "6"]


def test_table_cells_hold_no_tabs() -> None:
    record = ImageRecord(
        image="sub-1/anat/sub-1_T1w.nii", row={"status": "failed", "message": "a\tb\nc"}
    )
    header, row = table([record]).splitlines()
    assert len(header.split("\t")) == len(row.split("\t"))
    assert row.endswith("\ta b c")


def test_plot_points_lie_inside_and_in_order() -> None:
    names = [(f"image {n}", f"#{n}") for n in range(4)]
    svg = str(strip_plot(BRAIN_MASK, [3.0, None, 1.0, 2.0], names))
    points = {int(n): float(x) for n, x in re.findall(r'data-n="(\d)" cx="([\d.]+)"', svg)}
    assert set(points) == {0, 2, 3}
    assert 0 < points[2] < points[3] < points[0] < 320
    assert "median 2" in svg


@pytest.mark.parametrize("values", [[5.0, 5.0], [0.0], [1e-9, 2e-9]])
def test_plot_of_equal_or_tiny_values(values: list[float]) -> None:
    svg = str(strip_plot(BRAIN_MASK, values, [("a", ""), ("b", "")]))
    assert "nan" not in svg
    assert svg.count("<circle") == len(values)
    assert "<a " not in svg


def test_plot_of_nothing_says_so() -> None:
    assert "not measured" in strip_plot(BRAIN_MASK, [None], [("a", "")])


def test_segmentations_have_columns_of_their_own() -> None:
    wmh = {
        "Tool": "wmh",
        "Status": "done",
        "Count": 7,
        "VolumesMl": {"white matter hyperintensity": 3.25},
    }
    tissue = {"Tool": "atropos", "Status": "refused", "Reason": "no mask"}
    first = ImageRecord(
        image="sub-1/anat/sub-1_FLAIR.nii.gz",
        row={"status": "done"},
        quality=QualityRecord(
            image="sub-1/anat/sub-1_FLAIR.nii.gz",
            segmentations=(StepRecord(wmh), StepRecord(tissue)),
        ),
    )
    second = ImageRecord(image="sub-2/anat/sub-2_FLAIR.nii.gz", row={"status": "done"})
    head, *rows = (line.split("\t") for line in table([first, second]).splitlines())
    volume = head.index("wmh_white_matter_hyperintensity_ml")
    count = head.index("wmh_count")
    assert [row[volume] for row in rows] == ["3.25", "n/a"]
    assert [row[count] for row in rows] == ["7", "n/a"]
    assert not [name for name in head if name.startswith("atropos")]


def of_protocol(values: list[float], spacing: str = "3", first: int = 0) -> list[ImageRecord]:
    """Make images of one protocol with these brain mask volumes."""
    return [
        ImageRecord(
            image=f"sub-{n:02d}/anat/sub-{n:02d}_T1w.nii.gz",
            row={"status": "done", "spacing": spacing, "thickness": "2.55"},
            quality=with_mask({"VolumeMl": value}),
        )
        for n, value in enumerate(values, first)
    ]


USUAL = [1400.0, 1410.0, 1390.0, 1405.0, 1395.0, 1402.0, 1398.0, 1407.0, 1393.0, 1401.0]


def test_robust_scores_are_those_of_the_definition() -> None:
    scores = robust_scores([*USUAL, 1500.0])
    assert scores is not None
    values = sorted([*USUAL, 1500.0])
    median = values[5]
    spread = sorted(abs(value - median) for value in values)[5]
    assert scores[-1] == pytest.approx((1500 - median) / (1.4826 * spread))
    assert max(abs(score) for score in scores[:-1]) < 3.5 < scores[-1]


def test_nothing_is_said_of_few_or_equal_values() -> None:
    assert robust_scores([*USUAL[: LEAST_IMAGES - 2], 9000.0]) is None
    assert robust_scores([5.0] * 9 + [6.0]) is None


def test_an_image_stands_out_within_its_protocol_only() -> None:
    odd = of_protocol([*USUAL, 1500.0])
    others = of_protocol([1500.0 + value / 1000 for value in USUAL], spacing="6", first=40)
    (outlier,) = find_outliers([*others, *odd], METRICS)
    assert (outlier.place, outlier.metric.name) == (20, "brain_mask_volume_ml")
    assert outlier.value == 1500.0
    assert protocol_of(odd[0]) == "3.0 mm apart, 2.5 mm thick"
    few = of_protocol([*USUAL[:5], 1500.0])
    assert find_outliers([*others, *few], METRICS) == []


def test_failed_images_do_not_count() -> None:
    images = of_protocol([*USUAL[: LEAST_IMAGES - 1], 1500.0])
    assert find_outliers(images, METRICS)
    failed = [*images[1:], ImageRecord(image=images[0].image, row={"status": "failed"})]
    assert find_outliers(failed, METRICS) == []


def test_outliers_are_marked_listed_and_in_the_table(tmp_path: Path) -> None:
    rows = []
    for n, volume in enumerate([*USUAL, 1900.0]):
        image = f"sub-{n:02d}/anat/sub-{n:02d}_T2w.nii.gz"
        product = f"sub-{n:02d}/anat/sub-{n:02d}_res-1mm_desc-sr_T2w.nii.gz"
        mask = {"Method": "template", "VolumeMl": volume}
        write_quality(
            tmp_path / f"sub-{n:02d}/anat/sub-{n:02d}_desc-sr_qc.json", image, brain_mask=mask
        )
        (tmp_path / product).touch()
        rows.append(
            decision(image, action="super-resolve", status="done", output=product, **acquired())
        )
    write_decisions(tmp_path, rows)
    for n in range(11):
        assemble_subject(tmp_path, f"{n:02d}")
    group_report(tmp_path)
    *usual, odd = read_table(tmp_path / "group_T2w.tsv")
    assert odd["stands_out_in"] == "brain_mask_volume_ml"
    assert odd["protocol"] == "6.0 mm apart, 5.0 mm thick, self"
    assert {row["stands_out_in"] for row in usual} == {"n/a"}
    page = (tmp_path / "group_T2w.html").read_text()
    assert "1 of 11 images stands out" in page
    (point,) = re.findall(r'<a href="([^"]+)"><circle class="outlier" data-n="(\d+)"', page)
    assert point == ("sub-10.html#image-sub-10-T2w", "10")
    assert "stands out, robust z" in page
    assert "more than 3.5 robust standard deviations" in page
    assert "where 10 or more images" in page


def test_what_checks_read_is_plotted_with_its_range(group: Path) -> None:
    (row, _) = read_table(group / "group_FLAIR.tsv")
    assert float(row["check_overshoot"]) >= 0
    assert "check_mask_volume" not in row
    metric = Metric(name="x", title="X", value=lambda _: None, low=1.5, high=100.0)
    svg = str(strip_plot(metric, [1.0, 2.0], [("a", ""), ("b", "")]))
    assert svg.count('class="limit"') == 1  # the other end lies outside of the plot
    assert "expected: at least 1.5" in svg


@pytest.mark.parametrize("count", [30, 500])
def test_near_points_lie_side_by_side_within_the_plot(count: int) -> None:
    values = [1.0] * count + [2.0]
    svg = str(strip_plot(BRAIN_MASK, list(values), [("a", "")] * len(values)))
    points = re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', svg)
    assert len(set(points)) > 0.5 * min(count, 60)
    assert all(0 < float(y) < PLOT_HEIGHT - 18 and 0 < float(x) < PLOT_WIDTH for x, y in points)
