"""Records → what ms-swift trains on."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from geoagent.answer import parse
from geoagent.data.record import Record
from geoagent.data.swift import completion

RECORD = Record(
    id="a",
    image="a.jpg",
    latitude=48.9,
    longitude=2.4,
    country="France",
    region="Ile-de-France",
    city="Paris",
    address="France; Ile-de-France; Paris",
    split="train",
)


@pytest.mark.parametrize(
    ("think", "answer"),
    [
        (json.dumps({"FinalAnswer": "France; Ile-de-France"}), "France; Ile-de-France"),
        (json.dumps({"FinalAnswer": "France；Paris"}), "France；Paris"),
        (json.dumps({"FinalAnswer": "France"}), RECORD.address),
        (json.dumps({"FinalAnswer": ["France", "Paris"]}), RECORD.address),
        ("It looks like France; Paris.", RECORD.address),
    ],
)
def test_the_answer_is_the_chains_own_where_it_gives_one(think: str, answer: str) -> None:
    text = completion(replace(RECORD, think=think))
    assert text == f"<think>{think}</think><answer>{answer}</answer>"


def test_the_chain_of_thought_of_the_reference_is_read() -> None:
    page = Path(__file__).parents[3] / "docs" / "reference" / "sample.md"
    (chain,) = re.findall(r"```json\n(.*?)```", page.read_text(), flags=re.DOTALL)
    answer = parse(f"<think>{chain}</think>")
    assert [stage.conclusion for stage in answer.stages.values()] == ["Peru", "Ancash", "Huaraz"]
    assert answer.final_answer == "Peru; Ancash; Huaraz"
