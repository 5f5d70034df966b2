"""95 % bootstrap intervals of shares, means and medians, without making the resamples.

The percentile method (Efron 1979): resample the rows with replacement, compute the figure, and take
the 2.5 % and 97.5 % quantiles of what comes out. How the figure of a resample is distributed is
known, so it is drawn from that: a thousand figures of a million rows take milliseconds
(docs/decisions/0075-intervals.md). The same rows give the same interval.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

RESAMPLES: Final = 1000
_CELLS: Final = 100
_SEED: Final = 0
_TAIL: Final = 0.025

Interval = tuple[float, float]
"""Low and high end."""


def share_interval(hits: int, count: int, resamples: int = RESAMPLES) -> Interval:
    """Of the share of `hits` among `count` > 0 rows: hits of a resample are binomial.

    A share of 0 or 1 has an interval without width: a bootstrap knows only what was drawn.
    """
    return _ends(_generator().binomial(count, hits / count, resamples) / count)


def mean_interval(values: Floats, resamples: int = RESAMPLES) -> Interval:
    """Of the mean of (N,) finite values, N > 0: how often each is in a resample is multinomial.

    More than a hundred values are sorted into a hundred cells of equal width, each with its mean:
    that makes the interval narrower by less than 1 in 10,000 where values spread over the range.
    """
    import numpy as np

    count, generator = len(values), _generator()
    low, width = float(values.min()), float(np.ptp(values)) / _CELLS
    if width == 0:  # also where it is too narrow for a number
        return low, low
    if count <= _CELLS:
        rows = generator.integers(count, size=(resamples, count))
        return _ends(values[rows].mean(axis=1))
    cells = np.minimum(((values - low) / width).astype(np.int64), _CELLS - 1)
    sizes = np.bincount(cells, minlength=_CELLS)
    sums = np.bincount(cells, weights=values, minlength=_CELLS)
    sizes, means = sizes[sizes > 0], sums[sizes > 0] / sizes[sizes > 0]
    return _ends(generator.multinomial(count, sizes / count, resamples) @ means / count)


def median_interval(
    ordered: Floats, nearest_rank: bool = False, resamples: int = RESAMPLES
) -> Interval:
    """Of the median of (N,) values in ascending order, N > 0; they may end with infinities.

    Resampling draws places in the order uniformly; the k-th smallest of N uniform numbers has the
    distribution Beta(k, N + 1 − k). `nearest_rank`: the lower of the two in the middle, and not
    their mean, where N is even.
    """
    import numpy as np

    count = len(ordered)
    rank = math.ceil(count / 2)
    generator = _generator()
    lower = generator.beta(rank, count + 1 - rank, resamples)
    drawn = ordered[_places(lower, count)]
    if count % 2 == 0 and not nearest_rank:
        # The next one is the smallest of those that are left, uniform between it and 1.
        upper = lower + (1 - lower) * generator.beta(1, count - rank, resamples)
        drawn = (drawn + ordered[_places(upper, count)]) / 2
    return _ends(np.asarray(drawn, dtype=float))


def _places(uniform: Floats, count: int) -> NDArray[np.int64]:
    import numpy as np

    return np.minimum((uniform * count).astype(np.int64), count - 1)


def _generator() -> np.random.Generator:
    """A fresh one for each figure: an interval doesn't depend on what else is computed."""
    import numpy as np

    return np.random.default_rng(_SEED)


def _ends(drawn: Floats) -> Interval:
    """Quantiles without interpolation, which knows no infinity."""
    drawn.sort()
    low = math.ceil(_TAIL * len(drawn)) - 1
    high = math.ceil((1 - _TAIL) * len(drawn)) - 1
    return float(drawn[low]), float(drawn[high])
