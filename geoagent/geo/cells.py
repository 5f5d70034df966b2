"""The grid of 360 × 180 cells of 1° that images are spread over.

Cell 0 is that at 90° S, 180° W; numbers run eastward, then northward.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Final

from geoagent.geo.gazetteer import gazetteer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ROWS: Final = 180
COLUMNS: Final = 360


def cell_of(latitude: float, longitude: float) -> int:
    """The number of the cell, 0 to 64,799, that a point within ±90° and ±180° is in.

    The North Pole is in the northernmost row, and 180° E is 180° W.
    """
    row = min(int(latitude + 90.0), ROWS - 1)
    column = int(longitude + 180.0) % COLUMNS
    return row * COLUMNS + column


@cache
def populations() -> NDArray[np.int64]:
    """How many people live in the gazetteer's cities of each of the 64,800 cells."""
    import numpy as np

    found = np.zeros(ROWS * COLUMNS, dtype=np.int64)
    for latitude, longitude, population in gazetteer().people():
        found[cell_of(latitude, longitude)] += population
    return found
