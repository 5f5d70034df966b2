"""Questions whose replies have a fixed form."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoagent.agent.question import FormQuestion, clip
from geoagent.evaluate.cot.judge import MAX_CHAIN, FactQuestion, KindQuestion
from geoagent.evaluate.verifier import VerdictQuestion

ALL: list[FormQuestion] = [
    KindQuestion("A red roof."),
    FactQuestion("It is Thai.", "Thai is spoken in Thailand."),
    VerdictQuestion("Germany; Bavaria; Munich", ("Germany", "Bavaria", "Munich")),
    VerdictQuestion("Germany", ("Germany", "", "")),
]


@pytest.mark.parametrize("question", ALL)
def test_the_examples_are_in_the_form_that_is_asked_for(question: FormQuestion) -> None:
    chat = question.messages()
    assert [m["role"] for m in chat] == [
        "system",
        *["user", "assistant"] * (len(chat) // 2 - 1),
        "user",
    ]
    for asked, answered in zip(chat[1::2], chat[2::2], strict=False):
        reply = json.loads(answered["content"])
        assert asked["content"].endswith(f"id: {reply['id']}")
        for name in reply.keys() & question.fields.keys():
            assert reply[name] in question.fields[name]
    assert chat[-1]["content"].endswith(f"id: {question.id}")


@pytest.mark.parametrize("question", ALL)
def test_every_reply_of_the_schema_is_read(question: FormQuestion) -> None:
    schema = question.schema()
    assert schema["required"] == list(schema["properties"]) == ["id", *question.fields]
    for last in (0, -1):
        said = {name: values[last] for name, values in question.fields.items()}
        assert json.loads(question.read(json.dumps({"id": question.id, **said}))) == said


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "[" * 100_000,
        "[]",
        "{}",
        '{"id": "ID"}',
        '{"id": "ID", "stated": 1}',
        '{"id": "ID", "stated": 0}',
        '{"id": "ID", "stated": "true"}',
        '{"id": "ID", "stated": null}',
        '{"id": "ID", "stated": [true]}',
        '{"id": "zzz", "stated": true}',
    ],
)
def test_replies_of_no_use(reply: str) -> None:
    question = FactQuestion("a", "b")
    with pytest.raises(ValueError, match="reply"):
        question.read(reply.replace("ID", question.id))


def test_a_kind_that_there_is_not() -> None:
    question = KindQuestion("a")
    with pytest.raises(ValueError, match="no usable kind"):
        question.read(json.dumps({"id": question.id, "kind": "poem"}))


def test_only_what_the_truth_names_is_asked() -> None:
    question = VerdictQuestion("Germany", ("Germany", "Bavaria", ""))
    assert list(question.fields) == ["country", "province_or_state"]
    assert "City" not in question.text


@given(st.text(), st.text())
def test_any_text_can_be_asked_about_and_sent(one: str, other: str) -> None:
    for question in (
        FactQuestion(one, other),
        VerdictQuestion(one, (other, one, "")),
        KindQuestion(one),
    ):
        json.dumps([question.messages(), question.schema()]).encode()
        assert len(question.id) == 3
    assert (KindQuestion(one).id == KindQuestion(other).id) or one != other


@given(st.text(st.characters()), st.integers(2, 50))
def test_clip(text: str, limit: int) -> None:
    clipped = clip(text, limit)
    clipped.encode()
    assert len(clipped) <= limit + 3 if len(text) > limit else len(clipped) == len(text)


def test_long_chains_are_cut_in_the_middle() -> None:
    text = FactQuestion("x" * 99_999 + "END", "fact").text
    assert len(text) < MAX_CHAIN + 100
    assert "END\nFact: fact" in text
