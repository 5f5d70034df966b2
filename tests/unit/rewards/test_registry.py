"""One table of rewards; weights are checked; rows are scored."""

from __future__ import annotations

import math
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from geoagent.config import REWARD_NAMES, RewardsConfig, resolve
from geoagent.data.cot import chain_of_thought
from geoagent.data.places import countries
from geoagent.data.prompt import coordinates_answer
from geoagent.errors import OutageError, UsageError
from geoagent.rewards.base import Reward, Score, three_levels
from geoagent.rewards.registry import build, score_all, total, weighted
from geoagent.score import check_row, score_rows
from geoagent.stages import never_earned
from tests.interrupts import heed_interrupts

from .helpers import FakeAgent, completion

AGENT = FakeAgent({})
OF_PLACES = [name for name in REWARD_NAMES if name != "judge"]


def test_what_is_never_earned_is_nothing_even_for_the_right_answer() -> None:
    truth = {
        "latitude": [48.9],
        "longitude": [2.4],
        "solution": ["<answer>France; Paris</answer>"],
        **{"country": ["France"], "region": ["Ile-de-France"], "city": ["Paris"]},
    }
    config = resolve(["data.answer=coordinates", *(f"rewards.weights.{n}=1" for n in OF_PLACES)])
    of_names = [name for name in never_earned(config) if name != "semantic"]  # it needs a model
    assert len(of_names) == 4
    for answer, names, right in (
        (coordinates_answer(48.9, 2.4), of_names, 0),
        (coordinates_answer(48.9, 2.4), ["coordinates"], 1),
        ("France; Paris", ["coordinates"], 0),
        ("France; Paris", of_names, 4),
    ):
        scores = score_all(build(config.rewards, names), [completion(answer)], **truth)
        assert sum(score[0].value > 0 for score in scores.values()) == right


@pytest.mark.parametrize("parity", ["improved", "published"])
def test_every_name_is_built_and_names_itself(parity: str) -> None:
    rewards = build(RewardsConfig(parity=parity), REWARD_NAMES, agent=AGENT)
    assert list(rewards) == list(REWARD_NAMES)
    for name, reward in rewards.items():
        assert reward.name == name
        assert getattr(reward, "published", parity == "published") is (parity == "published")


def test_default_is_what_has_a_weight() -> None:
    config = RewardsConfig(weights={"spatial": 1.5, "format": 0.0, "geo_format": 1.0})
    assert list(build(config)) == weighted(config) == ["spatial", "geo_format"]
    assert build(config, []) == {}


def test_unknown_name_and_missing_agent() -> None:
    with pytest.raises(UsageError, match="did you mean spatial"):
        build(RewardsConfig(), ["spacial"])
    with pytest.raises(UsageError, match="there are: format"):
        build(RewardsConfig(), ["zzz"])
    with pytest.raises(UsageError, match="needs an agent"):
        build(RewardsConfig(), ["consistency"])


@pytest.mark.parametrize(
    ("weights", "key"),
    [
        ({"spatial": math.nan}, r"rewards\.weights\.spatial"),
        ({"spatial": math.inf}, r"rewards\.weights\.spatial"),
        ({"format": -1.0}, r"rewards\.weights\.format"),
        ({"spacial": 1.0}, r"rewards\.weights\.spacial: .*did you mean spatial"),
        ({"spatial": 0.0}, r"rewards\.weights: all are 0"),
    ],
)
def test_weights(weights: dict[str, float], key: str) -> None:
    with pytest.raises(UsageError, match=key):
        build(RewardsConfig(weights=weights), agent=AGENT)


def test_total_is_the_weighted_sum() -> None:
    scores = {"spatial": [Score(0.5), Score(0.0)], "format": [Score(1.0), Score(1.0)]}
    assert total(scores, {"spatial": 1.5, "format": 2.0, "judge": 9.0}) == [2.75, 2.0]


@pytest.mark.parametrize(
    ("parts", "levels"),
    [
        ((), ["", "", ""]),
        (("a",), ["a", "", ""]),
        (("a", "b"), ["a", "b", ""]),
        (("a", "b", "c", "d"), ["a", "b", "c; d"]),
    ],
)
def test_three_levels(parts: tuple[str, ...], levels: list[str]) -> None:
    assert three_levels(parts) == levels


# --- geoagent.score ---------------------------------------------------------------------------

ROW: dict[str, Any] = {
    "id": "a",
    "completion": completion("France; Ile-de-France; Paris"),
    "solution": "<answer>France; Ile-de-France; Paris</answer>",
    "latitude": 48.85,
    "longitude": 2.35,
    "country": "France",
    "region": "Ile-de-France",
    "city": "Paris",
    "label": "True",
}
REWARDS = build(RewardsConfig(), ["format", "spatial", "hierarchical", "directly_judge", "judge"])


