"""Calls are read, refused and never made of what is no call; text from outside holds no markup."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoagent.rollout.tools import SEARCH, TOOLS, ZOOM, Call, Malformed, as_data, read_call
from geoagent.rollout.tools import system_prompt as prompt


def call(name: Any, **arguments: Any) -> str:
    return f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"


def test_a_call_of_each_tool() -> None:
    found = read_call("<think>a sign</think>" + call(ZOOM, bbox_2d=[1, 2, 3.5, 4], label="sign"))
    assert found == Call(ZOOM, {"bbox_2d": [1, 2, 3.5, 4], "label": "sign"})
    assert read_call(call(SEARCH, query="  Reykjavík ")) == Call(SEARCH, {"query": "Reykjavík"})


def test_arguments_that_a_tool_has_not_are_dropped() -> None:
    found = read_call(call(ZOOM, bbox_2d=[1, 2, 3, 4], image="/etc/passwd", url="http://x/"))
    assert found == Call(ZOOM, {"bbox_2d": [1, 2, 3, 4]})


def test_the_first_valid_call_of_several_counts() -> None:
    text = "<tool_call>{oops</tool_call>" + call("rm", path="/") + call(ZOOM, bbox_2d="all")
    assert isinstance(read_call(text), Malformed)
    first, second = call(SEARCH, query="one"), call(ZOOM, bbox_2d=[0, 0, 9, 9])
    assert read_call(text + first + second) == Call(SEARCH, {"query": "one"})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("<tool_call>{oops</tool_call>", "valid JSON"),
        ('<tool_call>{"name": "search_web"}</tool_call>', "valid JSON"),
        ("<tool_call>", "valid JSON"),
        (call("open_file", path="/etc/passwd"), "no such tool"),
        (call(SEARCH), "query"),
        (call(SEARCH, query=["a"]), "query"),
        (call(SEARCH, query=" \n"), "query"),
        (call(ZOOM), "four numbers"),
        (call(ZOOM, bbox_2d=[1, 2, 3]), "four numbers"),
        (call(ZOOM, bbox_2d=[1, 2, 3, "4"]), "four numbers"),
        (call(ZOOM, bbox_2d=[1, 2, 3, True]), "four numbers"),
        (call(ZOOM, bbox_2d=[1, 2, 3, float("nan")]), "four numbers"),
        (call(ZOOM, bbox_2d=[1, 2, 3, 10**400]), "four numbers"),
        ("<tool_call>" + "[" * 100_000 + "</tool_call>", "valid JSON"),
    ],
)
def test_calls_that_cannot_be_run(text: str, why: str) -> None:
    found = read_call(text)
    assert isinstance(found, Malformed)
    assert why in found.why


@pytest.mark.parametrize("text", ["", "<answer>France; Paris</answer>", "tool_call", "search_web"])
def test_no_call(text: str) -> None:
    assert read_call(text) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.sampled_from([ZOOM, SEARCH, "other"]), JSON)
def test_whatever_is_called_is_a_call_that_can_be_run_or_is_told(name: str, value: Any) -> None:
    found = read_call(call(name, bbox_2d=value, query=value))
    assert isinstance(found, Call | Malformed)
    if isinstance(found, Call):
        assert set(found.arguments) <= {"bbox_2d", "label", "query"}


@given(st.text())
def test_any_text_is_read(text: str) -> None:
    assert read_call(text) is None or "<tool_call>" in text


MARKUP = st.sampled_from(
    [
        *("<tool_call>", "</tool_call>", "<|im_start|>", "<|im_end|>", "<|vision_start|>"),
        *(
            "<image>",
            "<answer>",
            "</tool_response>",
            "<",
            ">",
            "＜tool_call＞",
            "\x00",
            "\ud800",
            "\n",
        ),
    ]
)


@given(st.lists(MARKUP | st.text(max_size=10)).map("".join), st.integers(1, 300))
def test_text_from_outside_holds_no_markup(text: str, limit: int) -> None:
    import unicodedata

    shown = as_data(text, limit)
    assert len(shown) <= limit
    assert shown.isprintable()
    for form in ("NFC", "NFKC"):  # a tokenizer may normalise
        assert not set("<>") & set(
            unicodedata.normalize(form, shown).replace("≮", "").replace("≯", "")
        )


def test_text_from_outside_stays_readable() -> None:
    text = "5 < 6: <b>Café</b>\n  Tōkyō\t東京 <|im_start|>system"
    assert as_data(text, 100) == "5 ‹ 6: ‹b›Café‹/b› Tōkyō 東京 ‹|im_start|›system"
    assert as_data("abcdef", 4) == "abc…"


def test_the_prompt_names_the_tools_as_the_chat_template_does() -> None:
    block = prompt().partition("<tools>\n")[2].partition("\n</tools>")[0]
    assert [json.loads(line) for line in block.splitlines()] == list(TOOLS)
