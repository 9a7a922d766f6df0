"""Nipype skin that brings a segmentation back onto the acquired slices and measures lesions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import File, TraitedSpec, traits

from bids_sr.bids.derivatives import LESION, ON_SLICES
from bids_sr.imaging import Acquisition, Volume
from bids_sr.imaging.label_slices import LabelSlices
from bids_sr.interfaces.optional import OptionalInputSpec, OptionalStep


class _SegmentationOnSlicesInputSpec(OptionalInputSpec):
    in_files = traits.Dict(mandatory=True, desc="results of the segmentation by name")
    segmentation = traits.Dict(mandatory=True, desc="record of the segmentation")
    sr_file = traits.Either(
        None, File(exists=True), mandatory=True, desc="image that was segmented, or None"
    )
    slices_file = traits.Either(
        None, File(exists=True), mandatory=True, desc="slices it was made of, or None"
    )
    acquisition = traits.Either(
        None, traits.Instance(Acquisition), mandatory=True, desc="how they were taken"
    )


class _SegmentationOnSlicesOutputSpec(TraitedSpec):
    out_files = traits.Dict(desc="the results, and those on the slices")
    record = traits.Dict(desc="record of the segmentation, and what was measured")


class SegmentationOnSlices(OptionalStep):
    """Add to the results of a segmentation what they are on the acquired slices.

    Without slices, or where the segmentation has no result, the results stay as they are.
    """

    input_spec = _SegmentationOnSlicesInputSpec
    output_spec = _SegmentationOnSlicesOutputSpec
    without = "the segmentation is not brought onto the acquired slices"

    def _run_interface(self, runtime: Any) -> Any:
        runtime = super()._run_interface(runtime)
        earlier = self.inputs.segmentation.get("Seconds")
        record = self._results["record"]
        if earlier is not None and "Seconds" in record:
            record["Seconds"] = round(record["Seconds"] + earlier, 1)
        return runtime

    def _run_step(self, runtime: Any) -> None:
        files, record = dict(self.inputs.in_files), dict(self.inputs.segmentation)
        self._results |= {"out_files": files, "record": record}
        if "labels" not in files or not self.inputs.slices_file:
            return
        slices, sr = Volume.load(self.inputs.slices_file), Volume.load(self.inputs.sr_file)
        if sr.grid.same(slices.grid):
            return
        acquisition = self.inputs.acquisition.for_volume(slices)
        on_slices = LabelSlices.between(sr.grid, slices.grid, acquisition)
        cwd = Path(runtime.cwd)
        labels = on_slices.labels(_labels(files["labels"]))
        files[f"{ON_SLICES}labels"] = str(labels.save(cwd / "slices_labels.nii.gz"))
        rows = _rows(Path(files["volumes"]), labels)
        files[f"{ON_SLICES}volumes"] = str(_write(cwd / "slices_volumes.tsv", _table(rows)))
        record["VolumesOnSlicesMl"] = {row["name"]: row["volume_ml"] for row in rows}
        for name, path in self.inputs.in_files.items():
            kind, _, label = name.partition("-")
            if kind != "mask":
                continue
            mask = _labels(path)
            saved = on_slices.mask(mask).save(cwd / f"slices_mask-{label}.nii.gz")
            files[f"{ON_SLICES}mask-{label}"] = str(saved)
            if label == LESION:
                files["lesions"], facts = _lesions(mask, sr, slices, acquisition, cwd)
                record |= facts

    def _do_without(self, reason: str) -> dict[str, Any]:
        return {
            "out_files": dict(self.inputs.in_files),
            "record": dict(self.inputs.segmentation),
        }


def _labels(path: str) -> Volume:
    return Volume.load(path, dtype=np.int32)  # as an image, one without a lesion is refused


def _lesions(
    mask: Volume, sr: Volume, slices: Volume, acquisition: Acquisition, cwd: Path
) -> tuple[str, dict[str, Any]]:
    """Write the table of lesions, and count those that rest on measured data."""
    from bids_sr.sr.slices.lesions import lesions_tsv, measure_lesions

    lesions = measure_lesions(mask.data > 0, sr, slices, acquisition)
    measured = sum(lesion.measured for lesion in lesions)
    path = _write(cwd / "lesions.tsv", lesions_tsv(lesions))
    return str(path), {"Lesions": len(lesions), "LesionsSeenInSlices": measured}


def _rows(volumes: Path, labels: Volume) -> list[dict[str, Any]]:
    """Measure the labels on the slices, beside their volumes in the image."""
    header, *lines = volumes.read_text(encoding="utf-8").splitlines()
    voxel = float(np.prod(labels.spacings)) / 1000
    counts = np.bincount(labels.data.ravel())
    rows = []
    for line in lines:
        known = dict(zip(header.split("\t"), line.split("\t"), strict=True))
        index = int(known["index"])
        count = int(counts[index]) if index < counts.size else 0
        rows.append(
            {
                "index": index,
                "name": known["name"],
                "voxels": count,
                "volume_ml": round(count * voxel, 4),
                "super_resolved_volume_ml": known["volume_ml"],
            }
        )
    return rows


def _table(rows: list[dict[str, Any]]) -> str:
    columns = ("index", "name", "voxels", "volume_ml", "super_resolved_volume_ml")
    lines = ["\t".join(columns)]
    lines += ["\t".join(str(row[column]) for column in columns) for row in rows]
    return "\n".join(lines) + "\n"


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path
