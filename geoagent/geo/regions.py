"""Is this text the same country, region or place as that one?"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from geoagent.geo.gazetteer import LEVELS as LEVELS_OF_PLACES
from geoagent.geo.gazetteer import Entry, gazetteer
from geoagent.geo.names import MAX_NAME, core, fold, says_nothing

LEVELS: Final = ("country", "region", "precise")


def same_place(first: str, second: str, level: str, country: str | None = None) -> bool:
    """Whether two names mean one place at a level (country, region or precise).

    They do if they are equal but for case, accents, punctuation and words such as 'City', or if
    the gazetteer has both as names of one entry: 'USA' and 'United States'; with the country's
    name or code given, also 'Bavaria' and 'Bayern', 'München' and 'Munich'. An empty name,
    or one such as 'unknown', is the same as nothing.
    """
    if level not in LEVELS:
        raise ValueError(f"level {level!r} is none of {LEVELS}")
    home = country[:MAX_NAME] if country else None
    return _same(first[:MAX_NAME], second[:MAX_NAME], level, home)


@lru_cache(maxsize=100_000)
def _same(first: str, second: str, level: str, country: str | None) -> bool:
    if says_nothing(first) or says_nothing(second):
        return False
    if fold(first) == fold(second):
        return True
    home = gazetteer().country(country) if country else None
    one, other = _entries(first, level, home), _entries(second, level, home)
    if one and other:
        return one[0] == other[0]
    return core(first) == core(second)


def _entries(name: str, level: str, home: Entry | None) -> list[Entry]:
    """What the gazetteer has under a name, the likeliest first; nothing without a country."""
    names = gazetteer()
    if level == "country":
        return _listed(names.country(name))
    if home is None:
        return []
    code = home.country_code
    found = names.cities(code, name) if level == "precise" else _listed(names.region(code, name))
    return found or names.counties(code, name)


def _listed(entry: Entry | None) -> list[Entry]:
    return [entry] if entry else []


def known_apart(first: str, second: str, level: str, country: str) -> bool:
    """Whether the gazetteer knows both names, as different places of the country."""
    if level not in LEVELS:
        raise ValueError(f"level {level!r} is none of {LEVELS}")
    home = gazetteer().country(country)
    one, other = _entries(first, level, home), _entries(second, level, home)
    if not one or not other:
        return False
    coarse, fine = sorted((one[0], other[0]), key=lambda entry: LEVELS_OF_PLACES.index(entry.level))
    return coarse != fine and not (coarse.level != fine.level and fine.within(coarse))
