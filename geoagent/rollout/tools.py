"""The tools that a model may call, and what it calls in a completion.

Names, arguments and the form of a call are GeoVista's (arXiv 2511.15705), which are those of
Qwen's chat template: `<tool_call>{"name": …, "arguments": {…}}</tool_call>`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from geoagent.answer import MAX_CHARACTERS, parse

ZOOM: Final = "image_zoom_in_tool"
SEARCH: Final = "search_web"
_MAX_LABEL: Final = 200

TOOLS: Final[tuple[dict[str, Any], ...]] = (
    {
        "type": "function",
        "function": {
            "name": ZOOM,
            "description": "Zoom in on a part of the image.",
            "parameters": {
                "type": "object",
                "properties": {
                    "bbox_2d": {
                        "type": "array",
                        "items": {"type": "number"},
                        "minItems": 4,
                        "maxItems": 4,
                        "description": "The part as [x1, y1, x2, y2], in pixels of the image.",
                    },
                    "label": {"type": "string", "description": "What is to be seen there."},
                },
                "required": ["bbox_2d"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": SEARCH,
            "description": "Search the web; gives titles, snippets and addresses of pages.",
            "parameters": {
                "type": "object",
                "properties": {"query": {"type": "string", "description": "What to search for."}},
                "required": ["query"],
            },
        },
    },
)


@dataclass(frozen=True)
class Call:
    """A call of one of the tools whose arguments have the form that the schema asks for: `bbox_2d`
    is four finite numbers, `query` a text. Whether the box is in the image is not looked at."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Malformed:
    """A completion tries to call a tool, and no call in it can be run; `why` is for the model."""

    why: str


def read_call(completion: str) -> Call | Malformed | None:
    """The first valid call of a completion; None if it calls nothing. Never raises."""
    problems = []
    for call in parse(completion).tool_calls:
        problem = _problem(call.name, call.arguments)
        if problem is None:
            return Call(call.name, _known(call.name, call.arguments))
        problems.append(problem)
    if problems:
        return Malformed(problems[0])
    if "<tool_call>" in completion[:MAX_CHARACTERS]:
        return Malformed(
            'a call is <tool_call>{"name": NAME, "arguments": {…}}</tool_call>, with valid JSON'
        )
    return None


def _problem(name: str, arguments: Mapping[str, Any]) -> str | None:
    """Why a call cannot be run, if it cannot."""
    if name == ZOOM:
        box = arguments.get("bbox_2d")
        if not (isinstance(box, list) and len(box) == 4 and all(map(_is_number, box))):
            return "bbox_2d has to be four numbers: [x1, y1, x2, y2]"
    elif name == SEARCH:
        query = arguments.get("query")
        if not isinstance(query, str) or not query.strip():
            return "query has to be a text"
    else:
        return f"there is no such tool; there are {ZOOM} and {SEARCH}"
    return None


def _is_number(value: object) -> bool:
    """JSON of a model may hold NaN, Infinity, true, and integers beyond any float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _known(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments that the tool has, and no others."""
    if name == SEARCH:
        return {"query": arguments["query"].strip()}
    found: dict[str, Any] = {"bbox_2d": list(arguments["bbox_2d"])}
    if isinstance(label := arguments.get("label"), str) and label.strip():
        found["label"] = label.strip()[:_MAX_LABEL]
    return found


_MARKS: Final = str.maketrans({"<": "‹", ">": "›", "＜": "‹", "＞": "›", "﹤": "‹", "﹥": "›"})


def as_data(text: str, limit: int) -> str:
    """Text from outside (a page, a model's own argument) as it may stand in a tool's output.

    No markup is left: neither tags of calls and answers, nor tokens of chat templates
    (`<|im_start|>`), nor ms-swift's place-holders of images (`<image>`): all begin with `<`, which
    becomes `‹`. Control characters become spaces; more than `limit` characters are cut.
    """
    shown = text[: 4 * limit].translate(_MARKS)
    if not shown.isprintable():
        shown = "".join(letter if letter.isprintable() else " " for letter in shown)
    shown = " ".join(shown.split())
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"


def system_prompt() -> str:
    """The system message that tells a model of its tools, in the form of Qwen's chat template."""
    schemas = "\n".join(json.dumps(tool) for tool in TOOLS)
    return (
        "You are a helpful assistant.\n\n# Tools\n\n"
        "You may call one function a turn to assist with the user query.\n\n"
        "You are provided with function signatures within <tools></tools> XML tags:\n"
        f"<tools>\n{schemas}\n</tools>\n\n"
        "For a function call, return a json object with function name and arguments within "
        "<tool_call></tool_call> XML tags:\n<tool_call>\n"
        '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>\n\n'
        "Think first, within <think></think>, then either call a function or, once you are ready, "
        "answer within <answer></answer>."
    )
