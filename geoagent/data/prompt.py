"""What the model is asked, in training, evaluation and `geoagent locate`: where a photo was taken,
or whether an answer to that is right."""

from __future__ import annotations

from typing import Final

from geoagent.rollout.tools import as_data

QUESTION: Final = (
    "Where was this photo taken? Reason in <think> from country to region to place, then give "
    "<answer>Country; Region; Specific location</answer>."
)
"""For an address."""
_COORDINATES: Final = (
    "Where was this photo taken? Reason in <think> from country to region to place, then give "
    "<answer>Latitude: DEGREES, Longitude: DEGREES</answer>, as decimal numbers that are negative "
    "in the south and in the west."
)
_JUDGE: Final = (
    "A model was asked where this photo was taken. It reasoned: «{chain}» Its answer was: "
    "«{answer}» Is this answer near the place where the photo was taken? Reason in <think>, then "
    "give <answer>True</answer> or <answer>False</answer>."
)
_QUOTES: Final = str.maketrans("«»", "‹›")
"""A text that is shown cannot end its own frame."""
_CHAIN, _ANSWER = 8000, 400
"""Bytes of UTF-8 that are shown of each: 8,000 are some 2,000 tokens of English, or of Chinese."""


def question(answer: str) -> str:
    """What is asked about a photo, for an answer in the form that `data.answer` names: `address` or
    `coordinates`."""
    return {"address": QUESTION, "coordinates": _COORDINATES}[answer]


def coordinates_answer(latitude: float, longitude: float) -> str:
    """A point in degrees as an answer in coordinates; five decimals are a metre."""
    return f"Latitude: {latitude:.5f}, Longitude: {longitude:.5f}"


def judge_question(predicted_cot: str, predicted_answer: str) -> str:
    """What is asked about a photo and another model's answer (GRE's RL-I).

    Chain and answer are shown as data: markup in them is harmless, and what is too long is cut.
    """
    chain, answer = _shown(predicted_cot, _CHAIN), _shown(predicted_answer, _ANSWER)
    return _JUDGE.format(chain=chain, answer=answer)


def _shown(text: str, most: int) -> str:
    shown = as_data(text, most).translate(_QUOTES) or "(nothing)"
    raw = shown.encode()
    return shown if len(raw) <= most else raw[: most - 3].decode(errors="ignore") + "…"
