"""An answer's text → coordinates, without a network."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

from geoagent.answer import split_parts
from geoagent.errors import UsageError
from geoagent.geo.distance import great_circle_km
from geoagent.geo.gazetteer import LEVELS, Entry, gazetteer
from geoagent.geo.names import core, fold, says_nothing, without_hedge

MAX_QUERY: Final = 1000
"""Characters of a query that are read; no address is that long."""

NEARBY_KM: Final = 250.0
"""A city this near to the centre of a named region may be meant although it isn't in it."""

NEAR_COUNTY_KM: Final = 75.0
"""As `NEARBY_KM`, of a county."""

LARGE_CITY: Final = 25_000
"""People of a city whose own name is that of the region that it is in, or near, to be meant,"""

LARGE_SHARE: Final = 0.25
"""and of the region's people in a city that has the name among others."""

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
    "RS": ("XK",),
    "MA": ("EH",),
    "IL": ("PS",),
}
"""Countries whose answers may name, as the region, what has an ISO code of its own
("China; Hong Kong; …"). GeoNames lists those cities under that code only."""

_CLAIMED: Final = {"RU": ("UA", ("11", "20")), "IE": ("GB", ("NIR",))}
"""And what GeoNames lists as first-level divisions of another country: Crimea and Sevastopol,
Northern Ireland."""

_UNITS: Final = r"(?:(?<=^中国)|(?<=^中國)|(?<=[省市县縣盟旗])|(?<=自治区)|(?<=自治州))(?=\w{2})"
"""Between '安徽省' and '合肥市'."""
_CONTINENTS: Final = frozenset(
    {"africa", "antarctica", "asia", "europe", "north america", "south america", "oceania"}
    | {"latin america", "central america", "middle east", "southeast asia", "australia oceania"}
)
_LABEL: Final = re.compile(
    r"^\W*(?:\d+[.)]\s*)?(?:(?:final )?answer|continent|country|nation|region|state|province|county"
    r"|district|city|town|village|place|address|(?:specific |precise |exact )?location"
    r"|país|pays|land|paese|región|région|regione|ciudad|ville|stadt|città|страна|регион|город"
    r"|国家|國家|国|省份|省|地区|城市|城市名)(?:\s*[:：=]\s*|\s+[-–]\s+)|^\W*\d+[.)]\s+",
    re.IGNORECASE,
)
"""'City: Cusco', '2. Cusco'"""
_OTHER_SEPARATORS: Final = (
    r"[,，、]",
    r"[\r\n]+",
    r"[|/·•]",
    r"\s*[>→]\s*",
    r" (?:[-–—]|->) ",
    _UNITS,
)
"""Of parts, where there is no semicolon."""
_SEPARATORS: Final = re.compile(rf"[,，、/|()（）]| [-–—] | or |{_UNITS}")
"""Between names of one part: 'Bolzano/Bozen', 'Luyang, Hefei', 'Saigon (Ho Chi Minh City)'."""
_MAX_NAMES: Final = 6
_MAX_PARTS: Final = 8


@dataclass(frozen=True)
class Place:
    """Where a text is. `level` is the finest level that matched: city, county, region or
    country."""

    query: str
    latitude: float
    longitude: float
    level: str
    country_code: str
    matched: str
    misspelt: bool = False
    """Whether a name was taken for a slip of the pen: 'Muncih' for Munich."""


def geocode(text: str) -> Place | None:
    """Locate "Country; Region; Place" (or two parts, or more, or a country alone).

    What is not known is dropped from the end, as GeoAgent does when its geocoder finds nothing;
    None if not even the country is known. The order may be the other way round. Of several cities
    the largest in the named region counts, else the nearest to it within 250 km (Moscow is not in
    Moscow Oblast, but Chaoyang in Chongqing is not what "Beijing; Chaoyang" means), and without a
    known region the largest in the country. A part may list several names, separated by commas:
    the first known one counts. Slips of the pen are forgiven (`Gazetteer.similar`) where nothing
    has the very name. How texts are read: docs/decisions/0060. UsageError for what is no text.
    """
    if not isinstance(text, str):
        raise UsageError(f"an address is a text, not {type(text).__name__}")
    entry = find(text)
    if entry is None:
        return None
    return Place(
        text,
        entry.latitude,
        entry.longitude,
        entry.level,
        entry.country_code,
        entry.name,
        entry.misspelt,
    )


def find(text: str) -> Entry | None:
    """What `geocode` finds, as the gazetteer has it."""
    return _find(text[:MAX_QUERY])


def geocode_many(texts: Iterable[Any]) -> list[Place | None]:
    """`geocode` of each text; equal texts are looked up once, and what is no text is None."""
    if isinstance(texts, str):
        raise UsageError("geocode_many: expected several texts, not one; geocode takes one")
    return [geocode(text) if isinstance(text, str) else None for text in texts]


@lru_cache(maxsize=100_000)
def _find(text: str) -> Entry | None:
    return _read(_parts(text))


