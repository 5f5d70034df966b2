"""consistency, with an agent whose replies are chosen."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping

import pytest

from geoagent.agent.prompt import Question
from geoagent.config import ConsistencyConfig, LevelWeights
from geoagent.errors import OutageError, UsageError
from geoagent.rewards.consistency import Consistency

from .helpers import LONG, FakeAgent, completion, stage

RIGHT = {("x", "country"): "Germany", ("x", "region"): "Bavaria", ("x", "precise"): "Munich"}


def three(
    country: object = "Germany",
    region: object = "Bavaria",
    precise: object = "Munich",
    length: int = LONG,
    letter: str = "x",
) -> str:
    """A completion with these conclusions."""
    stages = [stage(text, length, letter) for text in (country, region, precise)]
    return completion("Germany; Bavaria; Munich", *stages)


def reward(
    replies: Mapping[tuple[str, str], str | None] = RIGHT, published: bool = False
) -> Consistency:
    return Consistency(ConsistencyConfig(), FakeAgent(replies), published)


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize(
    ("conclusions", "expected"),
    [
        (("Germany", "Bavaria", "Munich"), 1.0),
        (("Austria", "Bavaria", "Munich"), 0.9),
        (("Germany", "Hesse", "Munich"), 0.4),
        (("Germany", "Bavaria", "Bonn"), 0.7),
        (("Austria", "Hesse", "Bonn"), 0.0),
        (("Germany", "Ba varia", "Mun ich "), 1.0),
        (("", "", ""), 0.0),
    ],
)
def test_stage_weights(conclusions: tuple[str, str, str], expected: float, published: bool) -> None:
    if conclusions[1] == "Ba varia" and not published:
        expected = 0.1  # removing spaces inside a name is the released code's rule
    assert reward(published=published)([three(*conclusions)]) == [pytest.approx(expected)]


@pytest.mark.parametrize(
    ("length", "factor"),
    [
        (0, 0.0),
        (89, 0.0),
        (90, 1 / (1 + math.exp(4))),
        (145, 0.5),
        (200, 1 / (1 + math.exp(-4))),
        (201, 1.0),
        (5000, 1.0),
    ],
)
@pytest.mark.parametrize("published", [False, True])
def test_length_factor(length: int, factor: float, published: bool) -> None:
    one = reward(published=published)
    assert one.length_factor(length) == pytest.approx(factor)
    assert one([three(length=length)]) == [pytest.approx(factor)]
    assert len(one.agent.asked) == (3 if factor else 0)  # type: ignore[attr-defined]


def test_improved_knows_names_of_one_place() -> None:
    text = three("Deutschland", "Bayern", "Munich City")
    assert reward()([text]) == [pytest.approx(1.0)]
    assert reward(published=True)([text]) == [pytest.approx(0.0)]


def test_improved_drops_the_coarser_places_from_a_conclusion() -> None:
    replies = {**RIGHT, ("x", "precise"): "Munich, Bavaria, Germany"}
    assert reward(replies)([three()]) == [pytest.approx(1.0)]
    assert reward(replies, published=True)([three()]) == [pytest.approx(0.7)]


def test_all_questions_of_a_batch_in_one_call_without_the_stage_s_own_conclusion() -> None:
    one = reward({**RIGHT, ("y", "country"): "Peru", ("y", "region"): "", ("y", "precise"): ""})
    one([three(), three("Peru", "Lima", "Lima", letter="y"), "garbage"])
    agent = one.agent
    assert isinstance(agent, FakeAgent)
    assert agent.calls == 1
    assert agent.asked[:3] == [
        Question("country", "x" * LONG),
        Question("region", "x" * LONG, (("country", "Germany"),)),
        Question("precise", "x" * LONG, (("country", "Germany"), ("region", "Bavaria"))),
    ]
    assert agent.asked[5].earlier == (("country", "Peru"), ("region", "Lima"))


def test_short_stage_is_not_asked_but_its_conclusion_is_passed_on() -> None:
    one = reward()
    stages = [stage("Germany", 10), stage("Bavaria"), stage("Munich", 10)]
    assert one([completion("x", *stages)]) == [pytest.approx(0.6)]
    assert isinstance(one.agent, FakeAgent)
    assert [question.earlier for question in one.agent.asked] == [(("country", "Germany"),)]


def test_missing_stage_scores_nothing_and_published_wants_all_three() -> None:
    text = completion("x", stage("Germany"), stage("Bavaria"))
    assert reward()([text]) == [pytest.approx(0.7)]
    strict = reward(published=True)
    assert strict([text]) == [0.0]
    assert isinstance(strict.agent, FakeAgent)
    assert strict.agent.asked == []


def test_cut_json_counts_only_in_improved() -> None:
    text = three().partition("</think>")[0][:-10]
    assert reward()([text]) == [pytest.approx(1.0)]
    assert reward(published=True)([text]) == [0.0]


@pytest.mark.parametrize(
    "text",
    [
        three().replace("RegionalGuess", "RegionGuess"),
        three().replace("Clues", "Hints"),
        three().replace("ChainOfThought", "Thoughts"),
        three().replace(json.dumps("x" * LONG), "7", 1),
        three()
        .replace('"Germany"', "null", 1)
        .replace('"Bavaria"', "[]", 1)
        .replace('"Munich"', "0", 1),
        "<think>[1]</think>",
        "<think>{{}</think>",
        "",
    ],
)
def test_published_gives_nothing_for_other_chains(text: str) -> None:
    assert reward(published=True)([text]) == [0.0]


def test_published_finds_the_json_without_or_in_other_tags() -> None:
    body = three().removeprefix("<think>").partition("</think>")[0]
    assert reward(published=True)([body, f"So <THINK>say {body}.</Think>"]) == [1.0, 1.0]


# --- an agent that fails ----------------------------------------------------------------------

PARTLY = {**RIGHT, ("x", "region"): None}
NOTHING: dict[tuple[str, str], str | None] = dict.fromkeys(RIGHT)


def test_failed_stage_is_left_out_and_the_others_scaled_up() -> None:
    one, wrong = reward(PARTLY).score([three(), three(precise="Bonn")])
    assert one.value == pytest.approx((0.1 + 0.3) / 0.4)
    assert wrong.value == pytest.approx(0.1 / 0.4)
    assert one.parts == {"asked": 3.0, "agreed": 2.0, "agent_failed": 1.0}


def test_published_counts_a_failed_stage_as_zero() -> None:
    (one,) = reward(PARTLY, published=True).score([three()])
    assert one.value == pytest.approx(0.4)
    assert one.parts["agent_failed"] == 1.0


def test_completion_that_could_not_be_judged_gets_the_mean_of_those_that_were() -> None:
    replies = {**RIGHT, **{("f", level): None for _, level in RIGHT}}
    texts = [three(), three("Austria"), three(letter="f"), "garbage"]
    scores = reward(replies).score(texts)
    assert [score.value for score in scores] == [
        pytest.approx(value) for value in (1.0, 0.9, 0.95, 0.0)
    ]
    assert scores[2].parts == {"asked": 3.0, "agreed": 0.0, "agent_failed": 3.0, "filled": 1.0}


def test_few_failures_do_not_stop_training() -> None:
    (one,) = reward(NOTHING).score([three()])
    assert (one.value, one.parts["filled"]) == (0.0, 1.0)


def test_a_batch_that_could_not_be_judged_gets_the_mean_of_the_one_before() -> None:
    consistency = reward({**RIGHT, **{("f", level): None for _, level in RIGHT}})
    consistency.score([three(), three("Austria")])
    (one,) = consistency.score([three(letter="f")])
    assert (one.value, one.parts["filled"]) == (pytest.approx(0.95), 1.0)


@pytest.mark.parametrize("published", [False, True])
def test_agent_that_never_gives_a_usable_reply_is_an_outage(published: bool) -> None:
    letters = "abc"
    replies = {(letter, level): None for letter in letters for _, level in RIGHT}
    with pytest.raises(OutageError, match=r"any of 9 questions .*reply is not JSON"):
        reward(replies, published)([three(letter=letter) for letter in letters])


@pytest.mark.parametrize("published", [False, True])
def test_outage_passes_through(published: bool) -> None:
    class Away:
        def ask(self, questions: object) -> list[object]:
            raise OutageError("nobody there")

    with pytest.raises(OutageError, match="nobody there"):
        Consistency(ConsistencyConfig(), Away(), published)([three()])  # type: ignore[arg-type]


def test_weights_must_not_all_be_zero() -> None:
    config = ConsistencyConfig(weights=LevelWeights(0.0, 0.0, 0.0))
    with pytest.raises(UsageError, match=r"rewards\.consistency\.weights"):
        Consistency(config, FakeAgent({}))
