"""Names of places for rows that have coordinates only, and coordinates for those that have none."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

from geoagent.answer import parse
from geoagent.data.readers.fields import ANSWER
from geoagent.data.record import as_number

NEAR_KM: Final = 50.0
"""How far from a city's centre a point may be and still be named after the city."""
REVERSE: Final = "reverse"
_LEVELS: Final = ("country", "region", "city")


def name_places(rows: Sequence[dict[str, Any]]) -> None:
    """Give rows the country, region, city and country code that their publisher left out, in place.

    `place_from` says so: "reverse" if all come from the coordinates, "publisher, reverse" if some
    do. Region and city are added only in the country that the publisher names; a city more than
    50 km away is none. Rows without usable coordinates, and points at sea, stay as they are.
    """
    missing = [row for row in rows if not all(row.get(level) for level in _LEVELS)]
    if missing:
        _name(missing)
    for row in rows:
        if not row.get("country_code") and isinstance(row.get("country"), str):
            row["country_code"] = _code(row["country"])


def _name(missing: Sequence[dict[str, Any]]) -> None:
    from geoagent.geo.reverse import reverse_many

    points = [(as_number(row.get("latitude")), as_number(row.get("longitude"))) for row in missing]
    spots = reverse_many([one for one, _ in points], [other for _, other in points])
    for row, spot in zip(missing, spots, strict=True):
        if spot is None or spot.country_code is None:
            continue
        near = spot.city_country_code == spot.country_code and spot.distance_km <= NEAR_KM
        names = {
            "country": spot.country,
            "region": spot.region,
            "city": spot.main_city if near else None,
            "country_code": spot.country_code,
        }
        _add(row, names)


def _add(row: dict[str, Any], names: dict[str, str | None]) -> None:
    stated = row.get("country")
    if stated:
        code = row.get("country_code") or _code(str(stated))
        if code != names["country_code"]:
            return
    new = {level: names[level] for level in _LEVELS if not row.get(level) and names[level]}
    if not stated:
        row.pop("address", None)
    if new:
        row |= new
        row["country_code"] = names["country_code"]
        row["place_from"] = f"publisher, {REVERSE}" if stated else REVERSE


@lru_cache(maxsize=10_000)
def _code(country: str) -> str:
    from geoagent.geo.gazetteer import gazetteer

    entry = gazetteer().country(country)
    return entry.country_code if entry else ""


def locate_answer(row: dict[str, Any]) -> None:
    """Coordinates for a row that has none, out of the answer of its conversation: those that it
    gives, or its address geocoded. `coordinates_from` says so; nothing is done if neither works."""
    from geoagent.evaluate.rows import located

    if row.get("latitude") is not None or not isinstance(row.get(ANSWER), str):
        return
    place = located(parse(f"<answer>{row[ANSWER]}</answer>"))
    if place["predicted_latitude"] is not None:
        row["latitude"], row["longitude"] = (
            place["predicted_latitude"],
            place["predicted_longitude"],
        )
        row["coordinates_from"] = ANSWER
