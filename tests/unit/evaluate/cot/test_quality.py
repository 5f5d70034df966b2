"""A chain beside the annotated one, with scorers and a judge that say what the test wants."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from geoagent.agent.client import Judgement
from geoagent.agent.question import Asked
from geoagent.errors import OutageError
from geoagent.evaluate.cot.judge import KINDS, FactQuestion, KindQuestion
from geoagent.evaluate.cot.quality import Quality, Sample

REFERENCE = (
    "c: red roof. c: a tuk tuk. b: Thai is spoken in Thailand. b: One keeps left. i: Thailand."
)


class FakeAgent:
    """Sorts by the first letter; finds a fact if the reasoning has its words."""

    def __init__(self, fails: Callable[[Asked], bool] = lambda question: False) -> None:
        self.asked: list[Asked] = []
        self._fails = fails

    def ask(self, questions: Sequence[Asked]) -> list[Judgement]:
        self.asked += questions
        return [self._one(question) for question in questions]

    def _one(self, question: Asked) -> Judgement:
        if self._fails(question):
            return Judgement(None, failed=True, reason="made to fail")
        if isinstance(question, KindQuestion):
            kind = {"b": "background", "c": "caption", "i": "inference"}[question.step[0]]
            return Judgement(json.dumps({"kind": kind}))
        assert isinstance(question, FactQuestion)
        stated = question.fact.removeprefix("b: ") in question.reasoning
        return Judgement(json.dumps({"stated": stated}))


class SameWords:
    """Share of a candidate's words that a reference has; the image must have been opened."""

    def f1(self, candidates: Sequence[str], references: Sequence[str]) -> Any:
        return np.array([[_shared(c, r) for r in references] for c in candidates])

    def score(self, image: Any, candidates: Sequence[str], references: Sequence[str]) -> Any:
        assert isinstance(image, Image.Image)
        return self.f1(candidates, references).max(axis=1) * 1.25


def _shared(candidate: str, reference: str) -> float:
    words = candidate.split()[1:]
    return sum(word in reference.split() for word in words) / len(words)


def picture() -> Image.Image:
    return Image.new("RGB", (8, 8))


def no_picture() -> Image.Image:
    raise ValueError("image: 'x.jpg' does not exist")


def sample(think: str | None, reference: str | None = REFERENCE, image: Any = picture) -> Sample:
    said = None if think is None else [f"<think>{think}</think><answer>a; b</answer>"]
    return Sample(said, reference, image)


def score(*samples: Sample, agent: FakeAgent | None = None) -> list[dict[str, Any]]:
    words = SameWords()
    return Quality(agent or FakeAgent(), words, words).score(samples)


def test_the_three_parts_and_their_mean() -> None:
    (row,) = score(sample("c: red car. i: Thailand. i: not Laos. b: One keeps left."))
    assert row["caption"] == pytest.approx(0.5 * 1.25)  # "red" of "red car."
    assert row["inference"] == pytest.approx(0.5)
    assert row["background"] == pytest.approx(0.5)
    assert row["cot_quality"] == pytest.approx(100 * (0.625 + 0.5 + 0.5) / 3)
    assert row["failure"] is None
    assert [step.get("score") for step in row["steps"]] == [0.625, 1.0, 0.0, None]
    assert [s["stated"] for s in row["reference_steps"] if "stated" in s] == [False, True]


def test_a_part_counts_at_most_1() -> None:
    (row,) = score(sample(REFERENCE))
    assert row["caption"] == pytest.approx(1.25)
    assert row["cot_quality"] == pytest.approx(100.0)


def test_only_what_the_annotated_chain_has_counts() -> None:
    (row,) = score(sample("i: Thailand. c: red. b: One keeps left.", "i: Thailand."))
    assert (row["background"], row["caption"]) == (None, None)
    assert row["cot_quality"] == pytest.approx(100.0)


