"""Any model of nnU-Net v2, by its own predictor in this process.

The folder is what ``nnUNetv2_train`` leaves for one configuration: ``plans.json``,
``dataset.json`` and ``fold_*/checkpoint_final.pth``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from bids_sr.engines.hd_bet import ON_CPU, fence
from bids_sr.engines.nnunet_model import CHECKPOINT, NnUNetModel, new_predictor
from bids_sr.engines.segmentation.base import Label, Segmentation, SegmentationTool
from bids_sr.exceptions import EngineError, MissingToolError, is_device_full
from bids_sr.files import read_json
from bids_sr.imaging import Volume

_COLOURS = ("#dc2626", "#3b82f6", "#10b981", "#f59e0b", "#8b5cf6", "#ec4899", "#14b8a6", "#a3e635")


@dataclass(frozen=True, kw_only=True)
class NnUNet(SegmentationTool):
    """Predict with the ensemble of all folds in a folder.

    References
    ----------
    Isensee et al. 2021, nnU-Net: a self-configuring method for deep learning-based
    biomedical image segmentation, Nat Methods 18:203-211, doi:10.1038/s41592-020-01008-z.
    """

    takes_path: ClassVar[bool] = True
    uses_torch: ClassVar[bool] = True
    memory_gb: ClassVar[tuple[float, float]] = (3.0, 0.5)
    text: ClassVar[str] = (
        "The super-resolved image was segmented with a trained nnU-Net [@isensee2021]. "
    )

    @property
    def folder(self) -> Path:
        """The model's folder."""
        assert self.path is not None
        return self.path

    def folds(self) -> list[str]:
        """List the folds with a checkpoint: numbers, or ``all``."""
        checkpoints = sorted(self.folder.glob(f"fold_*/{CHECKPOINT}"))
        return [path.parent.name.removeprefix("fold_") for path in checkpoints]

    def files(self) -> tuple[Path, ...]:
        """List plans, dataset and checkpoints; see :class:`.SegmentationTool`."""
        checkpoints = sorted(self.folder.glob(f"fold_*/{CHECKPOINT}"))
        return (self.folder / "plans.json", self.folder / "dataset.json", *checkpoints)

    def check(self) -> None:
        """Refuse a model that needs more than one image; see :class:`.SegmentationTool`."""
        files = [name for name in ("plans.json", "dataset.json") if not self._has(name)]
        if files or not self.folds():
            missing = ", ".join([*files, *([] if self.folds() else [f"fold_*/{CHECKPOINT}"])])
            raise MissingToolError(
                f"--segmentation nnunet={self.folder}: found no {missing} there; expected a "
                "model folder of nnU-Net v2, such as "
                "nnUNet_results/Dataset001_NAME/nnUNetTrainer__nnUNetPlans__3d_fullres. "
                "Check the path."
            )
        channels = self._dataset().get("channel_names")
        channels = channels if isinstance(channels, dict) else {}
        if len(channels) != 1:
            raise MissingToolError(
                f"--segmentation nnunet={self.folder}: the model takes {len(channels)} images "
                f"({', '.join(map(str, channels.values()))}); expected one that takes a single "
                "image."
            )
        self._model()

    def segment(self, volume: Volume, mask: Volume | None = None) -> Segmentation:
        """Segment an image; see :class:`.SegmentationTool`.

        Notes
        -----
        The image is turned to the nearest RAS+ orientation first and the labels back; the
        array goes to nnU-Net as its reader gives it, (z, y, x).  Checkpoints are loaded
        as plain weights: one that holds code is refused, and so are plans that name classes
        outside of nnU-Net.
        """
        from bids_sr.compute.device import or_on_cpu, resolve_device

        self.check()
        canonical = volume.canonical()
        image = canonical.data.astype(np.float32).transpose(2, 1, 0)[None]  # (1, z, y, x)
        spacings = [float(spacing) for spacing in canonical.spacings[::-1]]
        with fence(self.threads, restricted=True):
            labels, full = or_on_cpu(
                self.device, lambda name: self._labels(image, spacings, resolve_device(name))
            )
        labels = np.asarray(labels).transpose(2, 1, 0).astype(np.int32)
        own = canonical.with_data(labels).oriented_like(volume)
        digests = self._model().digests(self.folds())
        return Segmentation(
            labels=volume.with_data(own.data),
            table=self._table(),
            record={
                "Method": "nnU-Net v2",
                "Model": str(self.folder),
                "Dataset": self._plans().get("dataset_name", ""),
                "WeightsSHA256": {
                    fold: digests[f"fold_{fold}/{CHECKPOINT}"] for fold in self.folds()
                },
                "FilesSHA256": digests,
                "Device": ON_CPU if full else str(resolve_device(self.device)),
                "Threads": self.threads,
                **({"Warning": f"segmented on the {ON_CPU}"} if full else {}),
            },
        )

    def _labels(self, image: Any, spacings: list[float], device: Any) -> Any:
        try:
            return self._predictor(device).predict_single_npy_array(image, {"spacing": spacings})
        except RuntimeError as error:
            if is_device_full(error):  # for the CPU to take over
                raise
            raise EngineError(
                f"nnU-Net failed on {device} ({error}). If memory is too small, use --device "
                "cpu; otherwise check whether the model fits the image."
            ) from error

    def _predictor(self, device: Any) -> Any:
        predictor = new_predictor(
            "nnunetv2",
            use_mirroring=False,
            perform_everything_on_device=device.type == "cuda",
            device=device,
        )
        return self._model().load_into(predictor, self.folds(), restricted=True)

    def _model(self) -> NnUNetModel:
        return NnUNetModel.read(self.folder)

    def _has(self, name: str) -> bool:
        return (self.folder / name).is_file()

    def _dataset(self) -> dict[str, Any]:
        return self._json("dataset.json")

    def _plans(self) -> dict[str, Any]:
        return self._json("plans.json")

    def _json(self, name: str) -> dict[str, Any]:
        return read_json(self.folder / name, what="the model", error=MissingToolError)

    def _table(self) -> tuple[Label, ...]:
        """Return the labels of the model; of overlapping regions, what each writes."""
        described = self._dataset()
        values = {name: value for name, value in described["labels"].items() if value != 0}
        values.pop("ignore", None)
        if order := described.get("regions_class_order"):
            values = dict(zip(values, order, strict=True))
        return tuple(
            Label(index=int(value), name=name, colour=_COLOURS[number % len(_COLOURS)])
            for number, (name, value) in enumerate(values.items())
        )
