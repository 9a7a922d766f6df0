"""Nipype skins of the brain mask: extract it, take an existing one, bring it to a grid."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from nipype.interfaces.base import File, TraitedSpec, traits

from bids_sr.exceptions import InputDataError
from bids_sr.imaging import Volume, resample
from bids_sr.interfaces.optional import OptionalInputSpec, OptionalStep


class _ExtractBrainInputSpec(OptionalInputSpec):
    in_file = File(exists=True, mandatory=True, desc="image")
    engine = traits.Enum("template", "hdbet", "existing", "none", usedefault=True, desc="engine")
    engine_reason = traits.Str("", usedefault=True, desc="why this engine, for the record")
    existing_mask = traits.Either(
        None, File(exists=True), usedefault=True, desc="brain mask on the grid of the image"
    )
    acquired_file = File(exists=True, desc="acquired image, checked for a skull")
    skull_strip_anat = traits.Enum(
        "force",
        "auto",
        "skip",
        usedefault=True,
        desc="whether to look for a skull",
    )
    weights_dir = traits.Str("", usedefault=True, desc="folder of the HD-BET weights")
    template = traits.Str("MNI152", usedefault=True, desc="template of the engine of that name")
    hdbet_tta = traits.Bool(False, usedefault=True, desc="HD-BET averages over mirrored copies")
    allow_unverified_weights = traits.Bool(
        False, usedefault=True, desc="its checkpoint may run code"
    )
    device = traits.Str("auto", usedefault=True, desc="torch device of HD-BET")
    use_gpu = traits.Bool(False, usedefault=True, nohash=True, desc="takes a GPU slot")
    num_threads = traits.Int(1, usedefault=True, nohash=True, desc="threads of the engine")
    random_seed = traits.Int(0, usedefault=True, desc="random seed")


class _ExtractBrainOutputSpec(TraitedSpec):
    out_mask = traits.Either(None, File(exists=True), desc="brain mask, or None where refused")
    record = traits.Dict(desc="what the step did")
    skull_stripped = traits.Either(None, traits.Bool, desc="image without skull; None: not known")


class ExtractBrain(OptionalStep):
    """Compute the brain mask of an image on the image's own grid.

    No later step depends on the mask: where an engine refuses an image (no brain in
    it, an implausible result) or fails, there is none.  A skull-stripped
    image needs no engine: its non-background voxels are the brain.
    """

    input_spec = _ExtractBrainInputSpec
    output_spec = _ExtractBrainOutputSpec
    without = "no brain mask"

    def _run_step(self, runtime: Any) -> None:
        engine, mask = self.inputs.engine, None
        record: dict[str, Any] = {"Method": engine, "Reason": self.inputs.engine_reason}
        self._results["skull_stripped"] = None
        if engine != "none" or self.inputs.skull_strip_anat != "force":
            mask, details = self._stripped(engine) or self._extract(engine)
            record |= details
        self._results["out_mask"] = None
        if mask is not None:
            voxel_ml = float(np.prod(mask.spacings)) / 1000
            record["VolumeMl"] = round(float(np.count_nonzero(mask.data)) * voxel_ml, 1)
            self._results["out_mask"] = str(mask.save(Path(runtime.cwd) / "brain_mask.nii.gz"))
        self._results["record"] = record

    def _do_without(self, reason: str) -> dict[str, Any]:
        record = {"Method": self.inputs.engine, "Reason": self.inputs.engine_reason}
        skull_stripped = self._results.get("skull_stripped")
        return {"out_mask": None, "skull_stripped": skull_stripped, "record": record}

    def _stripped(self, engine: str) -> tuple[Volume | None, dict[str, Any]] | None:
        """Find out whether the image has no skull; its mask, unless another one is asked for."""
        if self.inputs.skull_strip_anat == "force":
            return None
        from bids_sr.engines.stripped_image import given_brain, stripped_brain

        volume = Volume.load(self.inputs.acquired_file)
        find = given_brain if self.inputs.skull_strip_anat == "skip" else stripped_brain
        mask, details = find(volume)
        self._results["skull_stripped"] = mask is not None
        if mask is None or engine in ("existing", "none"):
            return None
        reason = "constant background around an object of the size of a brain, without a skull"
        if self.inputs.skull_strip_anat == "skip":
            reason = "marked as skull-stripped by the sidecar or --skull-strip-anat"
        return mask, {**details, "Reason": reason}

    def _extract(self, engine: str) -> tuple[Volume | None, dict[str, Any]]:
        if engine == "none":
            return None, {}
        volume = Volume.load(self.inputs.in_file)
        if engine == "existing":
            return _existing_mask(self.inputs.existing_mask, volume)
        volume = volume.with_ordinary_intensities()
        if engine == "hdbet":
            from bids_sr.engines import hd_bet

            weights_dir = self.inputs.weights_dir
            return hd_bet.brain_mask(
                volume,
                weights_dir=Path(weights_dir) if weights_dir else None,
                device=self.inputs.device,
                threads=self.inputs.num_threads,
                hdbet_tta=self.inputs.hdbet_tta,
                allow_unverified_weights=self.inputs.allow_unverified_weights,
            )
        from bids_sr.engines import ants

        return ants.template_brain_mask(
            volume,
            threads=self.inputs.num_threads,
            seed=self.inputs.random_seed,
            template=self.inputs.template,
        )


def _existing_mask(path: str, volume: Volume) -> tuple[Volume, dict[str, Any]]:
    mask = Volume.load(path, dtype=np.uint8)
    if not mask.same_grid(volume):
        raise InputDataError(
            f"{path}: the brain mask has shape {mask.shape} and its grid is not that of the "
            f"image (shape {volume.shape}); expected a mask on the image's grid. Give a mask "
            "made on this image, or leave --derivatives out."
        )
    if not (mask.data > 0).any():
        raise InputDataError(
            f"{path}: the brain mask is empty; expected voxels above 0. Give another mask, or "
            "leave --derivatives out."
        )
    return mask.with_data((mask.data > 0).astype(np.uint8)), {"Source": path}


class _MaskToGridInputSpec(OptionalInputSpec):
    in_mask = traits.Either(None, File(exists=True), mandatory=True, desc="binary mask, or None")
    reference_file = File(exists=True, mandatory=True, desc="image that gives the grid")


class _MaskToGridOutputSpec(TraitedSpec):
    out_mask = traits.Either(None, File(exists=True), desc="mask on the grid of the reference")
    record = traits.Dict(desc="why there is none, if so")


class MaskToGrid(OptionalStep):
    """Bring a mask to the grid of an image: linear interpolation, cut at one half."""

    input_spec = _MaskToGridInputSpec
    output_spec = _MaskToGridOutputSpec
    without = "no brain mask on the output grid"

    def _run_step(self, runtime: Any) -> None:
        self._results.update(out_mask=None, record={})
        if self.inputs.in_mask:
            reference = Volume.load(self.inputs.reference_file)
            mask = Volume.load(self.inputs.in_mask, dtype=np.uint8)
            share = resample(
                mask.with_data(mask.data.astype(np.float32)), reference.grid, kernel="linear"
            )
            binary = share.with_data((share.data >= 0.5).astype(np.uint8))
            out_file = Path(runtime.cwd) / "brain_mask_on_grid.nii.gz"
            self._results["out_mask"] = str(binary.save(out_file))

    def _do_without(self, reason: str) -> dict[str, Any]:
        return {"out_mask": None}
