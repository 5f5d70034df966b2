"""An answer's text → coordinates, without a network."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from geoagent.answer import split_parts
from geoagent.geo.distance import great_circle_km
from geoagent.geo.gazetteer import Entry, gazetteer

MAX_QUERY: Final = 1000
"""Characters of a query that are read; no address is that long."""

NEARBY_KM: Final = 250.0
"""A city this near to the centre of a named region may be meant although it isn't in it."""

_DEPENDENT: Final = {
    "CN": ("HK", "MO", "TW"),
    "US": ("PR", "GU", "VI", "AS", "MP"),
    "FR": ("GF", "GP", "MQ", "RE", "YT", "NC", "PF", "PM", "WF", "BL", "MF"),
    "GB": ("GI", "BM", "KY", "FK", "IM", "JE", "GG", "MS", "TC", "VG", "AI", "SH"),
    "NL": ("CW", "AW", "SX", "BQ"),
    "DK": ("GL", "FO"),
    "FI": ("AX",),
    "NO": ("SJ",),
    "AU": ("CX", "CC", "NF"),
    "NZ": ("CK", "NU", "TK"),
}
"""Countries whose answers may name, as the region, what has an ISO code of its own
("China; Hong Kong; …"). GeoNames lists those cities under that code only."""


@dataclass(frozen=True)
class Place:
    """Where a text is. `level` is the finest level that matched: city, region or country."""

    query: str
    latitude: float
    longitude: float
    level: str
    country_code: str
    matched: str


def geocode(text: str) -> Place | None:
    """Locate "Country; Region; Place" (two or three parts, or a country alone).

    What is not known is dropped from the end, as GeoAgent does when its geocoder finds nothing;
    None if not even the country is known. Of several cities the largest in the named region
    counts, else the nearest to it within 250 km (Moscow is not in Moscow Oblast, but Chaoyang in
    Chongqing is not what "Beijing; Chaoyang" means), and without a known region the largest in
    the country. A part may list several names, separated by commas: the first known one counts.
    """
    place = _geocode(text[:MAX_QUERY])
    return place and replace(place, query=text)


def geocode_many(texts: Iterable[str]) -> list[Place | None]:
    """`geocode` of each text; equal texts are looked up once."""
    return [geocode(text) for text in texts]


@lru_cache(maxsize=100_000)
def _geocode(text: str) -> Place | None:
    parts = split_parts(text)
    country = gazetteer().country(parts[0]) if parts else None
    if country is None:
        return None
    entry = country
    if len(parts) == 2:
        entry = _region_or_city(country, parts[1])
    elif len(parts) > 2:
        entry = _city_of_region(country, parts[1], parts[2])
    return Place(text, entry.latitude, entry.longitude, entry.level, entry.country_code, entry.name)


def _region_or_city(country: Entry, part: str) -> Entry:
    """Two parts may end in a region or in a city. Its very name decides: Nevada is the state
    although a town in Iowa has that name, Kansas City is the city although it is 'Kansas' but
    for the kind. A region's city of the same name is the more precise answer: New York."""
    home, region = _region(country, part)
    code = home.country_code
    if region is not None and gazetteer().is_region(code, part):
        return _city(code, part, region, around_km=0.0) or region
    return _city(code, part, None) or region or home


def _city_of_region(country: Entry, middle: str, last: str) -> Entry:
    """Three parts; the middle one may also be a city ("China; Hefei; Luyang")."""
    home, region = _region(country, middle)
    city = _city(home.country_code, last, region)
    if city is None and region is None:
        city = _city(home.country_code, middle, None)
    return city or region or home


def _region(country: Entry, part: str) -> tuple[Entry, Entry | None]:
    """The region that a part names, and the country or territory that it is in."""
    names = gazetteer()
    for name in _names(part):
        region = names.region(country.country_code, name)
        if region is not None:
            return country, region
        territory = names.country(name)
        if territory and territory.country_code in _DEPENDENT.get(country.country_code, ()):
            return territory, None
    return country, None


def _city(
    country_code: str, part: str, region: Entry | None, around_km: float = NEARBY_KM
) -> Entry | None:
    for name in _names(part):
        found = gazetteer().cities(country_code, name)
        if region is not None:
            found = _of_region(found, region, around_km)
        if found:
            return found[0]
    return None


def _of_region(cities: Sequence[Entry], region: Entry, around_km: float) -> list[Entry]:
    """The cities in a region, largest first; without any, the nearest one outside."""
    inside = [city for city in cities if city.region == region.region]
    if inside or not cities:
        return inside
    away = {
        city: great_circle_km(region.latitude, region.longitude, city.latitude, city.longitude)
        for city in cities
    }
    nearest = min(cities, key=away.__getitem__)
    return [nearest] if away[nearest] <= around_km else []


def _names(part: str) -> list[str]:
    """The part as it stands, then what is between its commas."""
    return list(dict.fromkeys([part, *part.replace("，", ",").split(",")[:5]]))