def _parts(text: str) -> list[str]:
    """The parts of an address, without labels ('City: …') and the continent. Without semicolons,
    what makes the most parts separates them, commas before lines, bars and dashes."""
    parts: Sequence[str] = split_parts(text)
    if len(parts) == 1 and not _country(parts[0]):
        ways = [_split(separator, parts[0]) for separator in _OTHER_SEPARATORS]
        parts = max(ways, key=len)
    parts = [_LABEL.sub("", part) for part in parts[:_MAX_PARTS]]
    if all(map(says_nothing, parts)):
        return []
    # 'NA' is also Namibia.
    parts = parts[:1] + [part for part in parts[1:] if not says_nothing(part)]
    if len(parts) > 1 and fold(parts[0]) in _CONTINENTS and _home(parts[1]):
        return parts[1:]
    if len(parts) > 1 and fold(parts[-1]) in _CONTINENTS and _home(parts[-2]):
        return parts[:-1]
    return parts


def _split(separator: str, text: str) -> list[str]:
    return [part.strip() for part in re.split(separator, text) if part.strip()]


def _read(parts: list[str]) -> Entry | None:
    """The parts from the country on, or from the place on if that tells more. A country whose name
    is misspelt counts only where the first part is none and what is finer is in it."""
    if not parts:
        return None
    home = _home(parts[0])
    found = [_inside(home, parts[1:])] if home else []
    # "United States; Florida; Columbia" is no Florida in Colombia.
    if len(parts) > 1 and _coarse(found) and (country := _home(parts[-1])):
        found.append(_inside(country, parts[-2::-1]))
    if home is None and _coarse(found):
        for first, *rest in [parts, parts[::-1]] if len(parts) > 1 else [parts]:
            for country in gazetteer().similar("country", "", first):
                place = replace(_inside(country, rest), misspelt=True)
                if place.level != "country" or not rest:
                    found.append(place)
    return max(found, key=lambda place: LEVELS.index(place.level), default=None)


def _coarse(places: list[Entry]) -> bool:
    """Whether none of them is more than a country."""
    return all(place.level == "country" for place in places)


def _country(part: str) -> Entry | None:
    """A country by its name, also as 'Korea, South', which is not 'Seoul, South Korea'."""
    country = gazetteer().country
    return country(part) or next(filter(None, map(country, _turned(_pieces(part)))), None)


def _home(part: str) -> Entry | None:
    """A country, also where more is said: 'Türkiye (Turkey)', 'USA (Alaska)', 'likely Peru'."""
    if country := _country(part):
        return country
    names = map(without_hedge, _pieces(part))
    return next(filter(None, map(gazetteer().country, names)), None)


def _inside(country: Entry, parts: list[str]) -> Entry:
    """The finest place in a country that its parts, from coarse to fine, name."""
    if not parts:
        return country
    if len(parts) == 1:
        pieces = _pieces(parts[0])
        for order in (pieces, pieces[::-1]) if len(pieces) > 1 else ():
            if gazetteer().region(country.country_code, order[0]):  # "MN, Saint Louis County"
                return _inside(country, order)
        return _region_or_city(country, parts[0])
    if _country(parts[0]) == country and not gazetteer().region(country.country_code, parts[0]):
        return _inside(country, parts[1:])  # "Puerto Rico; Puerto Rico; Yauco"
    parts = _region_first(country.country_code, parts)
    home, area = _area(country, parts[0])
    code = home.country_code
    if area is None:
        return _without_area(home, parts)
    if area.level == "county" and fold(parts[0]) == core(parts[0]):
        cities = gazetteer().cities(code, parts[0])  # San Andrés is an island, then a county
        area = next((city for city in cities if city.population > area.population), area)
    found = _finest(code, parts[1:], area)
    if found is None and area.level == "county":  # "China; Hefei; Some Lane 5"
        found = _city(code, parts[0], area)
    return found or area


def _region_first(code: str, parts: list[str]) -> list[str]:
    """A region's very name comes first where the first part is a city in it, or nothing that is
    known: "United States; Portland; Maine"."""
    known = gazetteer()
    if len(parts) == 1 or known.is_region(code, parts[0]):
        return parts
    for number, part in enumerate(parts[1:], start=1):
        if known.is_region(code, part) and (region := known.region(code, part)):
            ordered = [part, *parts[:number], *parts[number + 1 :]]
            if any(city.within(region) for city in known.cities(code, parts[0])):
                return ordered
            if not known.region(code, parts[0]) and not known.counties(code, parts[0]):
                return ordered
    return parts


def _without_area(home: Entry, parts: list[str]) -> Entry:
    """Where the first part is no division. It may be a city ("China; Hefei; Luyang"), be misspelt,
    or say nothing: of "US; Midwest; Chicago" the largest is meant."""
    code = home.country_code
    city = _city(code, parts[0], None)
    areas = [city] if city else _misspelt_areas(code, parts[0])
    for area in areas:
        if found := _finest(code, parts[1:], area):
            return replace(found, misspelt=found.misspelt or area.misspelt)
    found = _finest(code, parts[1:], None)
    if found is None or (city and city.population >= found.population):
        return next(iter(areas), home)
    return found


