"""Intervals against scipy's bootstrap, which makes the resamples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import bootstrap

from geoagent.evaluate.intervals import mean_interval, median_interval, share_interval

MANY = 20_000
"""Resamples: an end then varies by 2 % of the standard error."""


def scipy_interval(values: NDArray[np.float64], statistic: object) -> tuple[float, float]:
    found = bootstrap(
        (values,),
        statistic,
        n_resamples=MANY,
        method="percentile",
        batch=500,
        rng=np.random.default_rng(1),
    )
    return found.confidence_interval.low, found.confidence_interval.high


def skewed(count: int) -> NDArray[np.float64]:
    """Distances in km as models have them: some close, many far."""
    generator = np.random.default_rng(count)
    return np.minimum(generator.lognormal(6, 2, count), 20_000)


@pytest.mark.parametrize(("hits", "count"), [(3, 30), (50, 200), (190, 200), (999, 1000)])
def test_a_shares_interval_is_scipys(hits: int, count: int) -> None:
    values = np.arange(count) < hits
    error = math.sqrt(hits * (count - hits)) / count**1.5
    expected = scipy_interval(values.astype(float), np.mean)
    # Shares are multiples of 1/count: an end is off by one at most.
    assert share_interval(hits, count, MANY) == pytest.approx(
        expected, abs=max(0.1 * error, 1.01 / count)
    )


@pytest.mark.parametrize("count", [20, 100, 101, 400, 2000])
def test_a_means_interval_is_scipys(count: int) -> None:
    scores = 5000 * np.exp(-skewed(count) / 1805)
    error = float(scores.std()) / math.sqrt(count)
    expected = scipy_interval(scores, np.mean)
    assert mean_interval(scores, MANY) == pytest.approx(expected, abs=0.1 * error)


@pytest.mark.parametrize("count", [5, 6, 99, 100, 1001, 2000])
def test_a_medians_interval_is_scipys(count: int) -> None:
    ordered = np.sort(skewed(count))
    low, high = median_interval(ordered, resamples=MANY)
    expected = scipy_interval(ordered, np.median)
    # Medians of resamples are values of the sample: an end may be one value further.
    places = np.searchsorted(ordered, expected)
    for end, place in zip((low, high), places, strict=True):
        assert ordered[max(place - 2, 0)] <= end <= ordered[min(place + 2, count - 1)]


def test_intervals_cover_the_truth() -> None:
    """Of 300 samples of 200 from a distribution whose mean, median and share are known, about 95 %
    of the intervals hold them; the standard error of that is 1.3 %."""
    generator = np.random.default_rng(7)
    held = np.zeros(3)
    for _ in range(300):
        values = generator.exponential(1.0, 200)
        ends = (
            (mean_interval(values), 1.0),
            (median_interval(np.sort(values)), math.log(2)),
            (share_interval(int((values <= 1).sum()), 200), 1 - math.exp(-1)),
        )
        held += [low <= truth <= high for (low, high), truth in ends]
    assert (held / 300).tolist() == pytest.approx([0.94, 0.94, 0.94], abs=0.045)


def test_cells_lose_nothing_that_can_be_seen() -> None:
    values = np.random.default_rng(3).uniform(0, 5000, 100_000)
    error = float(values.std()) / math.sqrt(len(values))
    low, high = mean_interval(values, MANY)
    assert (low, high) == pytest.approx(
        (values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.08 * error
    )


def test_a_median_may_be_infinite() -> None:
    ordered = np.array([1.0, 2.0, 3.0, math.inf, math.inf])
    low, high = median_interval(ordered)
    assert low <= 3.0
    assert math.isinf(high)
    assert median_interval(np.array([math.inf] * 4)) == (math.inf, math.inf)


def test_nearest_rank_takes_values_of_the_sample() -> None:
    ordered = np.array([0.0, 10.0])
    assert set(median_interval(ordered, nearest_rank=True)) <= {0.0, 10.0}
    assert median_interval(ordered) == (0.0, 10.0)


def test_one_row_has_no_width() -> None:
    assert share_interval(1, 1) == (1.0, 1.0)
    assert mean_interval(np.array([7.0])) == (7.0, 7.0)
    assert median_interval(np.array([7.0])) == (7.0, 7.0)


values = st.lists(st.floats(0, 20_000), min_size=1, max_size=300)


@settings(deadline=None)
@given(values)
def test_ends_are_in_order_and_among_the_values(drawn: list[float]) -> None:
    array = np.array(drawn)
    slack = 1e-9 * (1 + float(array.max()))
    for low, high in (mean_interval(array), median_interval(np.sort(array))):
        assert array.min() - slack <= low <= high <= array.max() + slack


@given(st.integers(1, 10**7), st.data())
def test_a_share_stays_one(count: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, count))
    low, high = share_interval(hits, count)
    assert 0 <= low <= high <= 1
    if 50 < hits < count - 50:
        assert low < hits / count < high


def test_the_same_rows_have_the_same_interval() -> None:
    scores = skewed(500)
    assert mean_interval(scores) == mean_interval(scores.copy())
