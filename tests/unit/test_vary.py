"""A few keys of a configuration that is there: the same as loading it with them."""

from __future__ import annotations

import copy
import json
import re
import warnings
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoagent.config import Config, load, resolve
from geoagent.errors import UsageError
from geoagent.vary import dotted, vary

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "seed": st.integers(-1, 9),
    "grpo.beta": st.floats(-0.5, 1) | st.integers(-1, 2) | st.sampled_from(["1e-4", "x", None]),
    "grpo.start_from": st.sampled_from(["sft", "base", "bas", None, 3]),
    "grpo.generations": st.sampled_from([2, 4, 8, 3, 4.5, True, "8", [8]]),
    "grpo.max_steps": st.none() | st.integers(0, 30),
    "grpo.stop_early.by": st.lists(st.sampled_from(["spatial", "format", "spatal"]), max_size=2),
    "sft.lora.rank": st.integers(-1, 8),
    "sft.freeze_vit": st.sampled_from([True, False, 1, "yes", "maybe"]),
    "data.path": st.sampled_from([None, "a", "b/c", 3, True]),
    "rewards.weights.spatial": st.floats(-1, 3) | st.just("2"),
    "rewards.weights.hierarchical": st.sampled_from([0, 1, 0.5, None, "x"]),
    "rewards.semantic.weights.region": st.floats(-1, 1),
    "model.tiny.image_size": st.sampled_from([112, 100, 140]),
    "grpo.betta": st.just(1),
}
SOME = st.fixed_dictionaries({}, optional=VALUES)


def outcome(make: Any) -> Config | str:
    """The configuration, or what is wrong with it, without where it was given."""
    try:
        return make()
    except UsageError as error:
        return str(error).partition(": ")[2].partition(": ")[0]


@settings(deadline=None, max_examples=40)  # loading is slow
@given(SOME)
def test_the_same_as_loading_with_these_overrides(some: dict[str, Any]) -> None:
    words = [f"{key}={json.dumps(value)}" for key, value in some.items()]
    loaded = outcome(lambda: load([], words))
    varied = outcome(lambda: vary(Config(), some, "here"))
    assert isinstance(varied, Config) == isinstance(loaded, Config)
    if isinstance(loaded, Config) or len(some) == 1:
        assert varied == loaded


def test_the_base_stays_as_it_was() -> None:
    base = resolve(["recipe=demo"])
    before = copy.deepcopy(base)
    other = vary(base, {"rewards.weights.spatial": 9, "grpo.lora.rank": 3}, "here")
    assert base == before != other
    assert other.rewards.weights == {**base.rewards.weights, "spatial": 9.0}
    assert (other.grpo.lora.rank, other.grpo.batch_size) == (3, base.grpo.batch_size)


def test_values_have_the_schemas_types_and_nothing_is_warned_of() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        config = vary(
            Config(),
            {"grpo.beta": 1, "rewards.weights.spatial": "2", "grpo.stop_early.by": ["spatial"]},
            "here",
        )
    assert type(config.grpo.beta) is float
    assert config.rewards.weights["spatial"] == 2.0
    assert type(config.grpo.stop_early.by) is list


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("grpo", 1, "grpo: expected a group of keys, not a value"),
        ("rewards.weights", {"spatial": 1}, "rewards.weights: expected a group of keys"),
        ("rewards.weights.", 1, "rewards.weights.: unknown key"),
        ("rewards.weights.a.b", 1, "rewards.weights.a.b: unknown key"),
        ("", 1, ": unknown key"),
        ("grpo.beta", "???", "grpo.beta: Missing mandatory value"),
        ("grpo.beta", None, "grpo.beta: field 'beta' is not Optional"),
        ("grpo.beta", -1, "grpo.beta: -1.0 is out of range (at least 0.0)"),
        ("grpo.generations", 3, "grpo.generations: 3 does not divide"),
    ],
)
def test_what_is_wrong(key: str, value: Any, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"FILE: point: {message}")):
        vary(Config(), {key: value}, "FILE: point")


def test_nested_and_dotted_keys_are_the_same() -> None:
    nested = {"grpo": {"lora": {"rank": 1}, "beta": 2}, "rewards": {"weights.spatial": 3}}
    flat = {"grpo.lora.rank": 1, "grpo.beta": 2, "rewards.weights.spatial": 3}
    assert dotted(nested, "here") == dotted(flat, "here") == flat
