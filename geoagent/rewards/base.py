"""What a reward is."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from geoagent.answer import LEVELS, parse, split_parts
from geoagent.config import LevelWeights
from geoagent.errors import UsageError
from geoagent.rollout.trace import written

Part = float | str | None


@dataclass(frozen=True)
class Score:
    """One completion's reward, and what it was made of (for curves and for looking at it)."""

    value: float
    parts: Mapping[str, Part] = field(default_factory=dict)


class Reward(ABC):
    """A function of a batch: completions and ground-truth columns of equal length → scores."""

    name: ClassVar[str]
    columns: ClassVar[tuple[str, ...]] = ()
    """Ground-truth columns that must be there."""
    optional: ClassVar[tuple[str, ...]] = ()
    """Columns that it reads where they are."""

    @abstractmethod
    def score(self, completions: Sequence[str], **columns: Any) -> list[Score]:
        """Scores in the order of the completions. OutageError if a service is away, UsageError
        if a column is missing or holds what it must not; neither ever becomes a 0."""

    def __call__(self, completions: Sequence[str], **columns: Any) -> list[float]:
        """Only the values, as trainers want them."""
        return [score.value for score in self.score(completions, **columns)]

    def column(self, columns: Mapping[str, Any], name: str, length: int) -> Sequence[Any]:
        """A ground-truth column; UsageError if it is missing or not as long as the batch."""
        values = columns.get(name)
        if values is None:
            raise UsageError(f"reward {self.name}: column '{name}' is missing from the dataset")
        if isinstance(values, str) or len(values) != length:
            raise UsageError(f"reward {self.name}: column '{name}' does not fit the batch")
        return list(values)

    def texts(self, columns: Mapping[str, Any], name: str, length: int) -> list[str]:
        """A column of texts; UsageError names the first row that has none."""
        values = self.column(columns, name, length)
        for row, value in enumerate(values):
            if not isinstance(value, str):
                raise UsageError(f"reward {self.name}: column '{name}', row {row}: not a text")
        return list(values)

    def traces(self, completions: Sequence[str], columns: Mapping[str, Any]) -> list[Sequence[str]]:
        """What the model wrote in each rollout, turn by turn: the column `trace`, whose items are
        lists of texts or what `Episode.trace` gives; without one, the completion alone."""
        if columns.get("trace") is None:
            return [[text] for text in completions]
        traces = self.column(columns, "trace", len(completions))
        return [
            [text] if trace is None else self._written(trace)
            for text, trace in zip(completions, traces, strict=True)
        ]

    def _written(self, trace: object) -> list[str]:
        try:
            return written(trace)
        except ValueError as error:
            raise UsageError(
                f"reward {self.name}: column 'trace': {str(trace)[:40]!r} is no list of completions"
            ) from error

    def points(self, columns: Mapping[str, Any], length: int) -> list[tuple[float, float]]:
        """The columns latitude and longitude in degrees; UsageError where they are not."""
        names = ("latitude", "longitude")
        both = [
            [self._degrees(value, name) for value in self.column(columns, name, length)]
            for name in names
        ]
        return list(zip(*both, strict=True))

    def _degrees(self, value: object, name: str) -> float:
        try:
            number = float(value)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            number = math.nan
        if not abs(number) <= (90.0 if name == "latitude" else 180.0):
            raise UsageError(
                f"reward {self.name}: column '{name}': {str(value)[:40]!r} is not a number of "
                "degrees in range"
            )
        return number


def truth_parts(solution: str) -> tuple[str, ...]:
    """Parts of a true answer, with or without its `<answer>` tags."""
    return parse(solution).parts if "<answer>" in solution else split_parts(solution)


def three_levels(parts: Sequence[str]) -> list[str]:
    """Parts as the three levels, "" where there are fewer; the third takes what is beyond."""
    levels = [*parts[:2], "; ".join(parts[2:])]
    return levels[:3] + [""] * (3 - len(levels))


def shares(weights: LevelWeights, key: str) -> dict[str, float]:
    """Weights by level that sum to 1, so that a reward stays in 0…1; `key` is for the error."""
    values = {level: getattr(weights, level) for level in LEVELS}
    total = sum(values.values())
    if not (total > 0 and math.isfinite(total) and min(values.values()) >= 0):
        raise UsageError(f"{key}: {values} are no weights (0 or more, not all 0)")
    return {level: value / total for level, value in values.items()}
