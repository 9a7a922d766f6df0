"""Intensity scaling brings the bulk of an image to about 0 to 1 and back.

It is linear, so nothing is clipped and the inverse is exact to rounding.  It does
not correct bias fields or match histograms.  Tools that expect the intensities of
scanners get a copy that is scaled to that range (:func:`ordinary_factor`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bids_sr.exceptions import InputDataError

ORDINARY = (10.0, 1e6)
"""Range of the 99th percentile of intensities that every tool can process."""
_ORDINARY_BITS = 10  # others are brought to 512 to 1024


@dataclass(frozen=True, kw_only=True)
class RobustScaler:
    """Map ``offset`` to 0 and ``offset + width`` to 1.

    Attributes
    ----------
    offset : float
        Intensity that becomes 0.
    width : float
        Intensity difference that becomes 1; the image's robust range.
    """

    offset: float
    width: float

    def __post_init__(self) -> None:
        """Refuse a width that cannot be inverted (InputDataError)."""
        if not (np.isfinite(self.offset) and np.isfinite(self.width) and self.width > 0):
            raise InputDataError(
                f"Found an intensity range from {self.offset} of width {self.width}; expected "
                "finite numbers and a width above 0. Is the image constant?"
            )

    @classmethod
    def fit(
        cls, data: npt.NDArray[np.floating], *, lower: float = 0.5, upper: float = 99.5
    ) -> RobustScaler:
        """Take the range from percentiles, so that a few odd voxels do not set it.

        Parameters
        ----------
        data : array
            Intensities, any shape.
        lower, upper : float, percent
            `lower` over all voxels gives the offset; `upper` over the voxels above the
            offset gives the end, so that a large empty background does not count.
        """
        offset = float(np.percentile(data, lower))
        foreground = data[data > offset]
        end = float(np.percentile(foreground, upper)) if foreground.size else offset
        return cls(offset=offset, width=end - offset)

    def apply(self, data: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Scale intensities; the float type is kept."""
        kind = data.dtype.type
        return np.asarray((data - kind(self.offset)) / kind(self.width))

    def inverse(self, data: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Undo :meth:`apply`."""
        kind = data.dtype.type
        return np.asarray(data * kind(self.width) + kind(self.offset))


def ordinary_factor(data: npt.NDArray[np.floating]) -> float:
    """Return the factor that scales intensities to the range of scanners.

    Other tools compare with constants: ANTs' denoising leaves images unchanged if their
    local variance is below 1e-5, and nnU-Net divides by at least 1e-8.

    Parameters
    ----------
    data : array
        Intensities, any shape.

    Returns
    -------
    factor : float
        1 where the 99th percentile of the magnitude is ordinary already, or 0; else a power
        of two, so that scaling there and back is exact.
    """
    size = float(np.percentile(np.abs(data), 99)) or float(np.abs(data).max(initial=0.0))
    if size == 0 or not np.isfinite(size) or ORDINARY[0] <= size < ORDINARY[1]:
        return 1.0
    return float(2.0 ** (_ORDINARY_BITS - np.frexp(size)[1]))
