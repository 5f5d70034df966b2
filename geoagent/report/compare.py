"""Two models on the same images: how much do they differ, and could it be chance?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from geoagent.evaluate.intervals import mean_interval
from geoagent.evaluate.metrics import geoscore
from geoagent.report.load import Predictions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

COMPARED_KM: Final = (25, 200, 750)
RESAMPLES: Final = 2_000
"""Of the permutation test: p-values are multiples of 1/2001."""
_SEED: Final = 0
_CELLS: Final = 2_000_000
"""Numbers that are held in memory at once."""


@dataclass(frozen=True)
class Difference:
    """Mean of second − first over the images, its 95 % interval, and how often chance alone
    (which of the two is which, image by image) would give as much, two-sided."""

    name: str
    mean: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True)
class Comparison:
    """`images` is how many both predicted; of those that have the same id, `moved` have another
    truth, and are left out."""

    images: int
    moved: int
    differences: tuple[Difference, ...]


def compare(first: Predictions, second: Predictions) -> Comparison:
    """Differences of GeoScore and of accuracies, image by image; none for fewer than two images.

    Intervals: percentile bootstrap over images. p-values: sign-flip permutation test; for
    accuracies that is the exact binomial test of the images that only one of the two has right
    (McNemar). Both seeded. They cover the choice of images, not another training seed.
    """
    import numpy as np

    one, other, moved = _paired(first, second)
    if len(one) < 2:
        return Comparison(len(one), moved, ())
    far = [np.where(np.isnan(km), np.inf, km) for km in (one, other)]
    differences = [_of_scores("GeoScore", geoscore(far[1]) - geoscore(far[0]))]
    differences += [
        _of_hits(f"≤ {km} km", (far[1] <= km) - 1.0 * (far[0] <= km)) for km in COMPARED_KM
    ]
    return Comparison(len(one), moved, tuple(differences))


def _paired(
    first: Predictions, second: Predictions
) -> tuple[NDArray[np.float64], NDArray[np.float64], int]:
    """Distances of the images that both have, and how many of them have moved."""
    import numpy as np

    positions = {name: index for index, name in enumerate(second.ids)}
    pairs = [(i, positions[name]) for i, name in enumerate(first.ids) if name in positions]
    index = np.array(pairs, dtype=int).reshape(-1, 2)
    truth, other_truth = first.places[index[:, 0], :2], second.places[index[:, 1], :2]
    same = np.isclose(truth, other_truth, rtol=0, atol=1e-6).all(axis=1)
    index = index[same]
    moved = int((~same).sum())
    return first.distance_km[index[:, 0]], second.distance_km[index[:, 1]], moved


def _of_scores(name: str, differences: NDArray[np.float64]) -> Difference:
    import numpy as np

    random = np.random.default_rng(_SEED)
    count = len(differences)
    flipped = [
        (random.choice((-1.0, 1.0), size=(size, count)) * differences).mean(axis=1)
        for size in _batches(count)
    ]
    mean = float(differences.mean())
    # A hair below, so that equal sums that were added in another order count as equal.
    as_far = np.abs(np.concatenate(flipped)) >= abs(mean) * (1 - 1e-9)
    p_value = (1 + int(as_far.sum())) / (1 + RESAMPLES)
    return Difference(name, mean, *mean_interval(differences), p_value)


def _batches(count: int) -> Iterator[int]:
    """Sizes that add up to RESAMPLES."""
    step = max(1, _CELLS // count)
    for start in range(0, RESAMPLES, step):
        yield min(step, RESAMPLES - start)


def _of_hits(name: str, differences: NDArray[np.float64]) -> Difference:
    """Differences are −1, 0 or 1; swapping at random makes the number of 1s binomial."""
    from scipy.stats import binomtest

    lost, won = int((differences < 0).sum()), int((differences > 0).sum())
    p_value = float(binomtest(won, won + lost).pvalue) if won + lost else 1.0
    return Difference(name, float(differences.mean()), *mean_interval(differences), p_value)
