"""Is this text the same country, region or place as that one?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from geoagent.geo.gazetteer import LEVELS as LEVELS_OF_PLACES
from geoagent.geo.gazetteer import Entry, gazetteer
from geoagent.geo.names import MAX_NAME, core, fold, says_nothing

LEVELS: Final = ("country", "region", "precise")
_KEPT: Final = 200_000
"""Names whose entries are remembered."""


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
    ours, theirs = fold(first), fold(second)
    if ours == theirs:
        return True
    one, other = _entry(first, level, country), _entry(second, level, country)
    if one and other:
        return one == other
    return core(first) == core(second)


@lru_cache(maxsize=_KEPT)
def _entry(name: str, level: str, country: str | None) -> Entry | None:
    """What a name likeliest means to the gazetteer; nothing below a country that is not known."""
    names = gazetteer()
    if level == "country":
        return names.country(name)
    home = _entry(country, "country", None) if country else None
    if home is None:
        return None
    own = "city" if level == "precise" else "region"
    code = home.country_code
    return names.likeliest(own, code, name) or names.likeliest("county", code, name)


def known_apart(first: str, second: str, level: str, country: str) -> bool:
    """Whether the gazetteer knows both names, as different places of the country."""
    if level not in LEVELS:
        raise ValueError(f"level {level!r} is none of {LEVELS}")
    one, other = (_entry(name[:MAX_NAME], level, country[:MAX_NAME]) for name in (first, second))
    if not one or not other:
        return False
    coarse, fine = sorted((one, other), key=lambda entry: LEVELS_OF_PLACES.index(entry.level))
    return coarse != fine and not (coarse.level != fine.level and fine.within(coarse))


def finest_level(parts: Sequence[str], country: str, region: str, city: str) -> str | None:
    """The finest level of an answer's parts that is right: country, region, city, or None.

    A right city implies its region, however that is written, but never its country: there is a
    Paris in Texas. Nor if the answer names another region that the gazetteer knows: there are
    Springfields in many states. In an answer of two parts the second may be either.
    """
    if not parts or not same_place(parts[0], country, "country"):
        return None
    if len(parts) == 1:
        return "country"
    middle, last = parts[1], parts[-1]
    if same_place(last, city, "precise", country) and not (
        len(parts) > 2 and known_apart(middle, region, "region", country)
    ):
        return "city"
    return "region" if same_place(middle, region, "region", country) else "country"
