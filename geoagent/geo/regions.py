"""Is this text the same country, region or city as that one?"""

from __future__ import annotations

from functools import lru_cache

from geoagent.geo.gazetteer import gazetteer
from geoagent.geo.names import core

LEVELS = ("country", "region", "precise")


@lru_cache(maxsize=100_000)
def same_place(first: str, second: str, level: str, country_code: str | None = None) -> bool:
    """Whether two names mean one place: equal after folding and without words such as 'City',
    or known aliases of one entry (countries everywhere; regions and cities if `country_code` is
    given). Empty names are the same as nothing. `level` is country, region or precise.
    """
    if level not in LEVELS:
        raise ValueError(f"level {level!r} is none of {LEVELS}")
    if not core(first) or not core(second):
        return False
    if core(first) == core(second):
        return True
    names = gazetteer()
    if level == "country":
        one, other = names.country(first), names.country(second)
        return one is not None and one == other
    if country_code is None:
        return False
    if level == "region":
        one, other = names.region(country_code, first), names.region(country_code, second)
        return one is not None and one == other
    cities, others = names.cities(country_code, first), names.cities(country_code, second)
    return bool(cities) and bool(others) and cities[0] == others[0]
