"""By whose rules predictions are judged: GeoAgent's, which are the default, or GeoVista's.

Each says which names of an answer are right, and what is a distance.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from geoagent.answer import parse, parse_coordinates, split_parts
from geoagent.geo.distance import EARTH_RADIUS_KM
from geoagent.geo.regions import finest_level

Row = Mapping[str, Any]
LEVELS: Final = ("country", "region", "city")
"""Of names, the coarsest first."""
Judgement = tuple[int, int]
"""How many of LEVELS are right, and which of them the truth names, as bits from the country's."""
UNJUDGED: Final = (-1, -1)
"""Of a row without an answer's text or without true names."""
_ALL: Final = 0b111
_LONG: Final = 1000
"""Longer texts are not remembered, so that a hundred thousand of them fit into memory."""
_DIGIT: Final = re.compile(r"\d")


class Missing:
    """Stands for the answer of a sample that nothing was predicted for."""


@dataclass(frozen=True)
class Rules:
    """How rows are judged."""

    name: str
    texts: Callable[[Sequence[Row]], list[str]]
    """What is read of each row."""
    right: Callable[[str, str, str, str], int]
    """How many of LEVELS are right: of such a text, for a true country, region and city."""
    all_count: bool = False
    """Also rows whose truth lacks the name, which cannot be right then."""
    radius_km: float = EARTH_RADIUS_KM
    fallback: tuple[float, float] | None = None
    """Where an answer counts as lying that is nowhere, in degrees; None: infinitely far away."""
    without_distance: str | None = None
    """`data_type` of rows that have no part in distances."""
    nearest_rank: bool = False
    """The median is the ⌈n/2⌉-th distance."""
    below_km: float | None = None
    """One more threshold, which a distance must be below."""
    verify: Callable[[Sequence[Row]], list[Judgement]] | None = None
    """Judges the names of rows instead of `texts` and `right`."""


def judge(rows: Sequence[Row], rules: Rules) -> list[Judgement]:
    """The judgement of each row; ValueError if a text is none."""
    if rules.verify is not None:
        return rules.verify(rows)
    truths = true_names(rows)
    pairs = list(zip(rules.texts(rows), truths, strict=True))
    found = {
        (text, truth): (rules.right(text, *truth), _ALL if rules.all_count else named(*truth))
        for text, truth in set(pairs)
    }
    return [
        found[pair] if is_judgeable(row) else UNJUDGED
        for pair, row in zip(pairs, rows, strict=True)
    ]


def is_judgeable(row: Row) -> bool:
    return "country" in row and ("answer" in row or "completion" in row)


def true_names(rows: Sequence[Row]) -> list[tuple[str, str, str]]:
    """Of LEVELS, "" where a truth has none; ValueError if one is not a text."""
    return list(zip(*(_texts(rows, level) for level in LEVELS), strict=True))


def named(country: str, region: str, city: str) -> int:
    """Which of LEVELS the truth names, as bits from the country's. Below a country without a name,
    nothing can be right."""
    return 0b001 | bool(region) << 1 | bool(city) << 2 if country else 0


def answer_text(row: Row) -> str:
    """The text of a row's answer, or nothing. ValueError if it is not a text."""
    if "answer" not in row and "completion" in row:
        return parse(row["completion"]).answer or ""
    return _text(row, "answer")


def _texts(rows: Sequence[Row], name: str) -> list[str]:
    values = [row.get(name) for row in rows]
    if set(map(type, values)) <= {str, type(None)}:
        return [value or "" for value in values]
    return [_text(row, name) for row in rows]


def _text(row: Row, name: str) -> str:
    value = row.get(name)
    if value is None or isinstance(value, Missing):
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{name}: {json.dumps(value)[:40]} is not a text")
    return value


# --- GeoAgent --------------------------------------------------------------------------------


def answers(rows: Sequence[Row]) -> list[str]:
    """The text of each row's answer, or nothing. An answer in coordinates names the country, region
    and city that these are in. ValueError if one is not a text."""
    if all("answer" in row for row in rows):
        texts = _texts(rows, "answer")
    else:
        texts = [answer_text(row) for row in rows]
    names = _names_of_points(texts)
    return [names.get(text, text) for text in texts] if names else texts


def _names_of_points(texts: Iterable[str]) -> dict[str, str]:
    """Answers in coordinates → "Country; Region; City", or nothing for those at sea."""
    read = {text: parse_coordinates(text) for text in texts if _DIGIT.search(text)}
    points = {text: point for text, point in read.items() if point}
    if not points:
        return {}
    from geoagent.geo.reverse import reverse_many

    latitudes, longitudes = zip(*points.values(), strict=True)
    spots = reverse_many(latitudes, longitudes)
    return {text: spot.address if spot else "" for text, spot in zip(points, spots, strict=True)}


def _by_names(answer: str, *truth: str) -> int:
    """Part by part, with the gazetteer's names."""
    return (_remembered_names if len(answer) <= _LONG else _names_right)(answer, *truth)


def _names_right(answer: str, *truth: str) -> int:
    level = finest_level(split_parts(answer), *truth)
    return LEVELS.index(level) + 1 if level else 0


_remembered_names: Final = lru_cache(maxsize=100_000)(_names_right)


# --- GeoVista --------------------------------------------------------------------------------

_RESPONSE: Final = 4000
"""Characters of a response that are looked at."""
_WORD: Final = re.compile("[a-z0-9]+")


def _responses(rows: Sequence[Row]) -> list[str]:
    """What is looked at; coordinates stand for the names of the place that they are in, of which
    GeoVista, whose models write names, says nothing."""
    answers = [answer_text(row) for row in rows]
    names = _names_of_points(answers)
    return [
        f"{_text(row, 'completion')[:_RESPONSE] if 'completion' in row else answer[:_RESPONSE]} "
        f"{names.get(answer, '')}"
        for row, answer in zip(rows, answers, strict=True)
    ]


def _by_terms(response: str, *truth: str) -> int:
    """The finest name of the truth that is anywhere in the response; it implies the coarser ones.
    After folding, a whole term is one between spaces."""
    text = f" {_terms(response)} "
    terms = [_terms(name) for name in truth]
    found = [depth for depth, term in enumerate(terms, 1) if term and f" {term} " in text]
    return max(found, default=0)


def _terms(text: str) -> str:
    return (_remembered_terms if len(text) <= _LONG else _folded)(text)


def _folded(text: str) -> str:
    """Lower-case ASCII letters and digits, with single spaces between words."""
    ascii_only = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return " ".join(_WORD.findall(ascii_only.lower()))


_remembered_terms: Final = lru_cache(maxsize=100_000)(_folded)


GEOAGENT: Final = Rules("geoagent", answers, _by_names)
GEOVISTA: Final = Rules(
    "geovista",
    _responses,
    _by_terms,
    all_count=True,
    radius_km=6371.0088,
    fallback=(-9.4306698, 159.9526758),  # "honiara, guadalcanal, solomon islands"
    without_distance="planetary",
    nearest_rank=True,
    below_km=3.0,
)
RULES: Final = {rules.name: rules for rules in (GEOAGENT, GEOVISTA)}
