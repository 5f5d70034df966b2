"""By whose rules predictions are judged: GeoAgent's, which are the default, or GeoVista's.

Each says which names of an answer are right, and what is a distance.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from geoagent.answer import parse, parse_coordinates, split_parts
from geoagent.geo.distance import EARTH_RADIUS_KM
from geoagent.geo.regions import finest_level

Row = Mapping[str, Any]
LEVELS: Final = ("country", "region", "city")
"""Of names, the coarsest first."""
UNJUDGED: Final = -1
"""Of a row without an answer's text or without true names."""
Judgement = tuple[int, int]
"""How many of LEVELS are right, and how many the truth names; UNJUDGED twice."""


class Missing:
    """Stands for the answer of a sample that nothing was predicted for."""


@dataclass(frozen=True)
class Rules:
    """How rows are judged."""

    name: str
    judge: Callable[[Sequence[Row]], list[Judgement]]
    radius_km: float = EARTH_RADIUS_KM
    fallback: tuple[float, float] | None = None
    """Where an answer counts as lying that is nowhere, in degrees; None: infinitely far away."""
    without_distance: str | None = None
    """`data_type` of rows that have no part in distances."""
    nearest_rank: bool = False
    """The median is the ⌈n/2⌉-th distance."""
    below_km: float | None = None
    """One more threshold, which a distance must be below."""


# --- GeoAgent --------------------------------------------------------------------------------


def answer_text(row: Row) -> str | None:
    """The text of a row's answer; None without one. ValueError if it is not a text."""
    if "answer" not in row and "completion" in row:
        return parse(row["completion"]).answer
    answer = row.get("answer")
    if answer is None or isinstance(answer, Missing):
        return None
    return _text(row, "answer")


def _by_names(rows: Sequence[Row]) -> list[Judgement]:
    """Part by part, with the gazetteer's names. An answer in coordinates names the country, region
    and city that these are in. What the truth doesn't name is not judged."""
    answers = [answer_text(row) for row in rows]
    points = [parse_coordinates(text) if text else None for text in answers]
    named = iter(_names_at([point for point in points if point]))
    parts = [
        next(named) if point else split_parts(text or "")
        for text, point in zip(answers, points, strict=True)
    ]
    return [_judgement(row, names) for row, names in zip(rows, parts, strict=True)]


def _names_at(points: Sequence[tuple[float, float]]) -> list[tuple[str, ...]]:
    """Country, region and city of points; nothing for those at sea."""
    if not points:
        return []
    from geoagent.geo.reverse import reverse_many

    latitudes, longitudes = zip(*points, strict=True)
    spots = reverse_many(latitudes, longitudes)
    return [
        (spot.country, spot.region or spot.city, spot.city) if spot and spot.country else ()
        for spot in spots
    ]


def _judgement(row: Row, parts: Sequence[str]) -> Judgement:
    if not _judgeable(row):
        return UNJUDGED, UNJUDGED
    names = [_text(row, level) for level in LEVELS]
    named = next((depth for depth, name in enumerate(names) if not name), len(LEVELS))
    level = finest_level(parts, *names)
    return (LEVELS.index(level) + 1 if level else 0), named


def _judgeable(row: Row) -> bool:
    return "country" in row and ("answer" in row or "completion" in row)


def _text(row: Row, name: str) -> str:
    value = row.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{name}: {json.dumps(value)[:40]} is not a text")
    return value


# --- GeoVista --------------------------------------------------------------------------------

_RESPONSE: Final = 4000
"""Characters of a response that are looked at."""


def _by_terms(rows: Sequence[Row]) -> list[Judgement]:
    return [_terms_found(row) for row in rows]


def _terms_found(row: Row) -> Judgement:
    """The finest name of the truth that is anywhere in the response; it implies the coarser ones.
    Every row counts, whether or not the truth has the name."""
    if not _judgeable(row):
        return UNJUDGED, UNJUDGED
    text = _text(row, "completion") if "completion" in row else answer_text(row)
    response = f" {_normalised((text or '')[:_RESPONSE])} "
    terms = [_normalised_name(_text(row, level)) for level in LEVELS]
    found = [depth for depth, term in enumerate(terms, 1) if term and f" {term} " in response]
    return max(found, default=0), len(LEVELS)


def _normalised(text: str) -> str:
    """Lower-case ASCII letters and digits, with single spaces between words."""
    ascii_only = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return " ".join(re.sub(r"[^a-z0-9]+", " ", ascii_only.lower()).split())


@lru_cache(maxsize=100_000)
def _normalised_name(name: str) -> str:
    return _normalised(name)


GEOAGENT: Final = Rules("geoagent", _by_names)
GEOVISTA: Final = Rules(
    "geovista",
    _by_terms,
    radius_km=6371.0088,
    fallback=(-9.4306698, 159.9526758),  # "honiara, guadalcanal, solomon islands"
    without_distance="planetary",
    nearest_rank=True,
    below_km=3.0,
)
RULES: Final = {rules.name: rules for rules in (GEOAGENT, GEOVISTA)}
