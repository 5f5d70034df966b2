"""An answer's text → coordinates, without a network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from geoagent.answer import split_parts
from geoagent.geo.gazetteer import Entry, gazetteer


@dataclass(frozen=True)
class Place:
    """Where a text is. `level` is the finest level that matched: city, region or country."""

    query: str
    latitude: float
    longitude: float
    level: str
    country_code: str
    matched: str


@lru_cache(maxsize=100_000)
def geocode(text: str) -> Place | None:
    """Locate "Country; Region; Place" (two or three parts, or a country alone).

    What does not match is dropped from the end, as GeoAgent does when its geocoder finds nothing;
    None if not even the country is known. A city of the named region is preferred; the place may
    list several names, separated by commas, of which the first that is known counts.
    """
    parts = split_parts(text[:1000])
    if not parts:
        return None
    names = gazetteer()
    country = names.country(parts[0])
    if country is None:
        return None
    territory = names.country(parts[1]) if len(parts) > 1 else None
    if territory is not None and territory != country:  # "China; Hong Kong; …"
        country = territory
    region = _region(parts[1], country.country_code) if len(parts) > 1 else None
    # A middle part that is a known region is not looked for among the cities.
    for part in parts[2:3] or parts[1:2]:
        city = _city(part, country.country_code, region)
        if city is not None:
            return _place(text, city)
    if region is None and len(parts) > 2:
        city = _city(parts[1], country.country_code, None)
        if city is not None:
            return _place(text, city)
    return _place(text, region or country)


def _region(part: str, country_code: str) -> Entry | None:
    for name in (part, *part.split(",")):
        region = gazetteer().region(country_code, name)
        if region is not None:
            return region
    return None


def _city(part: str, country_code: str, region: Entry | None) -> Entry | None:
    for name in (part, *part.split(",")):
        found = gazetteer().cities(country_code, name)
        if found:
            inside = [city for city in found if region and city.region == region.region]
            return (inside or found)[0]
    return None


def _place(query: str, entry: Entry) -> Place:
    return Place(
        query, entry.latitude, entry.longitude, entry.level, entry.country_code, entry.name
    )
