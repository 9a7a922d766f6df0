"""The order of slices, read from how much each differs from the others.

Slices that are neighbours differ least.  A block in reversed order, a slice that is there
twice and a slice that is missing all break this.  A stack that is reversed as a whole does not:
its affine alone is wrong, and that cannot be seen here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bids_sr.sr.slices.neighbour_fit import NeighbourFit

Matrix = npt.NDArray[np.float64]
_REVERSED_RATIO = 0.85  # of the distances at the ends of a block, turned round and as it is
_JUMP = 1.15  # distance at the end of a block over those beside it
_REPEATED_RATIO = 0.5  # of the least distance of the neighbours around
_AROUND = 3  # neighbours on each side that tell what is usual
_LEAST_STEP = 0.1  # by how much position and distance each must point to a missing slice
_LEAST_ASIDE = 0.05  # of each of both neighbours: where anatomy appears at once, one is aside
_MISSING_SCORE = (0.52, 0.72)
"""Of position and distance together: where most blocks agree, and where they do not."""


def ordered(distances: Matrix, judged: Sequence[int]) -> tuple[list[int], list[tuple[int, int]]]:
    """Put slices in the order in which neighbours differ least.

    Parameters
    ----------
    distances : (n, n) array
        Differences of slices; NaN where unknown.
    judged : sequence of int
        Indices of the slices that are looked at, ascending.

    Returns
    -------
    order : list of int
        These indices in the order of their content.
    blocks : list of (int, int)
        First and last index of each block that was turned round.

    Notes
    -----
    Blocks are turned round one by one, the greatest gain first (the 2-opt move for shortest
    paths), where each end then fits clearly better than before.
    """
    order, blocks = list(judged), list[tuple[int, int]]()
    for _ in range(len(order)):
        block = _best_block(distances[np.ix_(order, order)])
        if block is None:
            break
        first, last = block
        blocks.append((min(order[first : last + 1]), max(order[first : last + 1])))
        order[first : last + 1] = order[first : last + 1][::-1]
    return order, blocks


def _best_block(distances: Matrix) -> tuple[int, int] | None:
    """Return first and last place of the block whose reversal gains most, if any does."""
    count = len(distances)
    best, gain = None, 0.0
    for first in range(count - 1):
        for last in range(first + 1, count):
            if last - first >= count - 2:  # the same as the rest, which is shorter
                continue
            ends = []
            if first > 0:
                ends.append((first - 1, first, last))
            if last + 1 < count:
                ends.append((last + 1, last, first))
            if not all(
                distances[out, other] < _REVERSED_RATIO * distances[out, near]
                for out, near, other in ends
            ):
                continue
            if len(ends) == 1 and not _jumps(distances, min(ends[0][:2])):
                continue
            gained = sum(distances[out, near] - distances[out, other] for out, near, other in ends)
            if gained > gain:
                best, gain = (first, last), float(gained)
    return best


def _jumps(distances: Matrix, place: int) -> bool:
    """Tell whether a slice differs more from the next one than those around do."""
    steps = np.diagonal(distances, 1)
    around = [steps[other] for other in (place - 1, place + 1) if 0 <= other < len(steps)]
    return bool(steps[place] > _JUMP * max(around))


def repeated(steps: npt.NDArray[np.float64]) -> list[tuple[int, int]]:
    """Find pairs of neighbours that show the same.

    Parameters
    ----------
    steps : (n - 1,) array
        Distances of neighbours, in the order of their content.

    Returns
    -------
    list of (int, int)
        The place of the slice that is there twice, and of the one that it repeats: of both
        the former is next to the larger jump, where content was lost.
    """
    pairs = []
    for place, step in enumerate(steps):
        around = np.delete(
            steps[max(0, place - _AROUND) : place + _AROUND + 1], min(place, _AROUND)
        )
        around = around[np.isfinite(around)]
        if around.size < _AROUND or not step < _REPEATED_RATIO * float(around.min()):
            continue
        before = steps[place - 1] if place > 0 else 0.0
        after = steps[place + 1] if place + 1 < len(steps) else 0.0
        twice = place if before > after else place + 1
        pairs.append((int(twice), int(2 * place + 1 - twice)))
    return pairs


def missing_score(
    jump: float, usual: float | None, before: NeighbourFit, after: NeighbourFit
) -> float:
    """Say how clearly a slice is missing between two neighbours.

    Parameters
    ----------
    jump : float
        Logarithm of their difference over that of the slices around.
    usual : float, optional
        The same, the median over blocks of the plane (:meth:`.CoarseSlices.jump`).
    before, after : NeighbourFit
        How the neighbours of each predict it.

    Returns
    -------
    float
        Above 1 where one is missing.

    Notes
    -----
    Two signs: the step is larger than those beside it (the logarithm of the ratio is 0.7 at
    most, the slices twice as far apart), and both slices lie nearer to their other neighbour
    (each by 1/6 of the distance of its neighbours: at one third instead of one half).  Where
    anatomy appears at once, only one does, or only a few blocks differ: then more is asked for.
    """
    aside = before.position - after.position
    if min(before.position, -after.position) < _LEAST_ASIDE or min(jump, aside) < _LEAST_STEP:
        return 0.0
    common = jump if usual is None else min(jump, usual)
    agreed, alone = _MISSING_SCORE
    score = (jump + aside) / alone
    return score if common < _LEAST_STEP else max(score, (common + aside) / agreed)
