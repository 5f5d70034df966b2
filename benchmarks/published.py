"""The released GeoAgent rewards as algorithms, written anew and plainly, to be compared with.

What the released reward code (arXiv 2602.12617) does with a batch: one completion after the other,
three questions to the agent one after the other, each over a connection of its own, with a random
pause of 10 to 50 ms after each; one call of the embedding model for each pair of names; one
request to an online geocoder for each answer. Only what costs time is here. Left out, in its
favour: the HTTP server between it and its embedding model, the pause of 0.1 s times the GPU's
number before the names, and asking the geocoder for the truth as well.
"""

from __future__ import annotations

import json
import math
import random
import re
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Final

import requests

STAGES: Final = ("CountryIdentification", "RegionalGuess", "PreciseLocalization")
WEIGHTS: Final = (0.1, 0.6, 0.3)
PAUSE_S: Final = (0.01, 0.05)


class Consistency:
    """Stage by stage; `pauses` as published, or without."""

    def __init__(self, url: str, pauses: bool, token: str = "", max_tokens: int = 512) -> None:
        self._url = f"{url}/chat/completions"
        self._pauses = pauses
        self._headers = {"Authorization": f"Bearer {token}"}
        self._max_tokens = max_tokens

    def __call__(self, completions: Sequence[str], **columns: Any) -> list[float]:
        return [self._one(text) for text in completions]

    def _one(self, text: str) -> float:
        found = re.search(r"<think>(.*?)</think>", text, re.DOTALL)
        chain = json.loads(found[1] if found else text)["ChainOfThought"]
        value = 0.0
        earlier: dict[str, str] = {}
        for stage, weight in zip(STAGES, WEIGHTS, strict=True):
            if stage not in chain:
                return 0.0
            said = self._ask(stage, chain[stage]["Reasoning"], earlier)
            earlier[stage] = chain[stage]["Conclusion"]
            agreed = said.replace(" ", "") == earlier[stage].replace(" ", "")
            value += weight * agreed * _length_factor(len(chain[stage]["Reasoning"]))
            if self._pauses:
                time.sleep(random.uniform(*PAUSE_S))
        return value

    def _ask(self, stage: str, reasoning: str, earlier: dict[str, str]) -> str:
        question = {"id": str(uuid.uuid4()), "stage": stage, "Reasoning": reasoning}
        asked = json.dumps({**question, "Previous conclusion": earlier}, ensure_ascii=False)
        messages = [
            {"role": "system", "content": "Infer the conclusion; reply with JSON."},
            {"role": "user", "content": asked},
        ]
        body: Any = {"messages": messages, "max_tokens": self._max_tokens, "temperature": 0.1}
        reply = requests.post(self._url, json=body, headers=self._headers, timeout=300).json()
        try:
            return str(json.loads(reply["choices"][0]["message"]["content"])["Conclusion"])
        except (ValueError, KeyError, TypeError):
            return ""


def _length_factor(characters: int) -> float:
    """0 below 90 characters of reasoning, 1 above 200, a sigmoid between."""
    if characters < 90 or characters > 200:
        return float(characters > 200)
    return 1 / (1 + math.exp(-8 * ((characters - 90) / 110 - 0.5)))


class Semantic:
    """Level by level, one call of the model for the two names of each pair."""

    def __init__(self, encode: Callable[[list[str]], Any]) -> None:
        self._encode = encode

    def __call__(
        self, completions: Sequence[str], *, solution: Sequence[str], **columns: Any
    ) -> list[float]:
        pairs = [
            list(zip(_fields(text), _fields(truth), strict=True))
            for text, truth in zip(completions, solution, strict=True)
        ]
        values = [0.0] * len(pairs)
        above = [1.0] * len(pairs)
        for level, (weight, gate) in enumerate(zip(WEIGHTS, (0.0, 0.7, 0.5), strict=True)):
            for number, three in enumerate(pairs):
                opened = above[number] >= gate and all(three[level])
                above[number] = self._similarity(*three[level]) if opened else 0.0
                values[number] += weight * above[number]
        return values

    def _similarity(self, first: str, second: str) -> float:
        one, two = self._encode([first, second])
        return min(max(float((one * two).sum()), 0.0), 1.0)


class Spatial:
    """One request an answer. What the reward makes of the distance takes no time."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/geocode"

    def __call__(self, completions: Sequence[str], **columns: Any) -> list[float]:
        for text in completions:
            requests.get(self._url, params={"q": "; ".join(_fields(text))}, timeout=30).json()
        return [0.0] * len(completions)


def _fields(text: str) -> list[str]:
    """The three names of an answer, "" where there is none."""
    found = re.search(r"<answer>\s*(.*?)\s*</answer>", text, re.DOTALL)
    parts = [part.strip() for part in re.split("[;；]", found[1] if found else text)]
    return [*parts, "", "", ""][:3]
