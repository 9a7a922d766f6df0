"""The sentences of a methods text that follow from results: weights, voxels, data consistency.

What was planned is in the text of the graph; what came of it is read from the QC records.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from bids_sr.records.json_values import mapping, text
from bids_sr.records.method_record import MethodRecord
from bids_sr.reports import wording

HASH_LENGTH = 12
"""Digits of a digest in running text; the sidecars have all."""
_MOST_SIZES = 4


@dataclass(kw_only=True)
class ResultFacts:
    """Gather what is true of some results; the same result may be added twice."""

    _sizes: set[tuple[str, tuple[float, ...]]] = field(default_factory=set)
    _weights: set[tuple[str, str]] = field(default_factory=set)
    _consistent: set[bool] = field(default_factory=set)
    _fallbacks: set[str] = field(default_factory=set)

    def add(self, suffix: str, method: MethodRecord) -> None:
        """Take the facts of one result.

        Parameters
        ----------
        suffix : str
            Contrast: ``FLAIR``.
        method : MethodRecord
            What was done to the image.
        """
        if method.output is not None and not method.passed_through:
            sizes = tuple(round(size, 2) for size in method.output.spacings)
            self._sizes.add((suffix, sizes))
        if method.model:
            name = method.model.removesuffix(".safetensors").removesuffix(".pth")
            self._weights.add((name, text(method.details.get("ModelSHA256"))))
        if not method.passed_through:
            done = mapping(method.details.get("DataConsistency")).get("Applied")
            self._consistent.add(done is True)
        if method.fallback_reason:
            self._fallbacks.add(suffix)

    @property
    def text(self) -> str:
        """Sentences in markdown; empty where nothing is known."""
        return " ".join(
            filter(None, [self._of_weights(), self._of_voxels(), self._of_consistency()])
        )

    def _of_weights(self) -> str:
        words = [
            f"*{name}*" + (f" (SHA-256 `{digest[:HASH_LENGTH]}`)" if digest else "")
            for name, digest in sorted(self._weights)
        ]
        return f"The pretrained weights were {_listed(words)}." if words else ""

    def _of_voxels(self) -> str:
        by_size: dict[tuple[float, ...], list[str]] = {}
        for suffix, size in sorted(self._sizes):
            by_size.setdefault(size, []).append(suffix)
        if not by_size:
            return ""
        if len(by_size) > _MOST_SIZES:
            sides = [side for size in by_size for side in size]
            low, high = wording.number(min(sides), 3), wording.number(max(sides), 3)
            return f"The resulting images have voxels with sides of {low} to {high} mm."
        words = [
            wording.sizes(size, "mm") + (f" ({', '.join(names)})" if len(by_size) > 1 else "")
            for size, names in sorted(by_size.items())
        ]
        return f"The resulting images have voxels of {_listed(words)}."

    def _of_consistency(self) -> str:
        sentences = []
        if True in self._consistent:
            which = "each result" if self._consistent == {True} else "some results"
            sentences.append(
                f"Data consistency was enforced on {which}: degraded again by the acquisition "
                "model, a result agrees with the acquired slices up to their noise."
            )
        if self._fallbacks:
            kinds = _listed(sorted(self._fallbacks))
            sentences.append(f"Some {kinds} images were interpolated instead.")
        return " ".join(sentences)


def results_text(results: Iterable[tuple[str, MethodRecord]]) -> str:
    """Describe results, given as contrast and method record; see :class:`ResultFacts`."""
    facts = ResultFacts()
    for suffix, method in results:
        facts.add(suffix, method)
    return facts.text


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
