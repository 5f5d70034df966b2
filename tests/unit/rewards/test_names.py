"""directly_judge, hierarchical and judge."""

from __future__ import annotations

import pytest

from geoagent.config import LevelWeights
from geoagent.errors import UsageError
from geoagent.rewards.directly_judge import DirectlyJudge
from geoagent.rewards.hierarchical import Hierarchical
from geoagent.rewards.judge import Judge

from .helpers import completion

TRUTH = "<answer>Germany; Bavaria; Munich</answer>"


@pytest.mark.parametrize(
    ("answer", "improved", "published"),
    [
        ("Germany; Bavaria; Munich", 1.0, 1.0),
        ("Germany; Bavaria; Nuremberg", 0.7, 0.7),
        ("Germany; Hesse; Munich", 0.4, 0.4),
        ("Germany", 0.1, 0.1),
        ("Deutschland; Bayern; München", 1.0, 0.0),
        ("germany; State of Bavaria; Munich City", 1.0, 0.0),
        ("", 0.0, 0.0),
        ("Austria; Tyrol; Innsbruck", 0.0, 0.0),
    ],
)
def test_directly_judge(answer: str, improved: float, published: float) -> None:
    texts = [completion(answer)]
    for flag, expected in ((False, improved), (True, published)):
        reward = DirectlyJudge(LevelWeights(), flag)
        assert reward(texts, solution=[TRUTH]) == [pytest.approx(expected)]
    assert DirectlyJudge(LevelWeights(), True)([""], solution=["Germany; Bavaria"]) == [0.0]


SPRINGFIELD = ("United States", "Illinois", "Springfield")
TOKYO = ("Japan", "Tokyo", "Tokyo")
NO_REGION = ("Singapore", "", "Singapore")


@pytest.mark.parametrize(
    ("answer", "truth", "value", "level"),
    [
        ("United States; Illinois; Springfield", SPRINGFIELD, 4.0, "city"),
        ("USA; IL; springfield", SPRINGFIELD, 4.0, "city"),
        # The region is written as nobody knows it, but the city is right.
        ("USA; Sangamon County; Springfield", SPRINGFIELD, 4.0, "city"),
        ("United States; Springfield", SPRINGFIELD, 4.0, "city"),
        # The city of that name in another state is another city.
        ("United States; Oregon; Springfield", SPRINGFIELD, 1.0, "country"),
        ("United States; Illinois; Chicago", SPRINGFIELD, 2.0, "region"),
        ("United States; Illinois", SPRINGFIELD, 2.0, "region"),
        ("United States", SPRINGFIELD, 1.0, "country"),
        ("United States; Texas; Austin", SPRINGFIELD, 1.0, "country"),
        # Nothing finer counts in the wrong country.
        ("Canada; Illinois; Springfield", SPRINGFIELD, 0.0, None),
        ("", SPRINGFIELD, 0.0, None),
        ("Japan; Tokyo", TOKYO, 4.0, "city"),
        ("Singapore; Central; Singapore", NO_REGION, 4.0, "city"),
    ],
)
def test_hierarchical(
    answer: str, truth: tuple[str, str, str], value: float, level: str | None
) -> None:
    columns = {name: [text] for name, text in zip(Hierarchical.columns, truth, strict=True)}
    (score,) = Hierarchical(beta=2.0).score([completion(answer)], **columns)
    assert (score.value, score.parts["level"]) == (value, level)


def test_hierarchical_beta_and_bad_columns() -> None:
    texts = [completion("Japan; Tokyo")]
    columns = {"country": ["Japan"], "region": ["Tokyo"], "city": ["Tokyo"]}
    assert Hierarchical(beta=3.0)(texts, **columns) == [9.0]
    with pytest.raises(UsageError, match="'city', row 0"):
        Hierarchical(beta=3.0)(texts, **{**columns, "city": [None]})


@pytest.mark.parametrize("label", [True, "True", "true", 1, "1"])
def test_judge_true(label: object) -> None:
    texts = ["<think>x</think><answer>True</answer>", "<answer> true. </answer>", "True"]
    texts += ["<answer>False</answer>", "<answer>True or False</answer>", "It is True", ""]
    assert Judge()(texts, label=[label] * 7) == [1, 1, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("label", [False, "FALSE", 0])
def test_judge_false(label: object) -> None:
    texts = ["<answer>False</answer>", "<answer>True</answer>", ""]
    assert Judge()(texts, label=[label] * 3) == [1, 0, 0]


@pytest.mark.parametrize("label", [None, "maybe", "", 2])
def test_judge_needs_a_label(label: object) -> None:
    with pytest.raises(UsageError, match="label"):
        Judge()(["True"], label=[label])