def test_rows_come_back_in_order_with_one_key_a_reward() -> None:
    rows = [{**ROW, "id": str(number)} for number in range(5)]
    rows[3]["completion"] = "nonsense"
    scored = list(score_rows(rows, REWARDS, batch=2))
    assert [row["id"] for row in scored] == ["0", "1", "2", "3", "4"]
    assert {**ROW, "id": "0"}.items() <= scored[0].items()
    assert scored[0]["spatial"] == pytest.approx(1.0, abs=0.01)
    assert [scored[0][name] for name in ("format", "hierarchical", "directly_judge")] == [1, 4, 1]
    assert [scored[3][name] for name in REWARDS] == [0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"completion": None}, "completion: missing"),
        ({"completion": 3}, "completion: missing, or not a text"),
        ({"latitude": None}, "latitude: missing; reward spatial"),
        ({"latitude": 123}, "latitude: 123 is out of range"),
        ({"longitude": "east"}, "longitude: 'east' is not a number"),
        ({"solution": None}, "solution: missing; reward directly_judge"),
        ({"city": 5}, "city: not a text"),
        ({"label": "perhaps"}, "label: 'perhaps' is not True or False"),
    ],
)
def test_rows_that_cannot_be_scored(change: Mapping[str, object], message: str) -> None:
    check_row(ROW, REWARDS)
    with pytest.raises(ValueError, match=message):
        check_row({**ROW, **change}, REWARDS)


def test_the_sample_s_own_answers_get_full_marks() -> None:
    names = ["format", "geo_format", "spatial", "hierarchical", "directly_judge"]
    rows = [
        {
            "completion": f"<think>{chain_of_thought(country, city)}</think>"
            f"<answer>{country.name}; {city.region}; {city.name}</answer>",
            "solution": f"{country.name}; {city.region}; {city.name}",
            "latitude": city.latitude,
            "longitude": city.longitude,
            "country": country.name,
            "region": city.region,
            "city": city.name,
        }
        for country in countries()
        for city in country.cities
    ]
    for parity in ("improved", "published"):
        rewards = build(RewardsConfig(parity=parity), names)
        for row in score_rows(rows, rewards):
            assert [row[name] for name in names] == [1, 1, pytest.approx(1), 4, 1], row


def test_an_answer_in_coordinates_is_scored_by_all_that_read_names() -> None:
    """It is no address; only the reward of coordinates sees where it is."""
    names = ("format", "geo_format", "spatial", "directly_judge", "hierarchical", "coordinates")
    texts = ["<think>A sign.</think><answer>Latitude: 48.85, Longitude: 2.35</answer>"]
    truth = {"country": ["France"], "region": ["Ile-de-France"], "city": ["Paris"]}
    truth |= {"solution": ["France; Ile-de-France; Paris"], "country_code": ["FR"]}
    rewards = build(RewardsConfig(), names)
    found = {
        name: reward(texts, latitude=[48.85], longitude=[2.35], **truth)[0]
        for name, reward in rewards.items()
    }
    assert found == dict.fromkeys(names, 0.0) | {"format": 1.0, "coordinates": 1.0}


class Meets(Reward):
    """Goes on when others of its kind are there as well; or fails."""

    name = "meets"

    def __init__(self, barrier: threading.Barrier, error: Exception | None = None) -> None:
        self.barrier = barrier
        self.error = error

    def score(self, completions: Sequence[str], **columns: Any) -> list[Score]:
        self.barrier.wait(timeout=20)
        if self.error:
            raise self.error
        return [Score(float(len(text))) for text in completions]


def test_rewards_of_a_batch_are_scored_at_the_same_time() -> None:
    barrier = threading.Barrier(3)
    scores = score_all({name: Meets(barrier) for name in "abc"}, ["x", "xx"])
    assert list(scores) == ["a", "b", "c"]
    assert all([score.value for score in column] == [1.0, 2.0] for column in scores.values())
    assert score_all({}, ["x"]) == {}


def test_an_outage_of_one_reward_is_the_batchs() -> None:
    barrier = threading.Barrier(2)
    rewards = {"a": Meets(barrier), "b": Meets(barrier, OutageError("the agent is away"))}
    with pytest.raises(OutageError, match="the agent is away"):
        score_all(rewards, ["x"])


_STUCK = """
import time
from geoagent.rewards.base import Reward
from geoagent.rewards.registry import score_all

class Stuck(Reward):
    name = "stuck"
    def score(self, completions, **columns):
        print("begun", flush=True)
        time.sleep(600)

score_all({"stuck": Stuck()}, ["x"])
"""


def test_a_reward_that_waits_does_not_keep_the_process_from_ending() -> None:
    command = [sys.executable, "-c", _STUCK]
    kept = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "preexec_fn": heed_interrupts}
    with subprocess.Popen(command, text=True, **kept) as process:  # type: ignore[call-overload]
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in errors
