"""Which rows are drawn: quotas kept, nothing twice, cells by the people in them, seeds."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from geoagent.data.draw import _exponential, draw
from geoagent.data.pool import Pool, Refusals, mark
from geoagent.errors import UsageError
from geoagent.geo.cells import COLUMNS, ROWS
from geoagent.geo.countries import countries

pytestmark = pytest.mark.unit

CODES = [*countries()]
CELLS = ROWS * COLUMNS
PEOPLE = np.zeros(CELLS, dtype=np.int64)
PEOPLE[:6] = [0, 10, 1_000, 100_000, 1_000_000, 20_000_000]


def pool(places, seed=0):
    """Rows of (country code, cell), with their number as id."""
    return Pool(
        folder=Path("data"),
        seed=seed,
        sha256="",
        rows=len(places),
        at_sea=0,
        refusals=Refusals(),
        offsets=np.arange(len(places), dtype=np.int64),
        marks=np.array([mark(str(number), seed) for number in range(len(places))], np.uint64),
        countries=np.array([CODES.index(code) for code, _ in places], np.int16),
        cells=np.array([cell for _, cell in places], np.uint16),
    )


@st.composite
def worlds(draw):
    places = draw(
        st.lists(
            st.tuples(st.sampled_from(["PE", "US", "LI", "UM", "AQ"]), st.integers(0, 5)),
            min_size=1,
            max_size=60,
        )
    )
    return places, draw(st.integers(1, len(places))), draw(st.integers(0, 3))


@given(worlds())
def test_as_many_as_asked_nothing_twice_and_never_more_than_there_is(world):
    places, count, seed = world
    drawn = draw(pool(places, seed), PEOPLE, count)
    chosen = drawn.chosen.tolist()
    assert len(chosen) == len(set(chosen)) == count
    assert chosen == sorted(chosen)
    by_country = Counter(places[place][0] for place in chosen)
    taken = {
        code: number for code, number in zip(CODES, drawn.taken.tolist(), strict=True) if number
    }
    assert by_country == taken
    assert (drawn.taken <= drawn.rows).all()
    assert drawn.quota.sum() == count
    assert (drawn.lacking == np.maximum(drawn.quota - drawn.rows, 0)).all()
    assert drawn.lacking.sum() == (drawn.taken - np.minimum(drawn.quota, drawn.rows)).sum()


@given(worlds(), st.randoms())
def test_the_order_of_the_rows_does_not_matter_and_the_seed_does_the_rest(world, random):
    places, count, seed = world
    rows = pool(places, seed)
    ids = np.arange(len(places))
    order = np.array(random.sample(range(len(places)), len(places)))
    turned = Pool(
        **{
            **vars(rows),
            **{name: getattr(rows, name)[order] for name in ("marks", "countries", "cells")},
        }
    )
    first = set(ids[draw(rows, PEOPLE, count).chosen].tolist())
    assert set(ids[draw(rows, PEOPLE, count).chosen].tolist()) == first
    assert set(order[draw(turned, PEOPLE, count).chosen].tolist()) == first


def test_another_seed_draws_other_rows():
    places = [("PE", 3)] * 200
    one, other = (set(draw(pool(places, seed), PEOPLE, 20).chosen.tolist()) for seed in (0, 1))
    assert one != other


@given(worlds())
def test_where_nobody_lives_nothing_is_drawn_while_there_is_anything_else(world):
    places, count, seed = world
    drawn = draw(pool(places, seed), PEOPLE, count)
    chosen = set(drawn.chosen.tolist())
    for code in {code for code, _ in places}:
        mine = [number for number, (home, _) in enumerate(places) if home == code]
        if any(places[number][1] == 0 for number in mine if number in chosen):
            assert all(number in chosen for number in mine if places[number][1] != 0)


def one_after_the_other(random, counts, weights, quota):
    """The paper's words as a loop: a cell by its weight, then one of its rows."""
    left, taken = list(counts), [0] * len(counts)
    for _ in range(quota):
        weight = np.array([w if n else 0.0 for w, n in zip(weights, left, strict=True)])
        cell = random.choice(len(counts), p=weight / weight.sum())
        left[cell] -= 1
        taken[cell] += 1
    return taken


def test_cells_are_drawn_as_often_as_by_drawing_one_row_after_the_other():
    counts = {1: 5, 2: 40, 3: 300, 5: 20}  # cells that run out, and one that is never short
    quota, rounds = 45, 600
    places = [("PE", cell) for cell, count in counts.items() for _ in range(count)]
    random = np.random.default_rng(0)
    weights = [float(np.log1p(PEOPLE[cell])) for cell in counts]
    expected = np.array(
        [one_after_the_other(random, counts.values(), weights, quota) for _ in range(rounds)]
    )
    draws = [draw(pool(places, seed), PEOPLE, quota).chosen.tolist() for seed in range(rounds)]
    taken = [Counter(places[place][1] for place in chosen) for chosen in draws]
    found = np.array([[times[cell] for cell in counts] for times in taken])
    error = np.sqrt(expected.var(axis=0) / rounds + found.var(axis=0) / rounds)
    assert (error < 0.25).all()
    assert (np.abs(expected.mean(axis=0) - found.mean(axis=0)) < 4 * error).all()
    for number in range(len(counts)):
        assert ks_2samp(expected[:, number], found[:, number]).pvalue > 0.001


def test_each_row_of_a_cell_is_drawn_as_often_as_any_other():
    places = [("PE", 3)] * 10
    times = Counter(
        place
        for seed in range(1000)
        for place in draw(pool(places, seed), PEOPLE, 3).chosen.tolist()
    )
    assert set(times) == set(range(10))
    assert all(220 < number < 380 for number in times.values())  # 300 ± 5.5 σ


def test_rows_that_prove_unusable_are_replaced_and_the_others_stay():
    places = [("PE", 3)] * 50 + [("PE", 4)] * 50
    before = draw(pool(places), PEOPLE, 30).chosen.tolist()
    bad = set(before[:10])
    asked: list[int] = []

    def unusable(places):
        asked.extend(places)
        return [place for place in places if place in bad]

    drawn = draw(pool(places), PEOPLE, 30, unusable)
    after = drawn.pool.offsets[drawn.chosen].tolist()
    assert len(after) == 30
    assert not bad & set(after)
    assert set(before) - bad <= set(after)
    assert len(asked) == len(set(asked)), "a row was looked at twice"
    assert drawn.rows.sum() == len(drawn.pool.offsets) == 90


def test_too_few_rows_are_refused_with_how_many_there_are():
    with pytest.raises(UsageError, match=r"jsonl: 2 rows can be used, fewer than the 3 asked"):
        draw(pool([("PE", 3)] * 2), PEOPLE, 3)
    with pytest.raises(UsageError, match=r": at most 2 rows can be used"):
        draw(pool([("PE", 3)] * 5), PEOPLE, 3, lambda places: places)


def test_gaps_are_exponential_and_do_not_follow_the_order_of_the_marks():
    marks = np.sort(np.array([mark(str(number), 0) for number in range(20_000)], np.uint64))
    gaps = _exponential(marks)
    assert gaps.min() > 0
    assert gaps.mean() == pytest.approx(1, abs=0.03)
    assert gaps.std() == pytest.approx(1, abs=0.05)
    assert abs(np.corrcoef(np.arange(len(gaps)), gaps)[0, 1]) < 0.03
    assert abs(np.corrcoef(gaps[1:], gaps[:-1])[0, 1]) < 0.03
