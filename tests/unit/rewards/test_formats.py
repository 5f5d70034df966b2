"""format and geo_format."""

from __future__ import annotations

import pytest

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
