"""Reading completions: right on what is right, never an exception on anything else."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoagent.answer import MAX_CHARACTERS, Completion, parse, parse_coordinates, split_parts


def stage(conclusion: str, reasoning: str = "because") -> dict[str, object]:
    return {
        "Clues": ["a sign", "a road"],
        "Reasoning": reasoning,
        "Conclusion": conclusion,
        "Uncertainty": "low",
    }


def think(region_key: str = "RegionalGuess") -> str:
    chain = {
        "CountryIdentification": stage("China"),
        region_key: stage("Anhui"),
        "PreciseLocalization": stage("合肥"),
    }
    document = {"ChainOfThought": chain, "FinalAnswer": "China; Anhui; Hefei"}
    return json.dumps(document, ensure_ascii=False)


VALID = f"<think>{think()}</think><answer>China; Anhui; Hefei</answer>"


def test_valid_completion_is_read_completely() -> None:
    read = parse(VALID)
    assert read.well_formed
    assert read.valid_json
    assert list(read.stages) == ["country", "region", "precise"]
    assert read.stages["precise"].conclusion == "合肥"
    assert read.stages["country"].clues == ("a sign", "a road")
    assert all(one.complete for one in read.stages.values())
    assert read.final_answer == read.answer == "China; Anhui; Hefei"
    assert read.parts == ("China", "Anhui", "Hefei")
    assert read.valid_parts


def test_second_spelling_of_the_region_stage() -> None:
    read = parse(f"<think>{think('RegionGuess')}</think>")
    assert read.stages["region"].conclusion == "Anhui"


def test_code_fence_around_the_json() -> None:
    read = parse(f"<think>```json\n{think()}\n```</think>")
    assert read.valid_json
    assert len(read.stages) == 3


def test_missing_keys_leave_the_stage_incomplete() -> None:
    document = {"ChainOfThought": {"CountryIdentification": {"Conclusion": "Peru", "Clues": "sun"}}}
    read = parse(f"<think>{json.dumps(document)}</think>")
    assert list(read.stages) == ["country"]
    assert read.stages["country"].conclusion == "Peru"
    assert read.stages["country"].clues == ("sun",)
    assert not read.stages["country"].complete


def test_cut_json_is_repaired_but_not_called_valid() -> None:
    cut = f"<think>{think()}"[:400]
    read = parse(cut)
    assert read.stages["country"].conclusion == "China"
    assert not read.valid_json
    assert not read.well_formed


def test_unclosed_think_ends_where_the_answer_starts() -> None:
    read = parse(f"<think>{think()}<answer>China; Anhui</answer>")
    assert read.think == think()
    assert read.answer == "China; Anhui"


@pytest.mark.parametrize(
    ("answer", "parts", "valid"),
    [
        ("France", ("France",), False),
        ("France; Paris", ("France", "Paris"), True),
        ("中国；香港；九龙", ("中国", "香港", "九龙"), True),
        ("a; b; c; d", ("a", "b", "c", "d"), False),
        (" ; ;; ", (), False),
        ("", (), False),
    ],
)
def test_parts(answer: str, parts: tuple[str, ...], valid: bool) -> None:
    read = parse(f"<answer>{answer}</answer>")
    assert read.parts == split_parts(answer) == parts
    assert read.valid_parts is valid


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Latitude: 40.7, Longitude: -73.9", (40.7, -73.9)),
        ("Latitude: 40.7, Longitude: -73.9.", (40.7, -73.9)),
        ("longitude = -73.9; latitude = 40.7", (40.7, -73.9)),
        ("LATITUDE=+40,LONGITUDE=7", (40.0, 7.0)),
        ("[40.7, -73.9]", (40.7, -73.9)),
        ("I say [ 40.7 , -73.9 ] or so", (40.7, -73.9)),
        ("[-73.9, 140.7]", (-73.9, 140.7)),
        ("[100.0, 20.0]", None),
        ("Latitude: 91, Longitude: 0", None),
        ("Latitude: 1234.5, Longitude: 0", None),
        ("Latitude: 40.7", None),
        ("[40.7]", None),
        ("Latitude: nan, Longitude: inf", None),
        ("", None),
    ],
)
def test_coordinates(text: str, expected: tuple[float, float] | None) -> None:
    assert parse_coordinates(text) == expected
    assert parse(f"<answer>{text}</answer>").coordinates == expected


def test_coordinates_outside_of_an_answer_count_only_without_one() -> None:
    assert parse("[1.0, 2.0]").coordinates == (1.0, 2.0)
    assert parse("[1.0, 2.0]<answer>France; Paris</answer>").coordinates is None


def test_tool_calls_in_order_and_malformed_ones_left_out() -> None:
    good = '<tool_call>{"name": "search_web", "arguments": {"query": "x"}}</tool_call>'
    bad = "".join(
        f"<tool_call>{body}</tool_call>"
        for body in ("", "[]", "{", '{"name": 1, "arguments": {}}', '{"name": "a"}', "[" * 900)
    )
    calls = parse(f"<think>hm</think>{bad}{good}{good}<tool_call>{{").tool_calls
    assert [(call.name, call.arguments) for call in calls] == [("search_web", {"query": "x"})] * 2


@pytest.mark.parametrize(
    "text",
    [
        f" \n{VALID}\n",
        VALID.replace("</think><", "</think> \n <"),
    ],
)
def test_white_space_around_is_well_formed(text: str) -> None:
    assert parse(text).well_formed


@pytest.mark.parametrize(
    "text",
    [
        f"So: {VALID}",
        f"{VALID} indeed",
        VALID.replace("</think><", "</think>x<"),
        VALID + VALID,
        "<answer>a; b</answer><think>x</think>",
        "<answer></think><think></answer>",
        VALID.replace("</answer>", ""),
    ],
)
def test_anything_else_is_not_well_formed(text: str) -> None:
    assert not parse(text).well_formed


@pytest.mark.parametrize("thing", [None, 3, b"<think>", ["<think>"], {"a": 1}, float("nan")])
def test_what_is_no_text_gives_an_empty_completion(thing: object) -> None:
    assert parse(thing) == Completion()


def test_every_truncation_of_a_valid_completion() -> None:
    for end in range(len(VALID)):
        read = parse(VALID[:end])
        assert not read.well_formed
        assert read.answer is None
        for level, one in read.stages.items():
            assert parse(VALID).stages[level].conclusion.startswith(one.conclusion.rstrip("\\"))


@pytest.mark.parametrize("opening", ["[", '{"a":', '{"ChainOfThought":', '[{"a":['])
def test_deep_nesting(opening: str) -> None:
    read = parse(f"<think>{opening * 10_000}</think><answer>a; b</answer>")
    assert read.stages == {}
    assert read.parts == ("a", "b")


def test_lone_surrogates_do_not_come_out() -> None:
    document = think().replace("China", "\\ud800").replace("Anhui", "A\\udfff")
    read = parse(f"\ud800<think>{document}</think><answer>\udc00; b</answer>")
    assert read.stages["country"].conclusion == "?"
    assert read.parts == ("?", "b")
    repr(read).encode("utf-8")


def test_huge_numbers_and_odd_values() -> None:
    document = '{"ChainOfThought": {"CountryIdentification": {"Conclusion": %s, "Clues": [null]}}}'
    for value in ("1e999", "NaN", "true", "9" * 5000, "[]", "{}", "null"):
        parse(f"<think>{document % value}</think>")
    read = parse(f"<think>{document % '12'}</think>")
    assert read.stages["country"].conclusion == "12"
    assert read.stages["country"].clues == ()


@given(st.text())
def test_garbage(text: str) -> None:
    assert isinstance(parse(text), Completion)


TAGS = ["<think>", "</think>", "<answer>", "</answer>", "<tool_call>", "</tool_call>", "```json"]
MARKS = [*"{}[]\":,;；\\'“ \n#", "/*", "null", "1e9", "\\ud83d", "\ud800"]
WORDS = ["ChainOfThought", "CountryIdentification", "Reasoning", "Latitude: 4", "Longitude = 5"]
FRAGMENTS = st.sampled_from([*TAGS, *MARKS, *WORDS, "[1, 2]", "北京", "مصر"])


@settings(deadline=None)
@given(st.lists(FRAGMENTS | st.text(max_size=5), max_size=60).map("".join))
def test_structured_garbage(text: str) -> None:
    read = parse(text)
    repr(read).encode("utf-8")
    assert all(part == part.strip() and part for part in read.parts)
    if read.coordinates is not None:
        assert abs(read.coordinates[0]) <= 90
        assert abs(read.coordinates[1]) <= 180


@settings(deadline=None, max_examples=50)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_json_as_chain_of_thought(value: object) -> None:
    chain = {"CountryIdentification": value, "RegionalGuess": {"Conclusion": value}}
    for document in (value, {"ChainOfThought": value}, {"ChainOfThought": chain}):
        read = parse(f"<think>{json.dumps(document)}</think>")
        assert all(isinstance(one.conclusion, str) for one in read.stages.values())


@given(st.lists(st.text(alphabet="abcé北 ,", min_size=1).filter(str.strip), max_size=5))
def test_parts_come_back(parts: list[str]) -> None:
    assert split_parts("; ".join(parts)) == tuple(part.strip() for part in parts)


ADVERSARIAL = {
    "openings": "<think>",
    "closings": "</think>",
    "braces": "{",
    "pairs": '{"a":',
    "quotes": 'n"',
    "numbers": "[1,",
    "spaces": "latitude:         ",
    "digits": "latitude: 111",
    "calls": "<tool_call>",
    "whole": "<tool_call>{</tool_call>",
    "semicolons": ";",
    "between": "</think>         ",
}


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_time_grows_no_faster_than_the_text(name: str) -> None:
    def seconds(characters: int) -> float:
        unit = ADVERSARIAL[name]
        body = "<think>{" + (unit * (characters // len(unit)))
        best = float("inf")
        for repeat in range(3):
            started = time.thread_time()
            parse(f"{body}{repeat}</think><answer>a")
            best = min(best, time.thread_time() - started)
        return best

    # Quadratic time would be 64 times as long; below a millisecond the clock's noise rules.
    assert seconds(160_000) < 24 * max(seconds(20_000), 1e-3)


def test_megabyte_is_cut_before_work_starts() -> None:
    assert parse("<answer>a; b</answer>" + "x" * 10**6).parts == ("a", "b")
    assert parse("x" * MAX_CHARACTERS + "<answer>a; b</answer>").answer is None


@pytest.mark.parametrize("unit", ['n"', 'a"b"c ', '"n"', '",:a', "'"])
def test_repair_is_not_tried_on_what_would_take_it_long(unit: str) -> None:
    started = time.thread_time()
    parse("<think>{" + (unit * 8000)[:7900] + "</think>")
    assert time.thread_time() - started < 1.0
