"""Which episodes are worth learning from: in our form, with tools, and with the right answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from geoagent.answer import Completion, parse
from geoagent.evaluate.rows import located
from geoagent.evaluate.rules import LEVELS
from geoagent.geo.distance import great_circle_km
from geoagent.geo.regions import finest_level
from geoagent.rewards.format import Format

if TYPE_CHECKING:
    from geoagent.data.record import Record
    from geoagent.rollout.environment import Turn

_RUN: Final = ("zoom", "search")
"""What became of a call that was run."""


@dataclass(frozen=True)
class Standard:
    """What is asked of an episode: an answer that is right down to `level`, by the rules of the
    hierarchical reward, or, with `within_km`, no further away than that; and so many calls."""

    level: str = LEVELS[-1]
    within_km: float | None = None
    calls: int = 1

    def lacks(self, record: Record) -> str | None:
        """Why no answer for this record could be told to be right; None if one could."""
        if self.within_km is None and not getattr(record, self.level):
            return f"{self.level}: the record names none"
        return None

    def fault(self, record: Record, turns: Sequence[Turn]) -> str | None:
        """Why an episode that is over is not kept; None if it is. What its last words say does not
        matter before the form is right."""
        last = turns[-1]
        ran = [turn.observation.why for turn in turns[:-1]]
        if refused := next((why for why in ran if why not in _RUN), None):
            return f"a call was refused: {refused}"
        if last.observation.why != "answer":
            return f"ended without an answer: {last.observation.why}"
        completions = [turn.completion for turn in turns]
        if Format()(completions[-1:], trace=[completions]) != [1.0]:
            return "malformed: not <think>…</think> and then a call or the answer"
        if len(ran) < self.calls:
            return f"too few calls of tools ({len(ran)})"
        return self._wrong(record, parse(last.completion))

    def _wrong(self, record: Record, said: Completion) -> str | None:
        if self.within_km is None:
            found = finest_level(said.parts, record.country, record.region, record.city)
            right = found is not None and LEVELS.index(found) >= LEVELS.index(self.level)
            return None if right else f"the answer is wrong (right level: {found or 'none'})"
        place = located(said)
        point = place["predicted_latitude"], place["predicted_longitude"]
        if None in point:
            return "the answer is wrong (nowhere on the map)"
        distance = great_circle_km(record.latitude, record.longitude, *point)
        return None if distance <= self.within_km else f"the answer is wrong ({distance:.0f} km)"
