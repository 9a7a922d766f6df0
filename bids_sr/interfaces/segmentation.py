"""Nipype skin of the segmentation tools: in this process, or as programs of their own."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nipype.interfaces.base import CommandLine, File, TraitedSpec, traits

from bids_sr.exceptions import EngineError
from bids_sr.imaging import Volume
from bids_sr.interfaces.optional import OptionalInputSpec, OptionalStep

if TYPE_CHECKING:
    from bids_sr.engines.segmentation.base import Segmentation, SegmentationTool


NOTHING = "there is no image to segment"


def segmentation_tool(request: str, **settings: Any) -> SegmentationTool:
    """Build the tool that ``--segmentation`` names, for what its class says of it."""
    from bids_sr.engines.segmentation import make_segmentation

    return make_segmentation(request, **settings)


class _SegmentImageInputSpec(OptionalInputSpec):
    in_file = traits.Either(
        None, File(exists=True), mandatory=True, desc="image; None where there is none"
    )
    in_mask = traits.Either(
        None, File(exists=True), mandatory=True, desc="its brain mask, or None"
    )
    tool = traits.Str(mandatory=True, desc="NAME or NAME=PATH")
    refusal = traits.Str("", usedefault=True, desc="why this image is not segmented, if so")
    companion_file = traits.Either(
        None, File(exists=True), usedefault=True, desc="another image that the tool needs"
    )
    model_files = traits.List(
        File(exists=True), usedefault=True, desc="files that the result depends on"
    )
    device = traits.Str("cpu", usedefault=True, desc="torch device")
    random_seed = traits.Int(0, usedefault=True, desc="random seed")
    template = traits.Str("MNI152", usedefault=True, desc="template of the tissue priors")
    num_threads = traits.Int(1, usedefault=True, nohash=True, desc="threads of the tool")
    use_gpu = traits.Bool(False, usedefault=True, nohash=True, desc="takes a GPU slot")


class _SegmentImageOutputSpec(TraitedSpec):
    out_labels = traits.Either(None, File(exists=True), desc="label map, or None")
    out_files = traits.Dict(desc="results by name: labels, table, volumes, map-*, mask-*")
    colours = traits.List(desc="index, name and colour of each label")
    record = traits.Dict(desc="what the step did, or why not")


class SegmentImage(OptionalStep):
    """Segment an image with one tool.

    A tool that fails, or cannot segment this image (no brain mask, nothing plausible
    found), stops neither the image nor the run.  It was asked for, though: the run ends
    with an exit code that says so.
    """

    input_spec = _SegmentImageInputSpec
    output_spec = _SegmentImageOutputSpec
    without = "no segmentation"

    def _run_step(self, runtime: Any) -> None:
        tool = segmentation_tool(
            self.inputs.tool,
            threads=self.inputs.num_threads,
            seed=self.inputs.random_seed,
            device=self.inputs.device,
            template=self.inputs.template,
        )
        self._results.update(out_labels=None, out_files={}, colours=[])
        record: dict[str, Any] = {"Tool": tool.name, "Status": "done"}
        refusal = self.inputs.refusal or ("" if self.inputs.in_file else NOTHING)
        if refusal:
            record |= {"Status": "skipped", "Reason": refusal}
        elif tool.needs_mask and not self.inputs.in_mask:
            raise EngineError("the image has no brain mask, and the tool works within it")
        else:
            record |= self._save(self._segment(tool, Path(runtime.cwd)), Path(runtime.cwd))
        self._results["record"] = record

    def _do_without(self, reason: str) -> dict[str, Any]:
        name = str(self.inputs.tool).partition("=")[0]
        warning = f"{self.without} by {name}: {reason}"
        record = {"Tool": name, "Reason": reason, "Warning": warning}
        return {"out_labels": None, "out_files": {}, "colours": [], "record": record}

    def _segment(self, tool: SegmentationTool, cwd: Path) -> Segmentation:
        from bids_sr.engines.segmentation.command import CommandTool

        acquired, in_file = Volume.load(self.inputs.in_file), Path(self.inputs.in_file)
        volume = acquired.with_ordinary_intensities()
        if isinstance(tool, CommandTool):
            folder = cwd / tool.label
            folder.mkdir(exist_ok=True)
            companion = self.inputs.companion_file
            if volume is not acquired:
                in_file = volume.save(cwd / "scaled.nii.gz")
            run_program(tool.argv(in_file, folder, Path(companion) if companion else None), cwd)
            return tool.read(volume, folder)
        mask = None
        if tool.needs_mask:
            mask = Volume.load(self.inputs.in_mask, dtype="uint8")
        return tool.segment(volume, mask)

    def _save(self, segmentation: Segmentation, cwd: Path) -> dict[str, Any]:
        from bids_sr.engines.segmentation.base import table_tsv, volumes_tsv

        rows = segmentation.volumes()
        files = {"labels": segmentation.labels.save(cwd / "labels.nii.gz")}
        for name, text in {
            "table": table_tsv(segmentation.table),
            "volumes": volumes_tsv(rows),
        }.items():
            files[name] = cwd / f"{name}.tsv"
            files[name].write_text(text, encoding="utf-8")
        for kind, volumes in {"map": segmentation.maps, "mask": segmentation.masks}.items():
            for label, volume in volumes.items():
                files[f"{kind}-{label}"] = volume.save(cwd / f"{kind}-{label}.nii.gz")
        self._results["out_files"] = {name: str(path) for name, path in files.items()}
        self._results["out_labels"] = str(files["labels"])
        self._results["colours"] = [
            [label.index, label.name, label.colour] for label in segmentation.table
        ]
        volumes_ml = {row["name"]: row["volume_ml"] for row in rows}
        return {**segmentation.record, "VolumesMl": volumes_ml}


def run_program(argv: list[str], cwd: Path) -> None:
    """Run a program by Nipype's ``CommandLine``.

    Raises
    ------
    EngineError
        If it cannot be started or ends with an error; with its last line.
    """
    command = CommandLine(command=argv[0], args=shlex.join(argv[1:]))
    command.terminal_output = "allatonce"
    try:
        ended = command.run(cwd=str(cwd)).runtime
    except OSError as error:
        raise EngineError(f"{argv[0]} cannot be started ({error}).") from error
    said = f"{ended.stdout or ''}\n{ended.stderr or ''}"
    (cwd / "program.log").write_text(said, encoding="utf-8")
    if ended.returncode != 0:
        lines = [line for line in said.splitlines() if line.strip()]
        raise EngineError(
            f"{argv[0]} ended with code {ended.returncode} "
            f"({lines[-1].strip() if lines else 'without a message'}); its output is in "
            f"{cwd / 'program.log'}, and the command was: {shlex.join(argv)}"
        )