def test_a_kind_that_is_left_out_is_0() -> None:
    (row,) = score(sample("i: Thailand."))
    assert (row["background"], row["caption"], row["inference"]) == (0.0, 0.0, 1.0)
    assert row["cot_quality"] == pytest.approx(100 / 3)


def test_a_fact_may_be_in_a_step_of_another_kind() -> None:
    (row,) = score(sample("i: One keeps left. i: Thai is spoken in Thailand."))
    assert row["background"] == 1.0


@pytest.mark.parametrize(("think", "failure"), [(None, "missing"), ("", "no_reasoning")])
def test_no_reasoning_scores_0_without_its_facts_being_asked(
    think: str | None, failure: str
) -> None:
    agent = FakeAgent()
    (row,) = score(sample(think, image=no_picture), agent=agent)
    assert row["failure"] == failure
    assert [row[kind] for kind in (*KINDS, "cot_quality")] == [0.0] * 4
    assert all(isinstance(question, KindQuestion) for question in agent.asked)


def test_without_an_annotated_chain_nothing_is_asked() -> None:
    agent = FakeAgent()
    for row in score(sample("c: red.", None), sample("c: red.", ""), agent=agent):
        assert (row["cot_quality"], row["failure"]) == (None, "no_reference")
    assert agent.asked == []


def test_an_image_that_cannot_be_opened_fails_that_sample_only() -> None:
    bad, good = score(sample("c: red roof.", image=no_picture), sample("c: red roof."))
    assert (bad["cot_quality"], bad["caption"], bad["failure"]) == (None, None, "no_image")
    assert "does not exist" in bad["reason"]
    assert good["failure"] is None


def test_the_judge_is_asked_for_all_samples_at_once_and_the_same_once() -> None:
    agent = FakeAgent()
    score(sample("c: red roof."), sample("c: red roof."), agent=agent)
    assert (
        len(agent.asked) == len(set(agent.asked)) == 6 - 1 + 2
    )  # steps, "red roof" in both; facts


def test_a_step_that_cannot_be_sorted_is_left_out() -> None:
    agent = FakeAgent(lambda q: isinstance(q, KindQuestion) and "Laos" in q.step)
    (row,) = score(sample("i: Thailand. i: not Laos."), agent=agent)
    assert row["inference"] == 1.0
    assert [step["kind"] for step in row["steps"]] == ["inference", None]


def test_a_fact_without_a_reply_is_left_out() -> None:
    agent = FakeAgent(lambda q: isinstance(q, FactQuestion) and "spoken" in q.fact)
    (row,) = score(sample("b: One keeps left."), agent=agent)
    assert row["background"] == 1.0


@pytest.mark.parametrize("kind", [FactQuestion, KindQuestion])
def test_nothing_that_the_judge_could_judge_is_no_bad_chain(kind: type) -> None:
    agent = FakeAgent(lambda question: isinstance(question, kind))
    (row,) = score(sample("b: One keeps left."), agent=agent)
    assert (row["cot_quality"], row["failure"]) == (None, "unjudged")
    assert all(row[name] is None for name in KINDS)


def test_a_judge_that_never_has_a_usable_reply_is_broken() -> None:
    with pytest.raises(OutageError, match="no usable reply to any of 9 questions"):
        score(sample("c: red. c: blue. c: green. c: grey."), agent=FakeAgent(lambda question: True))


_STEP = st.builds(
    "{}: {}.".format, st.sampled_from("bci"), st.from_regex("[a-z]{1,3}", fullmatch=True)
)
_CHAIN = st.lists(_STEP, min_size=1, max_size=6).map(" ".join)


@given(_CHAIN, _CHAIN)
def test_a_score_is_from_0_to_100_and_of_the_annotated_chain_itself_100(
    think: str, reference: str
) -> None:
    other, same = score(sample(think, reference), sample(reference, reference))
    assert 0 <= other["cot_quality"] <= 100
    assert same["cot_quality"] == pytest.approx(100)