def _finest(code: str, parts: list[str], area: Entry | None) -> Entry | None:
    """What the last of the parts that is known names."""
    for part in reversed(parts):
        for find in (_very_county, _city, _county):
            if found := find(code, part, area):
                return found
    for part in reversed(parts):
        if found := _misspelt(code, part, area):
            return found
    return None


def _region_or_city(country: Entry, part: str) -> Entry:
    """Two parts may end in a region or in a city. Its very name decides: Nevada is the state
    although a town in Iowa has that name, Kansas City is the city although it is 'Kansas' but
    for the kind. A region's city of the same name is the more precise answer: New York."""
    home, area = _area(country, part)
    code = home.country_code
    if area is not None and area.level == "region" and gazetteer().is_region(code, part):
        city = _city(code, part, area)
        return city if city and _stands_for(city, area, part) else area
    return (
        _city(code, part, None)
        or area
        or (home if home is not country else None)
        or next(iter(_misspelt_areas(code, part)), None)
        or _misspelt(code, part, None)
        or home
    )


def _stands_for(city: Entry, region: Entry, name: str) -> bool:
    """Whether a city, not its region, is meant by a name of the region: New York and Buenos Aires,
    but not Oklahoma (City) nor Texas (City)."""
    if fold(city.name) == fold(name):
        return city.population >= LARGE_CITY
    return city.population >= LARGE_SHARE * region.population


def _area(country: Entry, part: str) -> tuple[Entry, Entry | None]:
    """The region or county that a part names, and the country or territory that it is in."""
    names = gazetteer()
    region = None
    for name in _names(part):
        if region is None:
            region = names.region(country.country_code, name)
        else:  # "MN, Saint Louis County"
            inside = [
                one for one in names.counties(country.country_code, name) if one.within(region)
            ]
            if inside:
                return country, inside[0]
    if region is not None:
        return country, region
    owner, divisions = _CLAIMED.get(country.country_code, ("", ()))
    for name in _names(part):
        claimed = names.region(owner, name) if owner else None
        home = names.country(owner)
        if claimed and home and claimed.region in divisions:
            return home, claimed
        territory = names.country(name)
        if territory and territory.country_code in _DEPENDENT.get(country.country_code, ()):
            return territory, None
        if counties := names.counties(country.country_code, name):
            return country, counties[0]
    return country, None


def _misspelt_areas(code: str, part: str) -> list[Entry]:
    return gazetteer().similar("region", code, part)[:1]


def _city(code: str, part: str, area: Entry | None) -> Entry | None:
    """In the area by any name, else near it."""
    found = [_cities(code, name) for name in _names(part)]
    near_km = NEAR_COUNTY_KM if area is not None and area.level == "county" else NEARBY_KM
    for around_km in (0.0, near_km):
        for cities in found:
            if city := _nearest(cities, area, around_km):
                return city
    return None


def _cities(code: str, name: str) -> Sequence[Entry]:
    """Of a name that another country has, only cities that have it for their own: "India; Italy" is
    no town in India, but Lebanon is one in the United States."""
    cities = gazetteer().cities(code, name)
    country = gazetteer().country(name) if cities else None
    if country is None or country.country_code == code:
        return cities
    return [city for city in cities if fold(city.name) == fold(name)]


def _county(code: str, part: str, area: Entry | None) -> Entry | None:
    for name in _names(part):
        if found := _nearest(gazetteer().counties(code, name), area, 0.0):
            return found
    return None


def _very_county(code: str, part: str, area: Entry | None) -> Entry | None:
    """A county whose own name this is, where that tells more than a city would have: King County is
    not King City."""
    found = _county(code, part, area) if fold(part) != core(part) else None
    return found if found and fold(found.name) == fold(part) else None


def _misspelt(code: str, part: str, area: Entry | None) -> Entry | None:
    for name in _names(part):
        if found := _nearest(gazetteer().similar("city", code, name), area, 0.0):
            return found
    return None


def _nearest(places: Sequence[Entry], area: Entry | None, around_km: float) -> Entry | None:
    """The first of the places that is in the area; without any, the nearest one outside; without
    an area, the first."""
    if area is None or not places:
        return next(iter(places), None)
    inside = next((place for place in places if place.within(area)), None)
    if inside is not None or around_km == 0.0:
        return inside
    away = great_circle_km(
        area.latitude,
        area.longitude,
        [place.latitude for place in places],
        [place.longitude for place in places],
    )
    best = int(away.argmin())
    return places[best] if away[best] <= around_km else None


@lru_cache(maxsize=10_000)
def _names(part: str) -> list[str]:
    """The part as it stands, 'Zagreb, Grad' turned round, then what is between its commas, and
    'Moab' of 'near Moab'."""
    pieces = _pieces(part)
    plain = (without_hedge(name) for name in (part, *pieces))
    return list(dict.fromkeys([part, *_turned(pieces), *pieces, *plain]))[:_MAX_NAMES]


def _pieces(part: str) -> list[str]:
    pieces = (piece.strip() for piece in _SEPARATORS.split(part))
    return [piece for piece in pieces if piece][:_MAX_NAMES]


def _turned(pieces: list[str]) -> list[str]:
    return [f"{pieces[1]} {pieces[0]}"] if len(pieces) == 2 else []
