"""Nipype skin of a guide: a thin scan of the session improves a reconstruction, or does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from nipype.interfaces.base import File, TraitedSpec, isdefined, traits

from bids_sr.imaging import Acquisition, Series, Volume, check_input
from bids_sr.interfaces.fusion import motion
from bids_sr.interfaces.optional import OptionalInputSpec, StepOfSeveralImages
from bids_sr.interfaces.super_resolution import described, log_progress
from bids_sr.records.method_record import MethodRecord

if TYPE_CHECKING:
    from bids_sr.sr import GuidedReconstruction

NOT_USED = "the guide is not used"
PASSED = ("sr_file", "uncertainty", "method")
"""Inputs that are also outputs: with the guide, or as they were."""
NEEDED = ("slices", "acquisition", "learned", "guide_file")
"""Further inputs that other steps make."""


class _ApplyGuideInputSpec(OptionalInputSpec):
    sr_file = File(exists=True, mandatory=True, desc="reconstruction without the guide")
    uncertainty = traits.Either(
        None, File(exists=True), mandatory=True, desc="its uncertainty, or None"
    )
    method = traits.Instance(MethodRecord, mandatory=True, desc="how it was made")
    slices = File(exists=True, mandatory=True, desc="preprocessed image that it was made of")
    acquisition = traits.Instance(Acquisition, mandatory=True, desc="by which it was made")
    learned = traits.Either(
        None, File(exists=True), mandatory=True, desc="the network that made it, or None"
    )
    guide_file = traits.Either(
        None, File(exists=True), usedefault=True, desc="the guide; None where its image failed"
    )
    source = traits.Str(mandatory=True, desc="BIDS URI of the acquired guide")
    random_seed = traits.Int(0, usedefault=True, desc="of registration and training")
    num_threads = traits.Int(1, usedefault=True, nohash=True, desc="threads")


class _ApplyGuideOutputSpec(TraitedSpec):
    sr_file = File(exists=True, desc="reconstruction with the guide, or as it was")
    uncertainty = traits.Either(None, File(exists=True), desc="its uncertainty, or None")
    method = traits.Instance(MethodRecord, desc="how it was made, and what the guide did")
    aligned = traits.Either(
        None, File(exists=True), desc="the guide, registered, on the grid of the result, or None"
    )
    record = traits.Dict(desc="why the step failed, if so")


class ApplyGuide(StepOfSeveralImages):
    """Improve a reconstruction by a guide, if held-out slices say that it helps.

    Where the guide is not used, or its own image has failed, the reconstruction stays the file
    that it was.
    """

    input_spec = _ApplyGuideInputSpec
    output_spec = _ApplyGuideOutputSpec
    without = NOT_USED

    def can_lack(self, name: str) -> bool:
        """Tell whether the step can do without an input: the guide, and nothing else."""
        return name == "guide_file"

    def _run_step(self, runtime: Any) -> None:
        self._results["record"] = {}
        guide_file = self.inputs.guide_file
        if not (isdefined(guide_file) and guide_file):
            self._results |= self._unguided("its own image has failed")
            return
        from bids_sr.sr import Reconstruction, guided
        from bids_sr.sr.contract.weights import Weights

        check_input(Path(guide_file))
        guide, slices = _first_frame(guide_file), _first_frame(self.inputs.slices)
        uncertainty, learned = self.inputs.uncertainty, self.inputs.learned
        unguided = Reconstruction(
            volume=Volume.load(self.inputs.sr_file),
            record=self.inputs.method,
            uncertainty=Volume.load(uncertainty) if uncertainty else None,
            learned=Weights.load(Path(learned)) if learned else None,
            acquisition=self.inputs.acquisition,
        )
        result = guided(
            unguided,
            slices,
            guide,
            seed=self.inputs.random_seed,
            threads=self.inputs.num_threads,
            progress=log_progress(),
        )
        self._save(result, slices, guide, Path(runtime.cwd))

    def _save(
        self, result: GuidedReconstruction, slices: Volume, guide: Volume, cwd: Path
    ) -> None:
        from bids_sr.sr.contract.side_results import side_result

        facts = {"Source": self.inputs.source, **result.record.details["Guide"]}
        self._results |= self._as_it_was() | {"aligned": None}
        if to_guide := facts.get("ToGuide"):
            facts["ShiftMm"], facts["RotationDegrees"] = motion(np.array(to_guide), slices)
            self._results["aligned"] = side_result(
                "registered guide",
                lambda: _aligned(guide, result.volume, np.array(to_guide), cwd / "aligned.nii.gz"),
            )
        method = result.record.with_details(Guide=facts)
        if result.used:
            self._results["sr_file"] = str(result.volume.save(cwd / "sr.nii.gz"))
            if result.uncertainty is not None:
                path = result.uncertainty.save(cwd / "uncertainty.nii.gz")
                self._results["uncertainty"] = str(path)
            method = replace(method, output=described(result, self._residual(result, slices)))
        self._results["method"] = method

    def _residual(self, result: GuidedReconstruction, slices: Volume) -> float | None:
        from bids_sr.sr import data_consistency_residual
        from bids_sr.sr.contract.side_results import side_result

        return side_result(
            "data consistency",
            lambda: data_consistency_residual(result.volume, slices, self.inputs.acquisition),
        )

    def _do_without(self, reason: str) -> dict[str, Any]:
        return self._unguided(reason)

    def _unguided(self, reason: str) -> dict[str, Any]:
        facts = {"Source": self.inputs.source, "Used": False, "Reason": reason}
        said = MethodRecord(remarks=(f"{NOT_USED}: {reason}",), details={"Guide": facts})
        return {**self._as_it_was(), "method": self.inputs.method.joined(said), "aligned": None}

    def _as_it_was(self) -> dict[str, Any]:
        return {name: getattr(self.inputs, name) for name in PASSED}


def _aligned(guide: Volume, result: Volume, to_guide: Any, path: Path) -> str:
    """Save the guide on the grid of the result; 0 where it covers nothing."""
    from bids_sr.sr.together.placement import covered, placed

    data = placed(guide, result.grid, to_guide, order=1)
    inside = covered(guide.grid, result.grid, to_guide)
    return str(result.with_data(np.where(inside, data, np.float32(0))).save(path))


def _first_frame(path: str) -> Volume:
    return next(Series.load(path).frames())
