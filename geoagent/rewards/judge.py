"""Did the model judge a prediction rightly?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from geoagent.answer import parse
from geoagent.errors import UsageError
from geoagent.rewards.base import Reward, Score

_LABELS: Final = {"true": True, "false": False, "1": True, "0": False}


class Judge(Reward):
    """GRE RL-I: 1 if the model's True or False is the label, else 0.

    The label says whether the prediction's error is under a threshold: True or False, 1 or 0, or
    either as text. Without an answer element the whole completion has to be the one word.
    """

    name = "judge"
    columns = ("label",)

    def score(self, completions: Sequence[str], **columns: Any) -> list[Score]:
        labels = self.column(columns, "label", len(completions))
        return [
            self._one(text, self._label(label))
            for text, label in zip(completions, labels, strict=True)
        ]

    def _label(self, value: object) -> bool:
        try:
            return read_label(value)
        except ValueError as error:
            raise UsageError(f"reward judge: {error}") from error

    @staticmethod
    def _one(text: str, label: bool) -> Score:
        answer = parse(text).answer
        said = (text if answer is None else answer).strip().rstrip(".").casefold()
        return Score(float(said == str(label).casefold()))


def read_label(value: object) -> bool:
    """A row's label; ValueError if it is none."""
    text = str(value).strip().casefold()
    if text not in _LABELS:
        raise ValueError(f"label: {text[:40]!r} is not True or False")
    return _LABELS[text]
