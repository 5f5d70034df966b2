"""How many images each country contributes to a sample that does not follow where cameras are.

GeoAgent (arXiv 2602.12617): country i of a sample of M images has the quota
m_i = M·(0.5·R_i/ΣR + 0.2·P_i/ΣP + 0.3·A_i/ΣA), with R the length of its roads, P its population and
A its land area.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from geoagent.geo.countries import countries

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

WEIGHTS: Final[Mapping[str, float]] = {"road_km": 0.5, "population": 0.2, "land_area_km2": 0.3}


def country_weights() -> NDArray[np.float64]:
    """m_i / M of each country, in the order of `countries()`; they add up to 1.

    A figure that no source has counts as 0: the country gets what the others give it.
    """
    import numpy as np

    total = np.zeros(len(countries()))
    for figure, weight in WEIGHTS.items():
        values = np.array([getattr(one, figure) or 0.0 for one in countries().values()])
        total += weight * values / values.sum()
    return total


def unknown_figures() -> dict[str, list[str]]:
    """The countries' codes by the figure that no source has of them."""
    return {
        figure: [code for code, one in countries().items() if getattr(one, figure) is None]
        for figure in WEIGHTS
    }


def largest_remainder(weights: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """`total` divided in proportion to N weights, in whole numbers that add up to it (Hamilton's
    method); of equal remainders the first wins. ValueError if no weight is above 0."""
    import numpy as np

    if not weights.sum() > 0:
        raise ValueError("no weight is above 0")
    exact = total * (weights / weights.sum())
    whole = np.floor(exact).astype(np.int64)
    left = total - int(whole.sum())
    # What has no weight gets nothing, whatever rounding leaves.
    remainder = np.where(weights > 0, exact - whole, -1.0)
    whole[np.argsort(-remainder, kind="stable")[:left]] += 1
    return whole


def allocate(
    weights: NDArray[np.float64], rows: NDArray[np.int64], total: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Quotas by weight, and how many to take where only so many rows are there; both add up to
    `total`.

    What a country lacks is divided among those with rows left by the same weights, again and again
    until nothing lacks; countries without a weight come last, in proportion to their rows.
    ValueError if there are fewer rows than `total`.
    """
    import numpy as np

    if rows.sum() < total:
        raise ValueError(f"{rows.sum()} rows are fewer than {total}")
    quota = largest_remainder(weights, total)
    taken = np.minimum(quota, rows)
    while (lacking := total - int(taken.sum())) > 0:
        left = rows - taken
        among = np.where(left > 0, weights, 0.0)
        if not among.any():
            among = left.astype(float)
        taken = np.minimum(taken + largest_remainder(among, lacking), rows)
    return quota, taken
