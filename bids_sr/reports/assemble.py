"""The page of a subject, assembled from disk: ``sub-X.html``.

Decides what the page says and in which order; how it looks is in the templates.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from bids_sr.exceptions import BidsSrError, InputDataError, in_words
from bids_sr.files import read_bytes, read_text
from bids_sr.files.writing import write_text_atomic
from bids_sr.records.method_record import MethodRecord
from bids_sr.records.quality import QualityRecord
from bids_sr.records.step_record import StepRecord
from bids_sr.reports import wording
from bids_sr.reports.boilerplate import MethodsText, convert
from bids_sr.reports.fusion import FusedVolume, read_fused
from bids_sr.reports.guide import guide_words
from bids_sr.reports.inline_figure import inline_svg
from bids_sr.reports.next_steps import steps_of_session, steps_of_subject, warnings_of_use
from bids_sr.reports.output_files import read_output_files
from bids_sr.reports.page import render
from bids_sr.reports.quality_lines import Line, quality_lines
from bids_sr.reports.records import SEGMENTATION, ImageRecord, SubjectRecord, read_subject
from bids_sr.reports.step_of_user import Places

OUTCOMES = {
    "done": "super-resolved",
    "interpolated": "interpolated",
    "passed-through": "passed through",
    "skipped": "skipped",
    "failed": "failed",
    "unfinished": "not finished",
}
STEPS = {
    "denoise": "Denoising",
    "bias_correction": "Bias field correction",
    "slice_gain": "Brightness of the slices",
    "brain_mask": "Brain mask",
}
TIMES = {"check": "Input check", **STEPS, "super_resolution": "Super-resolution", "guide": "Guide"}
_PNG = b"\x89PNG"
_SVG = re.compile(r"\s*<(svg|\?xml)\b")
LEFTOVER = (
    "The figures and values below are from earlier steps or from an earlier run; "
    "they are not the result of the latest run."
)


def assemble_subject(
    output_dir: str | Path, subject: str, pending: Collection[str] = (), *, viewer: str = ""
) -> Path:
    """Write the page of a subject from what lies on disk.

    Parameters
    ----------
    output_dir : path
        Root of the output dataset.
    subject : str
        Label, with or without ``sub-``.
    pending : collection of str
        Paths of its images, and names of its fused volumes, that a run has not come to the end
        of: the page says that they are pending.
    viewer : str
        Name of the viewer beside the page; empty where there is none.

    Returns
    -------
    Path
        ``<output_dir>/sub-X.html``: one file that needs no network.

    Raises
    ------
    InputDataError
        If nothing at all is known of this participant.

    Notes
    -----
    Reads ``decisions.tsv``, ``sub-X/**/*_qc.json``, the product's sidecar,
    ``sub-X/figures/``, the latest ``sub-X/log/<run>/`` (``run.toml``, ``crash*``) and
    the ``CITATION.md`` of the runs that made the results.  The page says what is missing.
    """
    root = Path(output_dir)
    record = read_subject(root, subject)
    methods, problem = _methods(record.methods)
    fused = read_fused(root, record.label)
    use, use_problem = _use(root, record, fused)
    sections = [_section(image) for image in record.images if image.outcome != "skipped"]
    shown = [section["image"] for section in sections]
    context = {
        "subject": record,
        "viewer": viewer,
        "counts": [
            (name, words, count)
            for name, words in OUTCOMES.items()
            if (count := Counter(image.outcome for image in record.images)[name])
        ],
        "outcomes": OUTCOMES,
        "judged": [
            {"name": name, "anchor": anchor, "fused": joined, "verdict": verdict}
            for name, anchor, joined, verdict in (
                *((image.stem, image.anchor, False, image.verdict) for image in record.images),
                *((part.record.product, part.anchor, True, part.record.verdict) for part in fused),
            )
            if verdict is not None
        ],
        "sloppy": sum(image.sloppy for image in record.images),
        "sections": sections,
        "navigation": [
            (session, list(group)) for session, group in groupby(shown, key=lambda i: i.session)
        ],
        "problems": [*_problems(record, problem), *filter(None, [use_problem])],
        "failed": [image for image in record.images if image.outcome == "failed"],
        "unfinished": [
            image
            for image in record.images
            if image.outcome == "unfinished" and image.image not in pending
        ],
        "pending": sorted(name.rpartition("/")[2].split(".")[0] for name in pending),
        "warned": [
            (section["image"], section["warnings"])
            for section in sections
            if section["image"].outcome not in ("failed", "unfinished") and section["warnings"]
        ],
        "fused": [
            {
                "volume": volume,
                "figures": {key: figure_html(key, at) for key, at in volume.figures.items()},
                "segmentations": _segmentations(volume.record.segmentations, volume.figures),
            }
            for volume in fused
        ],
        "use": use,
        "suffixes": sorted({image.suffix for image in shown}),
        "methods": methods,
        "has_result": bool(record.methods),
        "run": _run_lines(record),
    }
    return write_text_atomic(root / f"{record.label}.html", render("subject.html.j2", context))


def figure_html(name: str, path: Path) -> Markup:
    """Embed a figure: the one to flip in line, so that it can be clicked; others as images.

    Parameters
    ----------
    name : str
        ``sr``, ``uncertainty``, ``mask``, ``slicegain``, ``sliceprofile``, ``learningcurve`` or
        ``seg<tool>``.
    path : Path
        SVG or PNG.

    Returns
    -------
    Markup
        A sentence instead of the figure where the file cannot be read.
    """
    alt = (
        wording.ALT_TEXTS.get(name)
        or f"Segmentation by {name.removeprefix(SEGMENTATION)}, in colours"
    )
    missing = Markup('<p class="missing">The figure {} could not be read.</p>').format(path.name)
    try:
        content = read_bytes(path, what="the figure")
        text = content.decode("utf-8") if path.suffix == ".svg" else ""
    except (InputDataError, UnicodeDecodeError):
        return missing
    # Only our own drawing stands in line; an image cannot run scripts or load anything.
    if (drawing := inline_svg(text)) is not None:
        return Markup(drawing)
    if not (content.startswith(_PNG) or _SVG.match(text)):  # a link to something private
        return missing
    if text:
        uri = "data:image/svg+xml," + quote(text, safe=" /:;,=()+-._~!*'")
    else:
        import base64

        uri = "data:image/png;base64," + base64.b64encode(content).decode("ascii")
    return Markup('<img class="{}" src="{}" alt="{}">').format(name, uri, alt)


def _use(
    root: Path, record: SubjectRecord, fused: Sequence[FusedVolume]
) -> tuple[dict[str, Any] | None, str]:
    """Gather which files to use for what; None and the reason where that cannot be told."""
    try:
        places = Places.of_run(root, record.label, record.run.table if record.run else {})
        sessions = read_output_files(root, record.label, record.images, fused)
        if not sessions:
            return None, ""
        return {
            "root": str(places.root),
            "subject": steps_of_subject(places, sessions),
            "sessions": [(part, steps_of_session(places, part)) for part in sessions],
            "warnings": warnings_of_use(sessions),
        }, ""
    except Exception as error:  # the page is worth more than this part of it
        return None, f"Which file to use could not be told ({in_words(error)})."


def _section(image: ImageRecord) -> dict[str, Any]:
    """Gather the section of an image; say so where its files cannot be shown."""
    try:
        return _section_of(image)
    except Exception as error:
        problem = f"Its QC file or sidecar has values that cannot be shown ({in_words(error)})."
        problems = (*image.problems, problem)
        return _section_of(replace(image, quality=None, sidecar={}, problems=problems))


def _section_of(image: ImageRecord) -> dict[str, Any]:
    return {
        "image": image,
        "guide": guide_words(image.quality),
        "facts": _facts(image),
        "figures": {name: figure_html(name, path) for name, path in image.figures.items()},
        "segmentations": _segmentations(
            image.quality.segmentations if image.quality else (), image.figures
        ),
        "quality": quality_lines(image),
        "timings": _timings(image),
        "records": _records(image),
        "warnings": _warnings(image),
    }


def _segmentations(
    records: Sequence[StepRecord], figures: Mapping[str, Path]
) -> list[dict[str, Any]]:
    """Gather of each tool its figure, its volumes, and why there are none."""
    panels = []
    for record in records:
        tool = record.tool
        path = figures.get(SEGMENTATION + "".join(c for c in tool if c.isalnum()))
        done = record.status == "done"
        volumes = record.volumes_ml.items()
        lines = [Line(name=name, value=f"{wording.number(ml)} mL") for name, ml in volumes]
        if record.count is not None:
            lines.append(Line(name="Number of regions", value=str(record.count)))
        if record.lesions is not None:
            count, seen = record.lesions
            lines.append(
                Line(name="Lesions that the acquired slices show", value=f"{seen} of {count}")
            )
        panels.append(
            {
                "tool": tool,
                "figure": figure_html(
                    path.name.split("desc-")[1].split("_")[0].removeprefix("fused"), path
                )
                if path and done
                else "",
                "lines": lines if done else [],
                "reason": "" if done else f"{record.status}: {record.reason}",
            }
        )
    return panels


def _facts(image: ImageRecord) -> list[Line]:
    row = image.row
    details = _mapping(image.sidecar.get("SuperResolution"))
    method = image.quality.method if image.quality else MethodRecord()
    sizes, shape = (method.output.spacings, method.output.shape) if method.output else ((), ())
    axis = {"0": "first", "1": "second", "2": "third"}.get(row.get("slice_axis", ""), "")
    facts = [
        Line(name="Slice spacing", value=_mm(row.get("spacing"))),
        Line(name="Slice thickness", value=_mm(row.get("thickness"))),
        Line(name="Gap", value=_mm(row.get("gap"))),
        Line(name="Slice profile", value=row.get("profile", "")),
        Line(name="Slice axis", value=f"{axis} array axis" if axis else ""),
        Line(name="Scale factor", value=wording.number(details.get("Scale"))),
        Line(name="Output voxels", value=wording.sizes(sizes, "mm")),
        Line(name="Output matrix", value=wording.sizes(shape)),
        Line(name="Method", value=method.method),
        Line(name="Model", value=method.model),
        Line(name="Adapted to", value=method.adaptation),
    ]
    return [fact for fact in facts if fact.value and fact.value != wording.DASH]


def _mm(cell: str | None) -> str:
    try:
        return f"{wording.number(float(cell or ''), 3)} mm"
    except ValueError:
        return cell or ""


def _timings(image: ImageRecord) -> list[Line]:
    times = image.quality.seconds if image.quality else {}
    lines = [
        Line(name=TIMES.get(name) or wording.label(name), value=wording.duration(seconds))
        for name, seconds in times.items()
    ]
    if len(times) > 1:
        lines.append(Line(name="Total", value=wording.duration(sum(times.values()))))
    return lines


def _records(image: ImageRecord) -> list[tuple[str, list[tuple[str, str]]]]:
    known = image.quality or QualityRecord(image=image.image)
    records = {title: known.step(name).facts for name, title in STEPS.items()}
    records["Super-resolution"] = known.method.to_dict()
    records["Sidecar of the product"] = image.sidecar
    tables = [(title, list(wording.record_lines(facts))) for title, facts in records.items()]
    return [(title, lines) for title, lines in tables if lines]


def _warnings(image: ImageRecord) -> list[str]:
    """Gather the warnings of an image, each once."""
    from_steps = list(image.quality.warnings) if image.quality else []
    without_result = image.outcome in ("failed", "unfinished")
    message = "" if without_result else image.message
    if without_result and (image.quality or "sr" in image.figures):
        from_steps.insert(0, LEFTOVER)
    known = [text for text in from_steps if text not in message]
    return [*([message] if message else []), *known, *image.problems]


def _problems(record: SubjectRecord, methods_problem: str) -> list[str]:
    problems = list(record.problems)
    if record.run is None:
        problems.append("No log of a run was found, so command line and versions are unknown.")
    else:
        problems.extend(record.run.problems)
    if not record.images:
        problems.append("No image of this participant is recorded.")
    if methods_problem:
        problems.append(methods_problem)
    return problems


def _methods(texts: Mapping[Path, Sequence[str]]) -> tuple[MethodsText | None, str]:
    """Convert the methods text, in parts where images were made by different methods."""
    if not texts:
        return None, ""
    parts = []
    for path, stems in texts.items():
        try:
            text = read_text(path, what="the methods text")
        except InputDataError as error:
            return None, f"logs/CITATION.md: {str(error).removeprefix(f'{path}: ')}"
        names = ", ".join(f"`{stem}`" for stem in stems)
        parts.append((f"## {names}\n\n" if len(texts) > 1 else "") + text.strip())
    try:
        return convert("\n\n".join(parts)), ""
    except BidsSrError as error:
        return None, f"The methods text in logs/CITATION.md could not be converted: {error}"


def _run_lines(record: SubjectRecord) -> dict[str, Any]:
    table = record.run.table if record.run else {}
    run = _mapping(table.get("run"))
    return {
        "name": record.run.name if record.run else "",
        "command": run.get("command", ""),
        "started": str(run.get("started", "")),
        "versions": list(wording.record_lines(table.get("versions")))
        and [(str(name), str(value)) for name, value in _mapping(table.get("versions")).items()],
        "config": [
            (str(name), wording.value_text(value))
            for name, value in _mapping(table.get("config")).items()
        ],
        "crashes": record.run.crashes if record.run else (),
    }


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
