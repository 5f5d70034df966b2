"""Ranges of values: a field has its own, and a value is in it or not."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any


def limited(
    default: Any,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    choices: Sequence[str] | None = None,
) -> Any:
    """Dataclass field with a range: low ≤ value ≤ high, value > above, or one of choices."""
    limits = {"low": low, "high": high, "above": above, "choices": choices}
    metadata = {name: limit for name, limit in limits.items() if limit is not None}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def out_of_range(value: Any, limits: Mapping[str, Any]) -> str | None:
    """What is wrong with a value of a field with these limits; None: nothing."""
    if value is None:
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value} is not a finite number"
    if "choices" in limits and value not in limits["choices"]:
        near = difflib.get_close_matches(str(value), limits["choices"], n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        return f"'{value}' is none of {', '.join(limits['choices'])}{hint}"
    if "low" in limits and value < limits["low"]:
        return f"{value} is out of range (at least {limits['low']})"
    if "high" in limits and value > limits["high"]:
        return f"{value} is out of range (at most {limits['high']})"
    if "above" in limits and value <= limits["above"]:
        return f"{value} is out of range (more than {limits['above']})"
    return None
