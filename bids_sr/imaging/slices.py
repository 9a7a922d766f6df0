"""View: a volume as a stack of 2-D slices across one array axis.

Splitting and joining only permute axes; no value changes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from bids_sr.exceptions import InputDataError


@dataclass(frozen=True)
class View:
    """Name the array axes that become the stack, the rows and the columns.

    Attributes
    ----------
    across : int
        Axis along which the slices are stacked.
    rows : int
        Axis that becomes the rows of a slice.
    columns : int
        Axis that becomes the columns of a slice.
    """

    across: int
    rows: int
    columns: int

    def __post_init__(self) -> None:
        """Refuse axes that are no permutation of 0, 1, 2 (InputDataError)."""
        if sorted((self.across, self.rows, self.columns)) != [0, 1, 2]:
            raise InputDataError(
                f"Found view axes {self.across}, {self.rows}, {self.columns}; expected each of "
                "0, 1 and 2 once."
            )

    @classmethod
    def in_plane(cls, slice_axis: int) -> View:
        """Return the view of the slices as acquired."""
        rows, columns = (axis for axis in range(3) if axis != slice_axis)
        return cls(slice_axis, rows, columns)

    @classmethod
    def through_plane(cls, slice_axis: int) -> tuple[View, View]:
        """Return the two views whose rows run across the acquired slices."""
        first, second = (axis for axis in range(3) if axis != slice_axis)
        return cls(first, slice_axis, second), cls(second, slice_axis, first)

    def split(self, data: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return (N, rows, columns) slices of an (X, Y, Z) array."""
        return np.ascontiguousarray(data.transpose(self.across, self.rows, self.columns))

    def join(self, stack: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the (X, Y, Z) array of an (N, rows, columns) stack: undoes :meth:`split`."""
        order = np.argsort((self.across, self.rows, self.columns))
        return np.ascontiguousarray(stack.transpose(order))
