"""Keys of stages: whatever could change a result changes the key, and nothing else does."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoagent.config import Config, all_keys, resolve
from geoagent.sweep.keys import FORMAT, IGNORED, short, stage_keys
from geoagent.vary import kind_of, unchecked, value_of, vary

ALL = ("sft", "grpo", "eval")
EVERYTHING = vary(
    resolve(["recipe=demo"]),
    {
        **{
            f"rewards.weights.{name}": 1
            for name in ("directly_judge", "hierarchical", "coordinates")
        },
        "eval.reward_samples": 1,
        "grpo.start_from": "judge",
        "judge.lora.rank": 0,
    },
    "test",
)
"""Nothing in it is switched off, so that all keys matter."""


def changed(config: Config, key: str) -> Config:
    """With another value for the key."""
    value = value_of(config, key)
    other: Any
    if key.endswith(".start_from"):
        other = "base"
    elif isinstance(value, bool):
        other = not value
    elif isinstance(value, int | float):
        other = value + 1
    elif isinstance(value, list):
        other = [*value, "x"]
    elif isinstance(value, dict):
        other = {**value, "spatial": 7.0}
    else:
        other = 7 if kind_of(key, "") in (int | None, float | None) else f"{value}x"
    return unchecked(config, {key: other})


def differing(before: Config, after: Config, stages: tuple[str, ...] = ALL) -> set[str]:
    old, new = stage_keys(before, stages), stage_keys(after, stages)
    return {stage for stage in old if old[stage] != new.get(stage)}


def test_every_key_counts_but_those_that_are_said_not_to() -> None:
    counting = {key for key in all_keys() if differing(EVERYTHING, changed(EVERYTHING, key))}
    ignored = {
        key for key in all_keys() if any(key == i or key.startswith(f"{i}.") for i in IGNORED)
    }
    assert counting == {*all_keys()} - ignored


def test_what_is_ignored_exists() -> None:
    for key in IGNORED:
        kind_of(key, "IGNORED")


@pytest.mark.parametrize(
    ("key", "stages"),
    [
        ("seed", {"prepare", "sft", "judge_data", "judge", "grpo", "eval"}),
        ("model.path", {"prepare", "sft", "judge_data", "judge", "grpo", "eval"}),
        ("data.limit", {"prepare", "sft", "judge_data", "judge", "grpo", "eval"}),
        ("model.dtype", {"sft", "judge_data", "judge", "grpo", "eval"}),
        ("sft.epochs", {"sft", "judge_data", "judge", "grpo", "eval"}),
        ("judge.threshold_km", {"judge_data", "judge", "grpo", "eval"}),
        ("judge.beta", {"judge", "grpo", "eval"}),
        ("judge.weights", {"judge", "grpo", "eval"}),
        ("grpo.temperature", {"judge_data", "judge", "grpo", "eval"}),
        ("grpo.beta", {"grpo", "eval"}),
        ("rollout.train", {"prepare", "sft", "judge_data", "judge", "grpo", "eval"}),
        ("rollout.eval", {"eval"}),
        ("grpo.limit", {"grpo", "eval"}),
        ("rewards.weights", {"grpo", "eval"}),
        ("agent.temperature", {"grpo", "eval"}),
        ("eval.limit", {"eval"}),
        ("eval.models", {"eval"}),
        ("agent.threads", set()),
        ("cluster.qos", set()),
    ],
)
def test_a_key_changes_its_stage_and_those_behind(key: str, stages: set[str]) -> None:
    assert differing(EVERYTHING, changed(EVERYTHING, key)) == stages


def test_stages_that_are_needed_are_among_them() -> None:
    config = resolve(["recipe=demo"])
    assert [*stage_keys(config, ["grpo"])] == ["prepare", "sft", "grpo"]
    assert [*stage_keys(config, ["eval"])] == ["prepare", "eval"]
    base = vary(config, {"grpo.start_from": "base"}, "test")
    assert [*stage_keys(base, ["eval", "grpo"])] == ["prepare", "grpo", "eval"]


def test_judge_data_of_a_folder_is_prepares() -> None:
    given = vary(EVERYTHING, {"judge.path": "data/judge"}, "test")
    assert [*stage_keys(given, ALL)] == ["prepare", "sft", "judge", "grpo", "eval"]
    assert stage_keys(given, ["sft"])["prepare"] != stage_keys(EVERYTHING, ["sft"])["prepare"]
    assert differing(given, changed(given, "judge.draws")) == {"judge", "grpo", "eval"}


def test_stages_between_do_not_count_where_grpo_starts_before_them() -> None:
    config = vary(EVERYTHING, {"grpo.start_from": "sft"}, "test")
    stages = ("judge", "grpo")
    assert differing(config, changed(config, "judge.beta"), stages) == {"judge"}


def test_grpo_from_the_base_model_does_not_stand_on_sft() -> None:
    config = vary(EVERYTHING, {"grpo.start_from": "base"}, "test")
    assert differing(config, changed(config, "sft.epochs")) == {"sft"}
    assert stage_keys(config, ALL)["grpo"] == stage_keys(config, ["grpo"])["grpo"]


def test_an_evaluation_stands_on_what_was_trained() -> None:
    chains = (["eval"], ["sft", "eval"], ["sft", "grpo", "eval"])
    assert len({stage_keys(EVERYTHING, chain)["eval"] for chain in chains}) == 3


def test_without_a_weight_a_reward_and_what_only_it_uses_do_not_count() -> None:
    config = resolve(["recipe=demo"])
    none = vary(config, {"rewards.weights.hierarchical": 0}, "test")
    assert stage_keys(config, ALL) == stage_keys(none, ALL)
    assert not differing(config, changed(config, "rewards.hierarchical_beta"))
    without = vary(config, {"rewards.weights.consistency": 0}, "test")
    for key in ("rewards.consistency.steepness", "agent.model", "agent.temperature"):
        assert differing(config, changed(config, key)) == {"grpo", "eval"}
        assert not differing(without, changed(without, key))


def test_directly_judge_weighs_levels_as_semantic_does() -> None:
    weights = {"semantic": 0, "directly_judge": 1}
    config = vary(
        resolve(["recipe=demo"]), {f"rewards.weights.{k}": v for k, v in weights.items()}, "test"
    )
    assert differing(config, changed(config, "rewards.semantic.weights.region"))
    assert not differing(config, changed(config, "rewards.semantic.model"))
    assert not differing(config, changed(config, "rewards.semantic.region_gate"))


def test_the_geocoder_counts_in_evaluation_whatever_the_rewards() -> None:
    config = vary(
        resolve(["recipe=demo"]), {"rewards.weights.spatial": 0, "eval.rewards": False}, "test"
    )
    geocoder = dataclasses.replace(config.rewards.geocoder, service="photon")
    other = dataclasses.replace(
        config, rewards=dataclasses.replace(config.rewards, geocoder=geocoder)
    )
    assert differing(config, other) == {"eval"}


def test_an_evaluation_without_rewards_asks_nobody() -> None:
    config = vary(resolve(["recipe=demo"]), {"eval.rewards": False}, "test")
    for key in ("rewards.weights", "rewards.parity", "agent.model"):
        assert not differing(config, changed(config, key), ("sft", "eval"))


def test_grpos_sampling_counts_in_evaluation_only_where_it_samples() -> None:
    stages = ("sft", "eval")
    assert differing(EVERYTHING, changed(EVERYTHING, "grpo.temperature"), stages) == {"eval"}
    greedy = vary(EVERYTHING, {"eval.reward_samples": 0}, "test")
    assert not differing(greedy, changed(greedy, "grpo.temperature"), stages)


SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "grpo.beta": st.floats(0, 1),
        "sft.max_steps": st.none() | st.integers(1, 9),
        "data.path": st.none() | st.sampled_from(["a", "b"]),
        "rewards.weights.spatial": st.floats(0.5, 3),
        "rewards.weights.hierarchical": st.floats(0, 3),
        "seed": st.integers(0, 5),
    },
)


@given(SETTINGS, st.randoms())
def test_the_order_of_settings_does_not_matter(settings: dict[str, Any], order: Any) -> None:
    items = list(settings.items())
    order.shuffle(items)
    base = Config()
    first = stage_keys(vary(base, settings, "test"), ALL)
    assert first == stage_keys(vary(base, dict(items), "test"), ["eval", "grpo", "sft"])


@given(SETTINGS, SETTINGS)
def test_the_same_key_is_the_same_configuration(one: dict[str, Any], two: dict[str, Any]) -> None:
    def seen(settings: dict[str, Any]) -> Config:
        """Without weights of 0, which are as good as none."""
        config = vary(Config(), settings, "test")
        weights = {name: weight for name, weight in config.rewards.weights.items() if weight}
        return unchecked(config, {"rewards.weights": weights})

    same = stage_keys(vary(Config(), one, ""), ALL) == stage_keys(vary(Config(), two, ""), ALL)
    assert same == (seen(one) == seen(two))


def test_keys_are_hashes_and_their_format_is_fixed() -> None:
    """Another result of the same configuration needs another FORMAT: folders are found by it."""
    keys = stage_keys(Config(), ALL)
    assert all(len(key) == 64 and int(key, 16) for key in keys.values())
    assert short(keys["sft"]) == keys["sft"][:8]
    assert FORMAT == 1
