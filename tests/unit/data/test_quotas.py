"""Quotas: the paper's formula, whole numbers that add up, and what a country lacks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoagent.data.quotas import (
    allocate,
    country_weights,
    largest_remainder,
    unknown_figures,
)
from geoagent.geo.countries import countries

pytestmark = pytest.mark.unit

WEIGHT = st.one_of(st.just(0.0), st.floats(1e-6, 1.0))


@st.composite
def shortages(draw):
    """Weights, rows, and a total of at most all rows."""
    pairs = draw(st.lists(st.tuples(WEIGHT, st.integers(0, 50)), min_size=1, max_size=12))
    weights = np.array([weight for weight, _ in pairs])
    weights[0] = max(weights[0], 0.1)
    rows = np.array([count for _, count in pairs])
    return weights, rows, draw(st.integers(0, int(rows.sum())))


def test_the_weight_of_a_country_is_the_papers_formula():
    table = countries()
    weight = dict(zip(table, country_weights(), strict=True))
    peru = table["PE"]
    sums = [
        sum(getattr(one, figure) or 0 for one in table.values())
        for figure in ("road_km", "population", "land_area_km2")
    ]
    expected = (
        0.5 * peru.road_km / sums[0]
        + 0.2 * peru.population / sums[1]
        + 0.3 * peru.land_area_km2 / sums[2]
    )
    assert weight["PE"] == pytest.approx(expected)
    assert sum(weight.values()) == pytest.approx(1)
    assert weight["US"] == max(weight.values())  # most roads


def test_a_figure_that_no_source_has_counts_as_nothing_and_is_told():
    weight = dict(zip(countries(), country_weights(), strict=True))
    assert "SS" in unknown_figures()["land_area_km2"]
    assert "GL" in unknown_figures()["road_km"]
    assert weight["SS"] > 0
    assert weight["UM"] == 0  # nothing is known of it


@given(st.lists(WEIGHT, min_size=1, max_size=30), st.integers(0, 10**7))
def test_quotas_add_up_and_are_the_exact_share_rounded(weights, total):
    weights = np.array([*weights, 0.5])
    whole = largest_remainder(weights, total)
    exact = total * weights / weights.sum()
    assert whole.sum() == total
    assert (np.abs(whole - exact) < 1 + 1e-6).all()
    assert (whole[weights == 0] == 0).all()


def test_the_largest_remainders_get_what_is_left():
    assert largest_remainder(np.array([41.6, 33.1, 25.3]), 10).tolist() == [4, 3, 3]
    assert largest_remainder(np.array([1.0, 1.0, 1.0]), 2).tolist() == [1, 1, 0]


def test_without_any_weight_nothing_can_be_divided():
    with pytest.raises(ValueError, match="no weight"):
        largest_remainder(np.zeros(3), 5)


@given(shortages())
def test_a_shortage_is_made_up_for_and_never_by_more_than_there_is(case):
    weights, rows, total = case
    quota, taken = allocate(weights, rows, total)
    assert quota.sum() == total
    assert taken.sum() == total
    assert (taken <= rows).all()
    assert (taken >= np.minimum(quota, rows)).all()
    if (quota <= rows).all():
        assert (taken == quota).all()
    if taken[weights == 0].any():  # only where nothing else is left
        assert (taken == rows)[weights > 0].all()


def test_what_one_country_lacks_goes_to_the_others_by_weight():
    quota, taken = allocate(np.array([0.5, 0.3, 0.2]), np.array([10, 100, 100]), 100)
    assert quota.tolist() == [50, 30, 20]
    assert taken.tolist() == [10, 54, 36]  # 40 lack: 24 and 16


def test_more_than_all_rows_cannot_be_taken():
    with pytest.raises(ValueError, match="3 rows are fewer than 4"):
        allocate(np.ones(2), np.array([1, 2]), 4)
