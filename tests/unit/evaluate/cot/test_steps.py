"""A completion's reasoning → steps."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from geoagent.data.cot import chain_of_thought
from geoagent.data.places import countries
from geoagent.evaluate.cot.steps import MAX_STEP, MAX_STEPS, steps, steps_of_chain


def stage(clues: list[str], reasoning: str) -> dict[str, object]:
    return {"Clues": clues, "Reasoning": reasoning, "Conclusion": "X", "Uncertainty": "low"}


def test_the_stages_of_geoagent() -> None:
    chain = {
        "PreciseLocalization": stage([], "The sign reads Hat Yai."),
        "CountryIdentification": stage(["Thai script"], "It is Thai. So this is Thailand."),
        "RegionGuess": stage(["palms", "Thai script"], ""),
    }
    think = json.dumps({"ChainOfThought": chain, "FinalAnswer": "Thailand; Songkhla"})
    expected = ["Thai script", "It is Thai.", "So this is Thailand.", "palms"]
    expected.append("The sign reads Hat Yai.")
    assert steps(f"<think>{think}</think><answer>Thailand; Songkhla</answer>") == expected
    assert steps_of_chain(think) == expected


def test_free_text() -> None:
    text = (
        "<think>## Clues\n1. The flag has 3.5 stripes. 2) **Red roofs**\n- Step 2: Dr. Mt. St. "
        "Helens is near! So it is e.g. Washington\n\n* ... \nA sign - step 3: red\n"
        "牌子是中文。所以这里是中国！</think>\n<answer>[46.2, -122.1]</answer>"
    )
    assert steps(text) == [
        "Clues",
        "The flag has 3.5 stripes.",
        "2) **Red roofs**",
        "Dr. Mt. St. Helens is near!",
        "So it is e.g. Washington",
        "A sign - step 3: red",
        "牌子是中文。",
        "所以这里是中国！",
    ]


def test_without_tags_and_without_reasoning() -> None:
    assert steps("It is hot. So Chad.<answer>Chad; Mao</answer>") == ["It is hot.", "So Chad."]
    assert steps("<think>Cut off in the mid") == ["Cut off in the mid"]
    for text in (
        "",
        "<answer>Chad; Mao</answer>",
        "<think></think><answer>Chad</answer>",
        "<think>",
    ):
        assert steps(text) == []


def test_an_annotated_chain_with_tags_or_an_answer() -> None:
    for chain in ("It is hot. So Chad.", "<think>It is hot. So Chad.</think>"):
        for answer in ("", "<answer>[15.0, 19.0]</answer>"):
            assert steps_of_chain(chain + answer) == ["It is hot.", "So Chad."]


def test_tool_calls_are_no_reasoning() -> None:
    call = '<tool_call>{"name": "search_web", "arguments": {"query": "Red. Roof."}}</tool_call>'
    assert steps(f"<think>I look it up. {call}It is there.</think><answer>x</answer>") == [
        "I look it up.",
        "It is there.",
    ]


def test_all_turns_reason_and_tools_do_not() -> None:
    call = '<tool_call>{"name": "search_web", "arguments": {"query": "Red. Roof."}}</tool_call>'
    assert steps(
        f"<think>A red roof. I look it up.</think>{call}",
        f"Thai script.\n{call}",
        "<think>A red roof. So Thailand.</think><answer>Thailand; Hat Yai</answer>",
    ) == ["A red roof.", "I look it up.", "Thai script.", "So Thailand."]
    many = [f"<think>{number} is red. {number} is blue.</think>" for number in range(100)]
    assert len(steps(*many)) == MAX_STEPS


def test_an_answer_in_coordinates_is_no_step() -> None:
    for answer in (
        "Latitude: 48.9, Longitude: 2.4",
        "The final answer is latitude: 48.9, longitude: 2.4.",
        "[48.9, 2.4]",
    ):
        assert steps(f"<think>It is Paris. {answer}</think><answer>{answer}</answer>") == [
            "It is Paris."
        ]
        assert steps_of_chain(f"It is Paris. {answer}") == ["It is Paris."]
    kept = ["Paris is at [48.9, 2.4].", "+33", "The latitude is high."]
    assert steps_of_chain("\n".join(kept)) == kept


def test_repetition_and_length_are_bounded() -> None:
    assert steps("<think>" + "It is red. " * 500 + "</think>") == ["It is red."]
    many = " ".join(f"Sign {number} is red." for number in range(500))
    assert steps(f"<think>{many}</think>") == [f"Sign {n} is red." for n in range(MAX_STEPS)]
    assert steps("<think>" + "a" * 9000) == ["a" * MAX_STEP]


def test_the_samples_own_chains() -> None:
    country = countries()[0]
    found = steps_of_chain(chain_of_thought(country, country.cities[0]))
    assert found[0] == f"flag of {country.name}"
    assert len(found) > 8
    assert not any("{" in step for step in found)


@given(st.text() | st.text("<think>{}\"',.!?。 \n-#*1a/", max_size=300))
def test_whatever_is_written(text: str) -> None:
    found = steps(text)
    assert found == list(dict.fromkeys(found))
    assert len(found) <= MAX_STEPS
    for step in found:
        assert 0 < len(step) <= MAX_STEP
        assert any(c.isalnum() for c in step)
        step.encode()


@given(st.lists(st.from_regex(r"[A-Z][a-z]{2,9} [a-z]{2,9} is [a-z]{3,9}", fullmatch=True)))
def test_no_sentence_is_lost(sentences: list[str]) -> None:
    text = " ".join(f"{sentence}." for sentence in sentences)
    assert (
        " ".join(steps_of_chain(text)).replace(".", "").split()
        == (
            " ".join(list(dict.fromkeys(f"{s}." for s in sentences))[:MAX_STEPS]).replace(".", "")
        ).split()
    )
