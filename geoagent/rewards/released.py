"""How the released GeoAgent code reads a completion, for `rewards.parity: published`.

Source: github.com/HVision-NKU/GeoAgent, swift/plugin/orm.py. Its regular expressions take time
that grows with the square of some texts; these functions find the same in one pass.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from geoagent.answer import MAX_CHARACTERS

_BETWEEN: Final = re.compile(r"</think>\s*<answer>")
_TAGS: Final = {
    name: (re.compile(f"<{name}>", re.IGNORECASE), re.compile(f"</{name}>", re.IGNORECASE))
    for name in ("think", "answer")
}
STAGES: Final = {
    "country": "CountryIdentification",
    "region": "RegionalGuess",
    "precise": "PreciseLocalization",
}


def has_format(text: str) -> bool:
    """`<think>…</think>`, white space, `<answer>…</answer>` from the first character to the
    last; further tags inside are let pass, white space around is not."""
    if not (text.startswith("<think>") and text.endswith("</answer>")):
        return False
    between = _BETWEEN.search(text, len("<think>"))
    return between is not None and between.end() <= len(text) - len("</answer>")


def tagged(text: str, name: str) -> str | None:
    """Text of the first `think` or `answer` element, in any case of letters."""
    opening, closing = _TAGS[name]
    start = opening.search(text)
    end = closing.search(text, start.end()) if start else None
    return text[start.end() : end.start()].strip() if start and end else None


def answer(text: str) -> str:
    """The answer element; without one the whole completion (semantic)."""
    found = tagged(text, "answer")
    return (text if found is None else found).strip()


def final_answer(text: str) -> str:
    """The answer element; without one the FinalAnswer of any JSON in the text (spatial)."""
    found = tagged(text, "answer")
    if found is None:
        found = str(_braces(text).get("FinalAnswer", ""))
    return found.strip()


def chain(text: str) -> dict[str, dict[str, Any]] | None:
    """The three stages by level; None unless all are there with clues, reasoning as text and
    conclusion, in JSON that needs no repair (consistency)."""
    think = tagged(text, "think")
    stages = _braces(text if think is None else think).get("ChainOfThought")
    if not isinstance(stages, dict):
        return None
    found = {level: stages.get(name) for level, name in STAGES.items()}
    for stage in found.values():
        if not isinstance(stage, dict) or not {"Clues", "Reasoning", "Conclusion"} <= stage.keys():
            return None
        if not isinstance(stage["Reasoning"], str):
            return None
    return found  # type: ignore[return-value]


def _braces(text: str) -> dict[str, Any]:
    """The JSON object from the first brace to the last; {} if that is none."""
    start, end = text.find("{"), text.rfind("}")
    if not 0 <= start < end or end - start > MAX_CHARACTERS:
        return {}
    try:
        value = json.loads(text[start : end + 1])
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
