"""The built-in gazetteer in the form of geopy's geocoders.

The only module of this package that imports geopy when it is imported: a class needs its base.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from geopy.adapters import BaseAsyncAdapter
from geopy.exc import GeocoderQueryError
from geopy.geocoders.base import DEFAULT_SENTINEL, Geocoder
from geopy.location import Location
from geopy.point import Point

from geoagent.geo.gazetteer import Entry, gazetteer
from geoagent.geo.geocoder import Place, find, geocode

_STRUCTURE: Final = ("country", "state", "county", "city")
"""Parts of a structured query, from coarse to fine."""


class OfflineGeocoder(Geocoder):
    """A geocoder for programs that use geopy: `Nominatim(user_agent=…)` becomes
    `OfflineGeocoder(user_agent=…)`, and nothing is sent anywhere.

    Takes the arguments of geopy's `Geocoder`; of these only `adapter_factory` has an effect: with
    an asynchronous adapter the methods return awaitables, as geopy's do. `timeout` is accepted and
    not needed: a place takes about a millisecond, and the first about a second.
    """

    def geocode(
        self,
        query: str | Mapping[str, str],
        *,
        exactly_one: bool = True,
        timeout: Any = DEFAULT_SENTINEL,
        country_codes: str | Sequence[str] | None = None,
        language: str | bool = False,
        limit: int | None = None,
        addressdetails: bool = False,
        namedetails: bool = False,
        extratags: bool = False,
        geometry: str | None = None,
        viewbox: Any = None,
        bounded: bool = False,
        featuretype: str | None = None,
    ) -> Any:
        """A `Location`, or None if nothing is found; a list of one with `exactly_one=False`.

        A query is a text or, as for Nominatim, a mapping with `country`, `state`, `county`, `city`
        (and `street`, `postalcode`, which nothing is known of). `country_codes` (ISO, one or
        several) keeps what is in these countries. The other arguments of geopy's Nominatim are
        accepted and have no effect: there is never more than one place, names are English, and
        `raw` has all that is known.

        `address` goes from fine to coarse ("Huaraz, Ancash, Peru"), `raw` has the fields of
        `geoagent.geo.geocoder.Place`. GeocoderQueryError for any other query.
        """
        text = _text(query)
        entry, place = find(text), geocode(text)
        codes = [country_codes] if isinstance(country_codes, str) else country_codes
        if (
            entry is None
            or place is None
            or (codes and entry.country_code not in {code.upper() for code in codes})
        ):
            return self._answer(None, exactly_one)
        return self._answer(_located(entry, place), exactly_one)

    def reverse(
        self,
        query: Any,
        *,
        exactly_one: bool = True,
        timeout: Any = DEFAULT_SENTINEL,
        language: str | bool = False,
        addressdetails: bool = True,
        namedetails: bool = False,
        zoom: int | None = None,
    ) -> Any:
        """The `Location` with the address of a point, given in any form that geopy's `Point`
        takes; None where there is no country (at sea), a list of one with `exactly_one=False`.

        The address is that of the country's nearest city, however far: `raw`, which has the fields
        of `geoagent.geo.reverse.Spot`, says its `distance_km`. Other arguments have no
        effect. ValueError if it is no point.
        """
        from geoagent.geo.reverse import reverse

        point = _point(query)
        spot = reverse(point.latitude, point.longitude)
        if spot is None or spot.country is None:
            return self._answer(None, exactly_one)
        inside = spot.city_country_code == spot.country_code  # Antarctica has no city
        names = (spot.main_city, spot.region, spot.country) if inside else (spot.country,)
        return self._answer(Location(_address(*names), point, asdict(spot)), exactly_one)

    def _answer(self, location: Any, exactly_one: bool) -> Any:
        result = location if exactly_one or location is None else [location]
        return _later(result) if isinstance(self.adapter, BaseAsyncAdapter) else result


def _later(result: Any) -> Coroutine[Any, Any, Any]:
    async def answer() -> Any:
        return result

    return answer()


def _text(query: Any) -> str:
    """A query as one text, from coarse to fine."""
    if isinstance(query, str):
        return query
    if not isinstance(query, Mapping):
        raise GeocoderQueryError(f"a query is a text or a mapping, not {type(query).__name__}")
    if unknown := query.keys() - {*_STRUCTURE, "street", "postalcode"}:
        raise GeocoderQueryError(f"{unknown.pop()!r} is no part of a query; {_STRUCTURE} are")
    return "; ".join(str(query[part]) for part in _STRUCTURE if query.get(part))


def _point(query: Any) -> Any:
    """geopy's Point, which takes None for 0° N 0° E, and raises TypeError for some other things."""
    try:
        if query is not None:
            return Point(query)
    except TypeError:
        pass
    raise ValueError(f"{query!r} is no point, such as '-9.53, -77.53' or (-9.53, -77.53)")


def _located(entry: Entry, place: Place) -> Any:
    country = gazetteer().country(entry.country_code)
    names = [place.matched, country.name if country else None]
    if entry.level not in ("country", "region"):
        names.insert(1, gazetteer().region_name(entry.country_code, entry.region))
    return Location(_address(*names), (place.latitude, place.longitude), asdict(place))


def _address(*names: str | None) -> str:
    """Names from fine to coarse; Singapore is city, region and country, and is said once."""
    return ", ".join(dict.fromkeys(name for name in names if name))
