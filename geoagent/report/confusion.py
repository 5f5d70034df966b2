"""Which countries are taken for which others."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from geoagent.answer import split_parts
from geoagent.geo.countries import statistics
from geoagent.geo.gazetteer import gazetteer
from geoagent.geo.reverse import reverse_many
from geoagent.report.load import Predictions

SHOWN: Final = 12
_NOWHERE: Final = "-"
_AT_SEA: Final = "~"
_NO_COUNTRY: Final = {_NOWHERE: "not located", _AT_SEA: "out at sea"}


@dataclass(frozen=True)
class Mistake:
    """`count` of the `of` images of the country `truth` were placed in `predicted`."""

    truth: str
    predicted: str
    count: int
    of: int


@dataclass(frozen=True)
class Confusion:
    """`known` images have a true country; `right` of them were placed in it. `mistakes` are the
    most frequent, `kinds` is how many there are."""

    known: int
    right: int
    mistakes: tuple[Mistake, ...]
    kinds: int


def confusion(predictions: Predictions) -> Confusion:
    """Countries of the truth against those of the prediction.

    The truth's is its country code, else its country's name, else the country at its coordinates.
    The prediction's is the one that the answer names first, else the country at the predicted
    point; that may be out at sea, and without a point the image was not located.
    """
    truths = _truths(predictions)
    said = _said(predictions)
    pairs = Counter(
        (truth, answer) for truth, answer in zip(truths, said, strict=True) if truth is not None
    )
    of = Counter(truth for truth in truths if truth is not None)
    wrong = [(pair, count) for pair, count in pairs.items() if pair[0] != pair[1]]
    wrong.sort(key=lambda item: (-item[1], _name(item[0][0]), _name(item[0][1])))
    return Confusion(
        known=sum(of.values()),
        right=sum(count for (truth, answer), count in pairs.items() if truth == answer),
        mistakes=tuple(
            Mistake(_name(truth), _name(answer), count, of[truth])
            for (truth, answer), count in wrong[:SHOWN]
        ),
        kinds=len(wrong),
    )


def _truths(predictions: Predictions) -> list[str | None]:
    codes = [
        code.upper() if code else _code(name)
        for code, name in zip(predictions.country_code, predictions.country, strict=True)
    ]
    return _filled(codes, predictions, 0)


def _said(predictions: Predictions) -> list[str]:
    named = [_code(next(iter(split_parts(answer)), "")) for answer in predictions.answer]
    filled = _filled(named, predictions, 2)
    distances = predictions.distance_km.tolist()
    return [_placed(*one) for one in zip(filled, distances, strict=True)]


def _filled(codes: Sequence[str | None], predictions: Predictions, column: int) -> list[str | None]:
    """Where there is no code yet, that of the country at the point in these columns."""
    missing = [index for index, code in enumerate(codes) if code is None]
    points = predictions.places[missing, column : column + 2]
    filled = list(codes)
    for index, spot in zip(missing, reverse_many(*points.T), strict=True):
        filled[index] = spot.country_code if spot is not None else None
    return filled


def _placed(code: str | None, distance: float) -> str:
    if math.isnan(distance):  # whatever the answer names, it was nowhere
        return _NOWHERE
    return code or _AT_SEA


@lru_cache(maxsize=50_000)
def _code(name: str) -> str | None:
    entry = gazetteer().country(name) if name else None
    return entry.country_code if entry is not None else None


def _name(code: str) -> str:
    known = statistics(code)
    return known.name if known else _NO_COUNTRY.get(code, code)
