"""Does what the model wrote have the form it was asked for?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from geoagent.answer import parse
from geoagent.rewards import released
from geoagent.rewards.base import Reward, Score
from geoagent.rollout.tools import Call, read_call


class Format(Reward):
    """1 for `<think>…</think><answer>…</answer>` and nothing else, each tag once, else 0
    (GeoAgent, `format`). White space around is no fault; `published` sees one in it, and lets
    further tags inside pass.

    Of a rollout with tools (column `trace`), all completions before the last have to be
    `<think>…</think><tool_call>…</tool_call>` with a call that can be read.
    """

    name = "format"
    optional = ("trace",)

    def __init__(self, published: bool = False) -> None:
        self.published = published

    def score(self, completions: Sequence[str], **columns: Any) -> list[Score]:
        traces = self.traces(completions, columns)
        return [Score(float(self._right(trace))) for trace in traces]

    def _right(self, trace: Sequence[str]) -> bool:
        *before, last = trace
        ends = released.has_format(last) if self.published else parse(last).well_formed
        return ends and all(map(_calls, before))


def _calls(text: str) -> bool:
    return parse(text).well_formed_call and isinstance(read_call(text), Call)
