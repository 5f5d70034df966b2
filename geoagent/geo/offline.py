"""The built-in gazetteer in the form of geopy's geocoders.

The only module of this package that imports geopy when it is imported: a class needs its base.
"""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import asdict
from typing import Any

from geopy.adapters import BaseAsyncAdapter
from geopy.exc import GeocoderQueryError
from geopy.geocoders.base import DEFAULT_SENTINEL, Geocoder
from geopy.location import Location
from geopy.point import Point

from geoagent.geo.gazetteer import gazetteer
from geoagent.geo.geocoder import Place, geocode


class OfflineGeocoder(Geocoder):
    """A geocoder for programs that use geopy: `Nominatim(user_agent=…)` becomes
    `OfflineGeocoder()`, and nothing is sent anywhere.

    Takes the arguments of geopy's `Geocoder`; of these only `adapter_factory` has an effect: with
    an asynchronous adapter the methods return awaitables, as geopy's do. `timeout` is accepted and
    not needed: a place takes about a millisecond, and the first about a second.
    """

    def geocode(
        self, query: str, *, exactly_one: bool = True, timeout: Any = DEFAULT_SENTINEL
    ) -> Any:
        """A `Location`, or None if nothing is found; a list of one with `exactly_one=False`.

        `address` goes from fine to coarse ("Huaraz, Ancash, Peru"), `raw` has the fields of
        `geoagent.geo.geocoder.Place`. GeocoderQueryError for a query that is no text.
        """
        if not isinstance(query, str):
            raise GeocoderQueryError(f"a query is a text, not {type(query).__name__}")
        place = geocode(query)
        return self._answer(place and _located(place), exactly_one)

    def reverse(
        self, query: Any, *, exactly_one: bool = True, timeout: Any = DEFAULT_SENTINEL
    ) -> Any:
        """The `Location` with the address of a point, given in any form that geopy's `Point`
        takes; None where there is no country (at sea), a list of one with `exactly_one=False`.

        The address is that of the country's nearest city, however far: `raw`, which has the fields
        of `geoagent.geo.reverse.Spot`, says its `distance_km`. ValueError if it is no point.
        """
        from geoagent.geo.reverse import reverse

        point = _point(query)
        spot = reverse(point.latitude, point.longitude)
        if spot is None or spot.country is None:
            return self._answer(None, exactly_one)
        inside = spot.city_country_code == spot.country_code  # Antarctica has no city
        names = (spot.city, spot.region, spot.country) if inside else (spot.country,)
        return self._answer(Location(_address(*names), point, asdict(spot)), exactly_one)

    def _answer(self, location: Any, exactly_one: bool) -> Any:
        result = location if exactly_one or location is None else [location]
        return _later(result) if isinstance(self.adapter, BaseAsyncAdapter) else result


def _later(result: Any) -> Coroutine[Any, Any, Any]:
    async def answer() -> Any:
        return result

    return answer()


def _point(query: Any) -> Any:
    """geopy's Point, which takes None for 0° N 0° E, and raises TypeError for some other things."""
    try:
        if query is not None:
            return Point(query)
    except TypeError:
        pass
    raise ValueError(f"{query!r} is no point, such as '-9.53, -77.53' or (-9.53, -77.53)")


def _located(place: Place) -> Any:
    country = gazetteer().country(place.country_code)
    names = [place.matched, country.name if country else None]
    if place.level not in ("country", "region"):
        names.insert(1, _region(place))
    return Location(_address(*names), (place.latitude, place.longitude), asdict(place))


def _region(place: Place) -> str | None:
    """Name of the first-level division that a place finer than that is in."""
    from geoagent.geo.reverse import reverse

    spot = reverse(place.latitude, place.longitude)
    return spot.region if spot and spot.country_code == place.country_code else None


def _address(*names: str | None) -> str:
    """Names from fine to coarse; Singapore is city, region and country, and is said once."""
    return ", ".join(dict.fromkeys(name for name in names if name))
