"""Grids and random draws: how many, under which names, and that they stay the same."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoagent.config import Config
from geoagent.errors import UsageError
from geoagent.sweep.constraints import Constraints
from geoagent.sweep.fields import LONGEST_NAME, check_name
from geoagent.sweep.points import MAX_POINTS, Point, grid_points, random_points

NONE = Constraints([], Config(), "constraints")


def grid(values: Any) -> list[Point]:
    return list(grid_points(values, ("eval",), NONE, "grid"))


def draws(count: int, seed: int = 0, constraints: Constraints = NONE, **space: Any) -> list[Point]:
    keys = {key.replace("__", "."): value for key, value in space.items()}
    values = {"count": count, "seed": seed, "space": keys}
    return list(random_points(values, ("eval",), constraints, "random"))


NUMBERS = st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=4, unique=True)
PATHS = st.lists(st.text(min_size=1, max_size=80), min_size=1, max_size=4, unique=True)
DIMENSIONS = st.fixed_dictionaries(
    {},
    optional={
        "sft.learning_rate": NUMBERS,
        "grpo.learning_rate": NUMBERS,
        "rewards.weights.spatial": NUMBERS,
        "grpo.max_steps": st.lists(
            st.none() | st.integers(1, 10**6), min_size=1, max_size=4, unique=True
        ),
        "sft.freeze_vit": st.just([True, False]),
    },
).filter(len)


@given(DIMENSIONS)
def test_a_grid_is_the_product_and_its_names_are_folders(values: dict[str, list[Any]]) -> None:
    found = grid(values)
    assert len(found) == math.prod(map(len, values.values()))
    assert len({point.name for point in found}) == len(found)
    assert len({repr(point.settings) for point in found}) == len(found)
    for point in found:
        assert len(check_name(point.name, "")) <= LONGEST_NAME
        assert point.settings == point.dimensions
        assert [*point.settings] == [*values]


@given(PATHS.filter(lambda texts: not any(text == "???" or "$" in text for text in texts)))
def test_any_text_is_a_name(texts: list[str]) -> None:
    found = grid({"model.path": texts})
    names = {check_name(point.name, "") for point in found}
    assert len(names) == len(texts)


def test_names_are_short_and_say_which_key() -> None:
    values = {"sft.learning_rate": [1e-5], "grpo.learning_rate": [2e-5], "grpo.beta": [0.25]}
    assert [point.name for point in grid(values)] == [
        "sft.learning_rate-1e-05_grpo.learning_rate-2e-05_beta-0.25"
    ]
    values = {"sft.max_steps": [None, 10], "sft.freeze_vit": [True]}
    assert [point.name for point in grid(values)] == [
        "max_steps-null_freeze_vit-true",
        "max_steps-10_freeze_vit-true",
    ]


def test_long_names_end_in_a_hash() -> None:
    found = grid({"model.path": ["/data/" + "x" * 80, "/data/" + "x" * 81]})
    assert all(re.fullmatch(r"path--data-x{40}-[0-9a-f]{8}", p.name) for p in found)


def test_too_many_points_are_a_slip() -> None:
    values = {f"rewards.weights.{n}": list(range(1, 12)) for n in ("spatial", "semantic", "format")}
    values["grpo.temperature"] = list(range(1, 12))
    with pytest.raises(UsageError, match=f"grid: makes 14641 points; {MAX_POINTS} is the most"):
        grid(values)
    with pytest.raises(UsageError, match=f"random: count: 10001 points; {MAX_POINTS} is the most"):
        draws(10001, grpo__beta={"low": 0, "high": 1})


SPACE = {
    "grpo__learning_rate": {"low": 1e-6, "high": 1e-4, "log": True},
    "grpo__max_steps": {"low": 3, "high": 9},
    "rewards__weights__spatial": {"low": 0.5, "high": 3},
    "grpo__start_from": {"choices": ["sft", "base"]},
}


@given(st.integers(1, 30), st.integers(0, 30), st.integers(0, 99))
def test_more_points_keep_the_first_ones(count: int, more: int, seed: int) -> None:
    first, all_ = draws(count, seed, **SPACE), draws(count + more, seed, **SPACE)
    assert all_[:count] == first == draws(count, seed, **SPACE)
    assert len({repr(point.settings) for point in all_}) == count + more


@given(st.integers(0, 999))
def test_draws_are_in_their_ranges(seed: int) -> None:
    for point in draws(5, seed, **SPACE):
        rate, steps, weight, start = point.settings.values()
        assert 1e-6 <= rate <= 1e-4
        assert float(f"{rate:.4g}") == rate
        assert steps in range(3, 10)
        assert type(steps) is int
        assert 0.5 <= weight <= 3
        assert start in ("sft", "base")
        assert point.settings == point.dimensions


def test_draws_are_spread_evenly() -> None:
    found = draws(2000, grpo__learning_rate=SPACE["grpo__learning_rate"])
    below = sum(point.settings["grpo.learning_rate"] < 1e-5 for point in found)
    assert abs(below - 1000) < 5 * math.sqrt(500)  # half are in the lower decade
    steps = {"low": 1, "high": 4}
    found = draws(1600, grpo__max_steps=steps, grpo__beta={"low": 0, "high": 1})
    for step in range(1, 5):
        count = sum(point.settings["grpo.max_steps"] == step for point in found)
        assert abs(count - 400) < 5 * math.sqrt(300)


def test_another_seed_gives_other_draws() -> None:
    assert draws(3, 0, **SPACE) != draws(3, 1, **SPACE)


def test_constraints_do_not_cost_random_points() -> None:
    half = Constraints(["grpo.beta > 0.5"], Config(), "constraints")
    found = draws(20, constraints=half, grpo__beta={"low": 0, "high": 1})
    assert len(found) == 20
    assert all(point.settings["grpo.beta"] > 0.5 for point in found)
    assert [point.name for point in found[:2]] == ["random-001", "random-002"]
