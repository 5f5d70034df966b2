"""Differences of two models on the same images."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import permutation_test

from geoagent.evaluate.metrics import geoscore
from geoagent.report.compare import RESAMPLES, compare
from geoagent.report.load import Predictions, columns

from .conftest import rows_of


def predictions(skill: float, seed: int, count: int = 60) -> Predictions:
    return columns(rows_of("m", count, skill, seed))


def test_agrees_with_scipy() -> None:
    first, second = predictions(0.4, 1), predictions(0.6, 2)
    found = compare(first, second)
    assert found.images == 60
    far = [np.where(np.isnan(p.distance_km), np.inf, p.distance_km) for p in (first, second)]
    values = {"GeoScore": [geoscore(km) for km in far]}
    values |= {f"≤ {limit} km": [(km <= limit) * 1.0 for km in far] for limit in (25, 200, 750)}
    assert [one.name for one in found.differences] == list(values)
    for one in found.differences:
        differences = values[one.name][1] - values[one.name][0]
        assert one.mean == pytest.approx(differences.mean())
        expected = permutation_test(
            (differences,),
            np.mean,
            permutation_type="samples",
            n_resamples=20_000,
            vectorized=True,
            batch=1000,
            rng=np.random.default_rng(3),
        )
        error = 4 * np.sqrt(0.25 / RESAMPLES + 0.25 / 20_000)
        assert one.p_value == pytest.approx(expected.pvalue, abs=error)
        assert one.low <= one.mean <= one.high


def test_of_few_images_the_p_value_is_that_of_all_flips() -> None:
    # Six of six images better: 2 of the 64 ways to flip are as extreme.
    first, second = predictions(0.0, 1, 6), predictions(1.0, 1, 6)
    first.distance_km[:] = np.nan
    found = {one.name: one for one in compare(first, second).differences}
    assert found["≤ 25 km"].p_value == pytest.approx(2 / 64)
    assert found["GeoScore"].p_value == pytest.approx(2 / 64, abs=0.015)
    assert found["GeoScore"].mean == pytest.approx(5000)


def test_a_model_does_not_differ_from_itself() -> None:
    one = predictions(0.5, 1)
    for difference in compare(one, one).differences:
        assert (difference.mean, difference.low, difference.high) == (0, 0, 0)
        assert difference.p_value == 1.0


def test_images_are_paired_by_id_in_whatever_order() -> None:
    rows, other = rows_of("m", 30, 0.5, 1), rows_of("m", 30, 0.8, 2)
    straight = compare(columns(rows), columns(other))
    assert compare(columns(rows), columns(other[::-1])) == straight
    fewer = compare(columns(rows), columns(other[:20]))
    assert fewer.images == 20


def test_an_id_with_another_truth_is_no_pair() -> None:
    rows, other = rows_of("m", 30, 0.5, 1), rows_of("m", 30, 0.8, 2)
    other[3]["latitude"] += 1.0
    found = compare(columns(rows), columns(other))
    assert (found.images, found.moved) == (29, 1)


def test_too_few_to_compare() -> None:
    one = columns(rows_of("m", 1, 1.0, 1))
    assert compare(one, one).differences == ()
    other = columns([{**row, "id": "x"} for row in rows_of("m", 5, 1.0, 1)[:1]])
    assert compare(one, other).images == 0
