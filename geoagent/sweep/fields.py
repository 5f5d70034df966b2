"""Parts of a sweep's YAML, each checked as it is read."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from geoagent.config import REWARD_NAMES
from geoagent.errors import UsageError, nearest
from geoagent.stages import STAGES, check_stages

LONGEST_NAME: Final = 60
_FIGURES: Final = (
    "count",
    "parse_rate",
    "geocoded_rate",
    "accuracy_1km",
    "accuracy_3km",
    "accuracy_25km",
    "accuracy_200km",
    "accuracy_750km",
    "accuracy_2500km",
    "geoscore",
    "median_km",
    "country_accuracy",
    "region_accuracy",
    "city_accuracy",
    "mean_reward",
    "sampled_mean_reward",
    *(f"{group}.{name}" for group in ("rewards", "sampled_rewards") for name in REWARD_NAMES),
)
"""Figures of a model in metrics.json that a sweep's table can have as columns."""
_COUNTS: Final = ("named.", "failures.", "verifier.", "agent.")
"""Groups of counts there; which ones there are depends on the evaluation."""
_NAME: Final = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{LONGEST_NAME - 1}}}")


def check_fields(values: Any, known: Sequence[str], source: str) -> Mapping[str, Any]:
    """The mapping, if it has no other keys than these; those that are null are left out."""
    if not isinstance(values, Mapping):
        raise UsageError(f"{source}: expected keys and values ({', '.join(known)})")
    for key in values:
        if key not in known:
            raise UsageError(f"{source}: {key}: unknown key; {nearest(str(key), known)}")
    return {key: value for key, value in values.items() if value is not None}


def check_name(name: str, source: str) -> str:
    """The name, if it can be a folder's."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{source}: {name!r} is no name of a folder (at most {LONGEST_NAME} letters, digits, "
            "'.', '_', '-')"
        )
    return name


def short_keys(keys: Sequence[str]) -> dict[str, str]:
    """By dotted key, its shortest tail that no other has; all of it where there is none."""
    tails = Counter(tail for key in keys for tail in _tails(key))
    return {key: next((tail for tail in _tails(key) if tails[tail] == 1), key) for key in keys}


def _tails(key: str) -> list[str]:
    parts = key.split(".")
    return [".".join(parts[-length:]) for length in range(1, len(parts) + 1)]


def texts(values: Any, source: str) -> list[str]:
    """The list, if it is one of different texts."""
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise UsageError(f"{source}: expected a list of texts")
    for value in values:
        if values.count(value) > 1:
            raise UsageError(f"{source}: {value} is there twice")
    return values


def metric_names(values: Any, source: str) -> tuple[str, ...]:
    """Figures of metrics.json; UsageError for one that no evaluation can have."""
    if values == []:
        raise UsageError(f"{source}: empty; name keys of metrics.json, or take it out")
    names = texts(values, source)
    for name in names:
        if name not in _FIGURES and not name.startswith(_COUNTS):
            raise UsageError(f"{source}: {name}: no such figure; {nearest(name, _FIGURES)}")
    return tuple(names)


def whole(value: Any, low: int, source: str) -> int:
    """The value, if it is a whole number of at least `low`."""
    if type(value) is not int or value < low:
        raise UsageError(f"{source}: {value!r} is not a whole number of at least {low}")
    return value


def stage_names(values: Any, source: str) -> tuple[str, ...]:
    """Names of stages, in their order."""
    names = texts(values, source)
    try:
        check_stages(names)
    except UsageError as error:
        raise UsageError(f"{source}: {error}") from error
    return tuple(stage for stage in STAGES if stage in names)


def seed_numbers(values: Any, source: str) -> tuple[int, ...]:
    if not isinstance(values, list) or not values:
        raise UsageError(f"{source}: expected a list of whole numbers such as [0, 1, 2]")
    found = tuple(whole(value, 0, source) for value in values)
    for seed in found:
        if found.count(seed) > 1:
            raise UsageError(f"{source}: {seed} is there twice")
    return found


def published_benchmark(name: Any, source: str) -> str:
    """The name, if figures of that benchmark are known."""
    from geoagent.report.published import benchmarks, published

    if isinstance(name, str) and published(name):
        return name
    raise UsageError(
        f"{source}: no figures of '{name}' are known; {nearest(str(name), benchmarks())}"
    )


def published_row(name: Any, benchmark: str | None, source: str) -> str:
    """The name, if the benchmark has a row of published figures that is called so."""
    from geoagent.report.published import published

    if benchmark is None:
        raise UsageError(f"{source}: of which benchmark? say so in the sweep's own published:")
    found = published(benchmark)
    names = [row.name for row in found.rows] if found else []
    if name not in names:
        raise UsageError(f"{source}: {benchmark} has no row '{name}'; {nearest(str(name), names)}")
    return str(name)
