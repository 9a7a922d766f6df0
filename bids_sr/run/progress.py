"""When a step begins and ends, and when an image does, from the scheduler's callbacks."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from bids_sr.compute.progress import in_short

if TYPE_CHECKING:
    from bids_sr.bids.image import AnatImage

LOGGER = logging.getLogger(__name__)

STAGES = {
    "check_input": "check",
    "denoise": "denoising",
    "correct_bias": "bias correction",
    "extract_brain": "brain mask",
    "super_resolve": "super-resolution",
    "apply_guide": "guide",
    "learn": "learning from all images",
    "fuse_stacks": "fusing stacks",
}
"""Nodes worth a line; the others take moments."""
OF_SEVERAL = ("learn", "fuse_stacks")
"""Those of them that belong to no single image."""
SEGMENT = "segment_"
LAST_NODE = "save_quality"
"""Of an image."""
LAST_OF_STACKS = "save_fused"
"""Of a fused volume, also where the stacks were not fused after all."""


class StageLines:
    """Turn node events into lines such as ``sub-01_T1w: denoising done (12 s)``.

    Parameters
    ----------
    stem_of : callable
        From the full name of a node to the stem of its image or fused volume, or None.
    count : int
        How many images and fused volumes are to be processed; 0: not said.
    """

    def __init__(self, stem_of: Callable[[str], str | None], count: int = 0) -> None:
        self.stem_of = stem_of
        self._count, self._start = count, time.monotonic()
        self._done: set[str] = set()
        self._worked: set[str] = set()
        """Of those, whose steps were not all done before."""
        self._begun: dict[str, float] = {}
        self._failed: set[str] = set()
        self.ended: set[str] = set()
        """Full names of the nodes that have ended well."""

    def __call__(self, node: Any, status: str) -> None:
        """Take an event: ``start``, ``end`` or ``exception``."""
        name: str = node.fullname
        if status == "end":
            self.ended.add(name)
        stem = self.stem_of(name)
        if stem is None and node.name in OF_SEVERAL:  # dataset_<suffix>_wf.learn
            stem = name.split(".")[-2].removeprefix("dataset_").removesuffix("_wf")
        if stem is not None and status == "exception":
            self._failed.add(stem)
        # Nipype also ends the nodes that it skips because one before them failed.
        written = node.name == LAST_NODE and status == "end" and stem not in self._failed
        if stem is not None and written:
            LOGGER.info("%s: results written%s", stem, self._so_far(stem))
        if stem is not None and node.name == LAST_OF_STACKS and status == "end":
            LOGGER.info("%s: fusing ended%s", stem, self._so_far(stem))
        stage = STAGES.get(node.name)
        if node.name.startswith(SEGMENT):
            stage = f"segmentation by {node.name.removeprefix(SEGMENT)}"
        if stage is None or stem is None:
            return
        if status == "start":
            self._worked.add(stem)
            self._begun[name] = time.monotonic()
            LOGGER.info("%s: %s ...", stem, stage)
        elif status == "end" and name in self._begun:
            LOGGER.info("%s: %s done (%.0f s)", stem, stage, time.monotonic() - self._begun[name])
        elif status == "end":
            LOGGER.info("%s: %s unchanged", stem, stage)
        elif status == "exception":
            LOGGER.info("%s: %s failed", stem, stage)

    def _so_far(self, stem: str) -> str:
        """Say how many are done, and how long the others will take at the pace so far.

        Those that an earlier run had done take no time, and say nothing of the pace.
        """
        self._done.add(stem)
        done, left = len(self._done), self._count - len(self._done | self._failed)
        if self._count < 2:
            return ""
        worked = len(self._done & self._worked)
        ahead = ""
        if left > 0 and worked:
            seconds = (time.monotonic() - self._start) * left / worked
            ahead = f", about {in_short(seconds)} left"
        return f" ({done} of {self._count}{ahead})"


class ImageEnds:
    """Tell when the last step of an image has ended, or one that its product waits for has failed.

    Where a step beside the product fails, only what the product waits for is waited for.

    Parameters
    ----------
    lines : StageLines
        Gets every event first.
    images : iterable of tuple
        Each image with the full names of its nodes.
    ended : callable
        Called once with each image.
    makes_product : callable
        Whether the product waits for a node, by its full name.
    node_ended : callable
        Called with the full name of each node that has ended or failed, after ``ended``.
    """

    def __init__(
        self,
        lines: StageLines,
        images: Iterable[tuple[AnatImage, set[str]]],
        ended: Callable[[AnatImage], None],
        makes_product: Callable[[str], bool] = lambda _: True,
        node_ended: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.lines = lines
        self._node_ended = node_ended
        self._image_of: dict[str, AnatImage] = {}
        self._left: dict[str, set[str]] = {}
        for image, names in images:
            self._image_of |= dict.fromkeys(names, image)
            self._left[image.relpath] = set(names)
        self._ended = ended
        self._makes_product = makes_product
        self._failed: list[AnatImage] = []

    def __call__(self, node: Any, status: str) -> None:
        """Take an event: ``start``, ``end`` or ``exception``."""
        self._follow_images(node, status)
        if status in ("end", "exception"):
            self._node_ended(node.fullname)

    def _follow_images(self, node: Any, status: str) -> None:
        self.lines(node, status)
        failed, self._failed = self._failed, []
        for failed_image in failed:  # its crash file is written after the event
            self._ended(failed_image)
        image = self._image_of.get(node.fullname)
        if image is None or image.relpath not in self._left:
            return
        left = self._left[image.relpath]
        if status == "exception" and self._makes_product(node.fullname):
            del self._left[image.relpath]
            self._failed.append(image)
            return
        if status == "exception":
            left &= {name for name in left if self._makes_product(name)}
        elif status == "end":
            left.discard(node.fullname)
        if not left:
            del self._left[image.relpath]
            self._ended(image)
