"""Names judged by a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from geoagent.agent.client import Judgement
from geoagent.agent.question import Asked
from geoagent.errors import OutageError
from geoagent.evaluate.metrics import metrics
from geoagent.evaluate.rules import GEOAGENT, RULES, Missing
from geoagent.evaluate.verifier import VerdictQuestion, Verifier

TRUTH = {"latitude": 48.1, "longitude": 11.6, "country": "Germany", "region": "Bavaria"}
PREDICTED = {"predicted_latitude": 48.2, "predicted_longitude": 11.7}


class FakeAgent:
    """`says` by the answer's first word: a verdict for country, province and city, or None."""

    def __init__(self, says: dict[str, str | None]) -> None:
        self.says = says
        self.asked: list[VerdictQuestion] = []

    def ask(self, questions: Sequence[Asked]) -> list[Judgement]:
        return [self._one(question) for question in questions]

    def _one(self, question: Asked) -> Judgement:
        assert isinstance(question, VerdictQuestion)
        self.asked.append(question)
        letters = self.says[question.answer.split()[0]]
        if letters is None:
            return Judgement(None, failed=True, reason="reply is not JSON")
        verdict = {name: said == "y" for name, said in zip(question.fields, letters, strict=False)}
        return Judgement(json.dumps(verdict))


def row(answer: Any, **more: Any) -> dict[str, Any]:
    return {**TRUTH, **PREDICTED, "city": "Munich", "answer": answer, **more}


def judged(says: dict[str, str | None], *rows: dict[str, Any]) -> tuple[dict[str, Any], Verifier]:
    verifier = Verifier(FakeAgent(says))
    return metrics(rows, rules=replace(GEOAGENT, verify=verifier.judge)), verifier


def test_accuracies_are_those_of_the_verdicts() -> None:
    says: dict[str, str | None] = {"A": "yyy", "B": "yyn", "C": "nnn", "D": "ynn"}
    result, verifier = judged(says, *(row(f"{name} x") for name in says))
    assert result["country_accuracy"] == 0.75
    assert result["region_accuracy"] == 0.5
    assert result["city_accuracy"] == 0.25
    assert result["named"] == {"country": 4, "region": 4, "city": 4}
    assert (verifier.judged, verifier.unjudged) == (4, 0)


def test_a_finer_level_makes_the_coarser_ones_right() -> None:
    result, _ = judged({"A": "nny"}, row("A"))
    assert result["country_accuracy"] == result["region_accuracy"] == result["city_accuracy"] == 1


def test_no_usable_reply_is_not_wrong() -> None:
    result, verifier = judged({"A": "yyy", "B": None}, row("A"), row("B"))
    assert result["city_accuracy"] == 1.0
    assert result["named"] == {"country": 1, "region": 1, "city": 1}
    assert result["count"] == 2
    assert (verifier.judged, verifier.unjudged) == (1, 1)


def test_no_answer_is_wrong_and_not_asked_about() -> None:
    rows = [row(None), row(" "), row(Missing()), row("A")]
    result, verifier = judged({"A": "yyy"}, *rows)
    assert result["city_accuracy"] == 0.25
    assert verifier.judged == 1


def test_what_the_truth_does_not_name_is_not_judged() -> None:
    agent = FakeAgent({"A": "yy"})
    verifier = Verifier(agent)
    assert verifier.judge([row("A", city="")]) == [(2, 0b011)]
    assert list(agent.asked[0].fields) == ["country", "province_or_state"]
    assert verifier.judge([row("A", country="")]) == [(0, 0)]
    assert len(agent.asked) == 1
    assert verifier.judge([row("A", region="")]) == [(3, 0b101)]
    assert list(agent.asked[1].fields) == ["country", "city"]


def test_coordinates_are_shown_as_the_names_that_they_are_in() -> None:
    agent = FakeAgent({"Germany;": "yyy"})
    assert Verifier(agent).judge([row("Latitude: 48.137, Longitude: 11.575")]) == [(3, 0b111)]
    assert "Munich" in agent.asked[0].answer


def test_rows_without_names_or_answers_are_not_judged() -> None:
    agent = FakeAgent({})
    assert Verifier(agent).judge([{**TRUTH, **PREDICTED}]) == [(-1, -1)]


def test_what_is_no_text_is_told_with_its_row() -> None:
    with pytest.raises(ValueError, match="answer: 7 is not a text") as error:
        judged({"A": "yyy"}, row("A"), row(7))
    assert error.value.args[1] == 2


def test_a_verifier_that_never_has_a_usable_reply_is_broken() -> None:
    says: dict[str, str | None] = {f"A{number}": None for number in range(9)}
    with pytest.raises(OutageError, match="no usable reply"):
        judged(says, *(row(name) for name in says))


@pytest.mark.parametrize("rules", RULES.values())
def test_only_the_names_are_judged_by_it(rules: Any) -> None:
    rows = [
        row("A", data_type="photo"),
        row("A", predicted_latitude=None, predicted_longitude=None),
    ]
    by_rules = metrics(rows, rules=rules)
    by_model = metrics(rows, rules=replace(rules, verify=Verifier(FakeAgent({"A": "nnn"})).judge))
    names = ("country_accuracy", "region_accuracy", "city_accuracy", "intervals")
    assert {k: v for k, v in by_rules.items() if k not in names} == {
        k: v for k, v in by_model.items() if k not in names
    }
