"""format and geo_format."""

from __future__ import annotations

import pytest

from geoagent.errors import UsageError
from geoagent.rewards.format import Format
from geoagent.rewards.geo_format import GeoFormat

from .helpers import completion, stage, think

GOOD = completion("France; Ile-de-France; Paris")


@pytest.mark.parametrize(
    ("text", "improved", "published"),
    [
        (GOOD, 1.0, 1.0),
        ("<think></think><answer></answer>", 1.0, 1.0),
        (GOOD.replace("</think><", "</think>\n <"), 1.0, 1.0),
        (f"{GOOD}\n", 1.0, 0.0),
        (f" {GOOD}", 1.0, 0.0),
        ("<think>a</think>b</think><answer>c</answer>", 0.0, 1.0),
        ("<think>a</think><answer>b</answer>c</answer>", 0.0, 1.0),
        ("<think>a</think>b<answer>c</answer>", 0.0, 0.0),
        ("<think>a<answer>c</answer>", 0.0, 0.0),
        ("<think>a</think><answer>c", 0.0, 0.0),
        ("<answer>c</answer>", 0.0, 0.0),
        ("", 0.0, 0.0),
    ],
)
def test_format(text: str, improved: float, published: float) -> None:
    assert Format()([text]) == [improved]
    assert Format(published=True)([text]) == [published]


CALL = '<tool_call>{"name": "search_web", "arguments": {"query": "Huaraz"}}</tool_call>'
TURN = f"<think>It says Huaraz.</think>{CALL}"


@pytest.mark.parametrize(
    ("turns", "right"),
    [
        ([GOOD], 1.0),
        ([TURN, TURN, GOOD], 1.0),
        ([f" {TURN}\n", GOOD], 1.0),
        ([TURN], 0.0),
        ([GOOD, GOOD], 0.0),
        ([CALL, GOOD], 0.0),
        ([f"{TURN}{CALL}", GOOD], 0.0),
        ([f"{TURN} and", GOOD], 0.0),
        ([f"<think>a</think>b{CALL}", GOOD], 0.0),
        (["<think>a</think><tool_call>{}</tool_call>", GOOD], 0.0),
        ([TURN.replace("search_web", "delete"), GOOD], 0.0),
        ([TURN.replace('"query"', '"question"'), GOOD], 0.0),
        ([TURN.replace("<think>", ""), GOOD], 0.0),
    ],
)
def test_format_of_all_turns(turns: list[str], right: float) -> None:
    episode = {"turns": [{"completion": text} for text in turns]}  # as in predictions.jsonl
    for trace in (turns, episode):
        assert Format()([turns[-1]], trace=[trace]) == [right]
        assert Format(published=True)([turns[-1]], trace=[trace]) == [right]


def test_rollouts_and_single_completions_of_one_batch() -> None:
    assert Format()([GOOD, GOOD], trace=[None, ["x", GOOD]]) == [1.0, 0.0]


@pytest.mark.parametrize("trace", ["text", [], {}, {"turns": []}, {"turns": [{}]}, [3], 5])
def test_what_is_no_trace_is_an_error_and_no_zero(trace: object) -> None:
    with pytest.raises(UsageError, match=r"reward format: column 'trace': .* is no list of"):
        Format()([GOOD], trace=[trace])


INCOMPLETE = {key: value for key, value in stage("Paris").items() if key != "Uncertainty"}


@pytest.mark.parametrize(
    ("text", "improved", "published"),
    [
        (GOOD, 1.0, 1.0),
        (completion("France; Paris"), 1.0, 1.0),
        (completion("France；Paris"), 1.0, 0.0),
        (completion("France"), 0.0, 0.0),
        (completion("a; b; c; d"), 0.0, 0.0),
        (completion("a; b; ; c"), 1.0, 1.0),
        (completion("France; Paris", stage("France"), stage("Paris")), 0.0, 1.0),
        (completion("France; Paris", stage("a"), stage("b"), INCOMPLETE), 0.0, 1.0),
        ("<think>not JSON</think><answer>France; Paris</answer>", 0.0, 1.0),
        (f"<think>{think(stage('a'))[:-1]}</think><answer>a; b</answer>", 0.0, 1.0),
        ("<answer>France; Paris</answer>", 0.0, 1.0),
        (GOOD.replace("</answer>", ""), 0.0, 0.0),
        ("", 0.0, 0.0),
    ],
)
def test_geo_format(text: str, improved: float, published: float) -> None:
    assert GeoFormat()([text]) == [improved]
    assert GeoFormat(published=True)([text]) == [published]


def test_geo_format_tells_what_was_there() -> None:
    (score,) = GeoFormat().score([completion("a; b", stage("a"), INCOMPLETE)])
    assert score.parts == {"complete_stages": 1.0, "answer_parts": 2.0}
