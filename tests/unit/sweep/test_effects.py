"""Main effects, rank correlations, and the points that no other is better than."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoagent.sweep.effects import (
    effects,
    front_table,
    levels_table,
    non_dominated,
    standard_error,
    trends_table,
)
from geoagent.sweep.results import collect

from .folders import Folder

pytestmark = pytest.mark.unit
SPATIAL, SEMANTIC = "rewards.weights.spatial", "rewards.weights.semantic"


@pytest.fixture
def grid(tmp_path: Path) -> Folder:
    """Accuracy is a tenth of the spatial weight, whatever the semantic one; one trial failed."""
    folder = Folder(tmp_path, metrics=["accuracy_25km", "geoscore"])
    folder.row("full", settings={"grpo.beta": 0.5}, varied=False)
    folder.done("full", accuracy_25km=0.9, geoscore=1.0)
    for spatial in (1.0, 2.0, 10.0):
        for semantic in (1.0, 3.0):
            name = f"{spatial:g}-{semantic:g}"
            folder.row(name, settings={SPATIAL: spatial, SEMANTIC: semantic})
            score = 100 * spatial + semantic
            folder.done(name, accuracy_25km=spatial / 10, geoscore=score)
    folder.home.run("2-3-s0-1a2b3c4d").done_file("eval").unlink()
    return folder


def test_levels_of_a_grid(grid: Folder) -> None:
    results = collect(grid.home)
    found = effects(results)
    assert [one.key for one in found.dimensions] == [SPATIAL, SEMANTIC]  # named points: nothing
    assert (found.trials, found.left_out) == (6, 1)
    spatial = found.dimensions[0].levels
    assert [(level.value, level.trials) for level in spatial] == [(1.0, 2), (2.0, 1), (10.0, 2)]
    assert [level.estimates["accuracy_25km"].mean for level in spatial] == [0.1, 0.2, 1.0]
    first, second, _ = (level.estimates["geoscore"] for level in spatial)
    assert standard_error(first) == pytest.approx(np.std([101, 103], ddof=1) / np.sqrt(2))
    assert standard_error(second) is None
    table = levels_table(found, results.metrics)
    assert table is not None
    assert [cell.text for cell in table.rows[1]] == ["", "2", "1", "20.0", "201"]
    assert "1 of 6 trials are not finished and are left out." in table.notes
    assert trends_table(found, results.metrics) is None


def test_a_quantity_has_a_rank_correlation(tmp_path: Path) -> None:
    folder = Folder(tmp_path, metrics=["accuracy_25km", "geoscore"], seeds=[0, 1])
    for number in range(8):
        settings = {"grpo.learning_rate": 10.0**-number, "grpo.generations": 4 + 4 * (number % 2)}
        folder.row(f"r{number}", (0, 1), settings)
        for seed in (0, 1):
            folder.done(f"r{number}", seed, accuracy_25km=0.1 * number, geoscore=5.0)
    results = collect(folder.home)
    rate, generations = effects(results).dimensions
    assert rate.trends is not None
    trend = rate.trends["accuracy_25km"]
    assert trend.rho == pytest.approx(-1.0)
    assert len(trend.x) == 8  # points, not the sixteen trials
    assert rate.trends["geoscore"].rho is None  # all are equal
    assert [level.trials for level in generations.levels] == [8, 8]
    table = trends_table(effects(results), results.metrics)
    assert table is not None
    assert [c.text for c in table.rows[0]] == ["grpo.learning_rate", "8", "−1.00 (p < 0.001)", "–"]


def test_nothing_finished_has_no_effects(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for value in (1.0, 2.0):
        folder.row(f"a{value:g}", settings={SPATIAL: value})
    found = effects(collect(folder.home))
    assert (found.left_out, found.front) == (2, None)
    assert all(level.trials == 0 and not level.estimates for level in found.dimensions[0].levels)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=20),
    st.tuples(st.booleans(), st.booleans()),
)
def test_no_other_is_better(places: list[tuple[int, int]], lower: tuple[bool, bool]) -> None:
    def beats(one: tuple[int, int], other: tuple[int, int]) -> bool:
        gains = [(b - a) if less else (a - b) for a, b, less in zip(one, other, lower, strict=True)]
        return min(gains) >= 0 and max(gains) > 0

    expected = [not any(beats(other, one) for other in places) for one in places]
    assert non_dominated(places, lower).tolist() == expected
    assert any(expected)


def test_the_front_is_named_with_its_weights(tmp_path: Path) -> None:
    folder = Folder(tmp_path, metrics=["accuracy_25km", "geoscore"])
    for name, accuracy, consistency in (("a", 0.1, 0.9), ("b", 0.5, 0.5), ("c", 0.4, 0.4)):
        folder.row(name, settings={SPATIAL: accuracy, "grpo.beta": 0.1})
        folder.done(name, accuracy_25km=accuracy, rewards={"consistency": consistency})
    folder.row("missing", settings={SPATIAL: 3.0})
    results = collect(folder.home)
    one = effects(results).front
    assert one is not None
    assert (one.x, one.y, one.best) == ("accuracy_25km", "rewards.consistency", {"a", "b"})
    rows = [[cell.text for cell in row] for row in front_table(results, one).rows]
    assert rows == [
        ["1", "b", "spatial=0.5", "50.0", "0.500"],
        ["2", "a", "spatial=0.1", "10.0", "0.900"],
    ]


def test_without_consistency_the_last_metric_is_the_other(grid: Folder) -> None:
    run = grid.done("full", accuracy_25km=0.9, geoscore=1.0, rewards={})
    assert run.path.is_dir()
    one = effects(collect(grid.home)).front
    assert one is not None
    assert (one.x, one.y) == ("accuracy_25km", "geoscore")
