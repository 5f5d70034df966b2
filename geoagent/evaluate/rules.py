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
from geoagent.geo.names import MAX_NAME
from geoagent.geo.regions import finest_level

Row = Mapping[str, Any]
LEVELS: Final = ("country", "region", "city")
"""Of names, the coarsest first."""
UNJUDGED: Final = -1
"""Of a row without an answer's text or without true names."""
Judgement = tuple[int, int]
"""How many of LEVELS are right; and which the truth names, as bits from the coarsest. UNJUDGED
twice."""
_ALL: Final = 0b111


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


_DIGIT: Final = re.compile(r"\d")


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
    answers = [answer_text(row) or "" for row in rows]
    points = {text: parse_coordinates(text) for text in answers if _DIGIT.search(text)}
    answers_of_points = _names_at({text: point for text, point in points.items() if point})
    return [
        _judgement(row, answers_of_points.get(text, text))
        for row, text in zip(rows, answers, strict=True)
    ]


def _names_at(points: Mapping[str, tuple[float, float]]) -> dict[str, str]:
    """Points that were written → "Country; Region; City", or nothing for those at sea."""
    if not points:
        return {}
    from geoagent.geo.reverse import reverse_many

    latitudes, longitudes = zip(*points.values(), strict=True)
    spots = reverse_many(latitudes, longitudes)
    return {
        text: "; ".join((spot.country, spot.region or spot.city, spot.city))
        if spot and spot.country
        else ""
        for text, spot in zip(points, spots, strict=True)
    }


def _judgement(row: Row, answer: str) -> Judgement:
    if not _judgeable(row):
        return UNJUDGED, UNJUDGED
    country, region, city = (_text(row, level) for level in LEVELS)
    named = 0b001 | bool(region) << 1 | bool(city) << 2 if country else 0
    return _right(answer, country, region, city), named


@lru_cache(maxsize=100_000)
def _right(answer: str, *truth: str) -> int:
    level = finest_level(split_parts(answer), *truth)
    return LEVELS.index(level) + 1 if level else 0


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
    response = f" {_terms((text or '')[:_RESPONSE])} "
    terms = [_terms(_text(row, level)) for level in LEVELS]
    found = [depth for depth, term in enumerate(terms, 1) if term and f" {term} " in response]
    return max(found, default=0), _ALL


def _terms(text: str) -> str:
    return _remembered(text) if len(text) <= MAX_NAME else _normalised(text)


def _normalised(text: str) -> str:
    """Lower-case ASCII letters and digits, with single spaces between words."""
    ascii_only = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return " ".join(_WORD.findall(ascii_only.lower()))


_WORD: Final = re.compile("[a-z0-9]+")
_remembered: Final = lru_cache(maxsize=100_000)(_normalised)


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
