"""Which rows of a pool a sample is made of.

GeoAgent (arXiv 2602.12617): each country contributes its quota (`geoagent.data.quotas`); inside it
each draw takes a cell of 1° with a probability ∝ log(1 + P_c), P_c the people in the cell, and one
of its rows, all alike, that was not drawn before. A cell without rows left is out of the draw.

So that the sample depends on the rows, their ids and the seed, but not on their order in the file,
chance comes from hashes of ids. A sequence of such draws is the same as cells that ring
independently, each after exponential times of the rate log(1 + P_c), and the first quota's worth of
rings of a country: that can be computed for all countries at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from geoagent.data.pool import Pool
from geoagent.data.quotas import allocate, country_weights
from geoagent.errors import UsageError
from geoagent.geo.countries import countries

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Draw:
    """A sample of a pool. `chosen`: places in its arrays, in the file's order. `rows`, `quota` and
    `taken` have one number a country, in the order of `countries()`."""

    pool: Pool
    chosen: NDArray[np.int64]
    rows: NDArray[np.int64]
    quota: NDArray[np.int64]
    taken: NDArray[np.int64]

    @property
    def lacking(self) -> NDArray[np.int64]:
        """How many rows each country has too few of for its quota."""
        import numpy as np

        return np.maximum(self.quota - self.rows, 0)


def draw(
    pool: Pool,
    people: NDArray[np.int64],
    count: int | None,
    unusable: Callable[[Sequence[int]], Sequence[int]] = lambda places: (),
) -> Draw:
    """Draw `count` rows (None: take all); `people` is the population of each of the 64,800 cells.

    `unusable` is given places that were drawn and returns those that cannot be used; others are
    drawn instead. UsageError if there are fewer rows than `count`.
    """
    import numpy as np

    deck = _Deck(pool, people)
    alive = np.ones(len(pool.marks), dtype=bool)
    looked_at = np.zeros_like(alive)
    while True:
        rows = np.bincount(pool.countries[alive], minlength=len(countries()))
        if rows.sum() < (count or 1):
            raise UsageError(_too_few(pool, alive, count or 1))
        if count is None:
            quota, taken = rows, rows
        else:
            quota, taken = allocate(country_weights(), rows, count)
        chosen = deck.chosen(alive, taken)
        new = chosen[~looked_at[chosen]]
        looked_at[new] = True
        bad = np.array(unusable(new.tolist()), dtype=np.int64)
        if not len(bad):
            break
        alive[bad] = False
    places = np.cumsum(alive) - 1  # in the arrays of the pool that is left
    return Draw(pool.only(alive), places[chosen], rows, quota, taken)


def _too_few(pool: Pool, alive: NDArray[np.bool_], count: int) -> str:
    out = [f"{pool.at_sea:,} at sea"] if pool.at_sea else []
    if refused := pool.refusals.counts.total():
        out.append(f"{refused:,} refused")
    without = f" ({', '.join(out)} of {pool.rows:,})" if out else ""
    most = "" if alive.all() else "at most "  # the images of the others were not looked at
    return (
        f"{pool.file}: {most}{alive.sum():,} rows can be used{without}, fewer than the {count:,} "
        "asked for"
    )


class _Deck:
    """The rows of each cell in an order given by chance, and when the cell rings for each."""

    def __init__(self, pool: Pool, people: NDArray[np.int64]) -> None:
        import numpy as np

        self._countries = pool.countries
        self._order = np.lexsort((pool.marks, pool.cells, pool.countries))
        cells = pool.cells[self._order]
        group = pool.countries[self._order].astype(np.int64) * len(people) + cells
        self._first = _first_of_run(group)
        gaps = _exponential(pool.marks[self._order])
        total = np.cumsum(gaps)
        rate = np.log1p(people[cells])
        # Cells where nobody lives have no probability: they are alike, and come after all others.
        self._deserted = rate == 0
        rate[self._deserted] = 1.0
        self._rings = (total - (total - gaps)[self._first]) / rate

    def chosen(self, alive: NDArray[np.bool_], taken: NDArray[np.int64]) -> NDArray[np.int64]:
        """Places of the first rows of each country, as many as `taken` says, in ascending order.

        Rows that are not alive are passed over: the cell's next row has their ring.
        """
        import numpy as np

        kept = np.flatnonzero(alive[self._order])
        ring = self._first[kept] + _rank_in_run(self._first[kept])
        home = self._countries[self._order[kept]]
        by_time = np.lexsort((self._rings[ring], self._deserted[kept], home))
        rank = _rank_in_run(home[by_time])
        return np.sort(self._order[kept[by_time[rank < taken[home[by_time]]]]])


def _first_of_run(values: NDArray[Any]) -> NDArray[np.int64]:
    """For each place, where the run of equal values that it is in begins."""
    import numpy as np

    places = np.arange(len(values))
    begins = np.ones(len(values), dtype=bool)
    begins[1:] = values[1:] != values[:-1]
    return np.maximum.accumulate(np.where(begins, places, 0))


def _rank_in_run(values: NDArray[Any]) -> NDArray[np.int64]:
    """For each place, how many of the same run come before it."""
    import numpy as np

    return np.arange(len(values)) - _first_of_run(values)


def _exponential(marks: NDArray[np.uint64]) -> NDArray[np.float64]:
    """A number of the exponential distribution of rate 1 for each mark, by chance but always the
    same. The marks' bits are mixed (SplitMix64, Steele et al. 2014), since their order is used."""
    import numpy as np

    bits = marks + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    bits ^= bits >> np.uint64(31)
    uniform = ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    return np.asarray(-np.log(uniform))
