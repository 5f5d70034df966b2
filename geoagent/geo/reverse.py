"""Coordinates → continent, country, first-level division and nearest city, without a network.

The country is that of the time zone's polygon around the point (timezonefinder; OpenStreetMap,
ODbL), since every zone but a few belongs to one country (tzdata's zone.tab, public domain). The
rest is that of the nearest city of this country in the gazetteer (GeoNames, CC BY 4.0).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from geoagent.errors import UsageError
from geoagent.geo.countries import statistics
from geoagent.geo.distance import EARTH_RADIUS_KM, great_circle_km
from geoagent.geo.gazetteer import gazetteer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

_SHARED: Final[dict[str, tuple[str, ...]]] = {
    "Europe/Belgrade": ("RS", "XK"),
    "Asia/Bangkok": ("TH", "VN"),
    "Europe/Oslo": ("NO", "SJ"),
}
"""Zones that cover land of a country that zone.tab doesn't list for them: Kosovo, whose code isn't
ISO's; the north of Vietnam, which had Bangkok's time; Jan Mayen. The nearest city decides."""
_OVERLAID: Final = ("Asia/Jerusalem", "Asia/Hebron")
"""Where the polygons of these two overlap, timezonefinder answers with the first. It is the West
Bank, which ISO 3166 and GeoNames count to PS."""
_GUANTANAMO: Final = ("America/New_York", 22.0)
"""The zone of the naval base, south of Florida's southernmost latitude. The land is Cuba's."""
_RADIUS_KM: Final = 0.004
"""Of a city, times the root of its people: 20,000 people on a square kilometre."""
_LARGE: Final = 100_000
_NEAR_LARGE: Final = 32
"""Large cities that are looked at for a point."""
_TREATY_LATITUDE: Final = -60.0
"""South of it, sea included, is AQ: the area of the Antarctic Treaty, and what ISO 3166 means. The
polygons have claims and empty places there."""


@dataclass(frozen=True)
class Spot:
    """Where a point is; degrees, with the longitude brought into ±180°.

    On land and up to 12 nautical miles off it `country_code` is an ISO 3166-1 alpha-2 code (XK is
    Kosovo), and the city is the nearest one in that country. Out at sea `continent`,
    `country_code`, `country` and `region` are None, and the city is the nearest of all. So it is
    where the country has no city (Antarctica, Bouvet Island), and `region` is None.
    `city_country_code` is the country that the city is in; `distance_km` is the great-circle
    distance to the city's centre. `region` is the city's first-level division, not that of the
    point: close to a border inside a country it may be the neighbour.
    """

    latitude: float
    longitude: float
    continent: str | None
    country_code: str | None
    country: str | None
    region: str | None
    city: str
    city_country_code: str
    distance_km: float
    main_city: str
    """What people call the place: the largest city of the same division within 4 m times the root
    of whose people the point is (Paris, 5.8 km), else the nearest: it may be a quarter of it."""

    @property
    def address(self) -> str:
        """ "Country; Region; City" with the main city, as models write it; "" out at sea."""
        if not self.country:
            return ""
        return "; ".join((self.country, self.region or self.main_city, self.main_city))


class _Cities(NamedTuple):
    """Columns of the gazetteer's cities, in its order."""

    names: Sequence[str]
    countries: Sequence[str]
    regions: Sequence[str | None]
    latitudes: NDArray[np.float64]
    longitudes: NDArray[np.float64]
    divisions: NDArray[np.int64]
    """A number for each first-level division."""
    radii_km: NDArray[np.float64]


def reverse(latitude: float, longitude: float) -> Spot:
    """Where a point is, from its degrees on WGS-84; longitudes outside ±180° are wrapped.

    UsageError if one of them is no number, NaN or infinite or the latitude is beyond a pole; it
    says so when they look swapped.
    """
    point = f"latitude {latitude}, longitude {longitude}"
    try:
        latitude, longitude = float(latitude), float(longitude)
    except (TypeError, ValueError):
        raise UsageError(f"{point}: both must be numbers of degrees") from None
    if not (math.isfinite(latitude) and math.isfinite(longitude)):
        raise UsageError(f"{point}: both must be finite numbers of degrees")
    if abs(latitude) > 90:
        swapped = "; are they swapped?" if abs(longitude) <= 90 else ""
        raise UsageError(f"{point}: a latitude is between -90 and 90{swapped}")
    (spot,) = reverse_many([latitude], [longitude])
    assert spot is not None
    return spot


def reverse_many(latitudes: ArrayLike, longitudes: ArrayLike) -> list[Spot | None]:
    """`reverse` of each point, in order: two sequences or arrays of N degrees give a list of N.

    A point that `reverse` refuses is None. ValueError if the lengths differ.
    """
    import numpy as np

    latitude, longitude = (
        np.asarray(degrees, dtype=float).ravel() for degrees in (latitudes, longitudes)
    )
    if len(latitude) != len(longitude):
        raise ValueError(f"{len(latitude)} latitudes, but {len(longitude)} longitudes")
    usable = np.isfinite(longitude) & (np.abs(latitude) <= 90)
    found: list[Spot | None] = [None] * len(latitude)
    spots = _spots(latitude[usable], _wrapped(longitude[usable]))
    for position, spot in zip(np.flatnonzero(usable).tolist(), spots, strict=True):
        found[position] = spot
    return found


def _wrapped(longitude: NDArray[np.float64]) -> NDArray[np.float64]:
    """Longitudes brought into ±180°; those that are there already stay as they are, to the bit."""
    import numpy as np

    return np.where(np.abs(longitude) <= 180, longitude, (longitude + 180) % 360 - 180)


def _spots(latitude: NDArray[np.float64], longitude: NDArray[np.float64]) -> list[Spot]:
    import numpy as np

    homes = _countries_at(latitude, longitude)
    groups: dict[tuple[str, ...], list[int]] = {}
    for position, home in enumerate(homes):
        groups.setdefault(home, []).append(position)
    points = _unit_vectors(latitude, longitude)
    nearest = np.empty(len(homes), dtype=int)
    for home, members in groups.items():
        tree, numbers = _tree(home)
        nearest[members] = numbers[tree.query(points[members])[1]]
    cities = _cities()
    distance = great_circle_km(
        latitude, longitude, cities.latitudes[nearest], cities.longitudes[nearest]
    )
    columns = (latitude, longitude, nearest, distance, _main(points, nearest))
    return [
        _spot(home, *row)
        for home, row in zip(homes, zip(*(c.tolist() for c in columns), strict=True), strict=True)
    ]


def _main(points: NDArray[np.float64], nearest: NDArray[np.int64]) -> NDArray[np.int64]:
    """The largest city in whose circle each point is, of the division of its nearest city."""
    import numpy as np

    tree, large = _large()
    chord, found = tree.query(points, k=_NEAR_LARGE)
    cities, number = _cities(), large[found]
    inside = 2 * EARTH_RADIUS_KM * np.arcsin(chord / 2) <= cities.radii_km[number]
    inside &= cities.divisions[number] == cities.divisions[nearest][:, None]
    # Cities are in order of their people.
    return np.minimum(np.where(inside, number, len(cities.names)).min(axis=1), nearest)


@cache
def _large() -> tuple[Any, NDArray[np.int64]]:
    import numpy as np
    from scipy.spatial import cKDTree

    cities = _cities()
    large = np.flatnonzero(cities.radii_km >= _RADIUS_KM * _LARGE**0.5)
    return cKDTree(_unit_vectors(cities.latitudes[large], cities.longitudes[large])), large


def _spot(
    home: tuple[str, ...],
    latitude: float,
    longitude: float,
    number: int,
    distance: float,
    main: int,
) -> Spot:
    cities = _cities()
    city_country = cities.countries[number]
    code = city_country if city_country in home else next(iter(home), None)
    country = statistics(code) if code else None
    return Spot(
        latitude,
        longitude,
        country.continent if country else None,
        code,
        country.name if country else None,
        cities.regions[number] if code == city_country else None,
        cities.names[number],
        city_country,
        distance,
        cities.names[main],
    )


def _countries_at(
    latitude: NDArray[np.float64], longitude: NDArray[np.float64]
) -> list[tuple[str, ...]]:
    """The countries that each point may be in: none at sea, and hardly ever more than one."""
    from timezonefinder import timezone_names_at

    countries = _countries_of_zones()
    zones = timezone_names_at(lngs=longitude, lats=latitude)
    over, under = _OVERLAID
    for number, zone in enumerate(zones):
        if zone == over and _inside(under, latitude[number], longitude[number]):
            zones[number] = under
        elif zone == _GUANTANAMO[0] and latitude[number] < _GUANTANAMO[1]:
            zones[number] = "America/Havana"
    return [
        ("AQ",) if south else countries.get(zone or "", ())
        for zone, south in zip(zones, (latitude < _TREATY_LATITUDE).tolist(), strict=True)
    ]


def _inside(zone: str, latitude: float, longitude: float) -> bool:
    """Whether a zone's polygons hold a point: a ray to the east crosses their rings an odd number
    of times. Not for polygons over ±180°."""
    import numpy as np

    y0, x0, y1, x1 = _edges(zone)
    crossed = np.flatnonzero((y0 > latitude) != (y1 > latitude))
    y0, x0, y1, x1 = y0[crossed], x0[crossed], y1[crossed], x1[crossed]
    crossings = x0 + (latitude - y0) * (x1 - x0) / (y1 - y0)
    return int(np.count_nonzero(crossings > longitude)) % 2 == 1


@cache
def _edges(zone: str) -> NDArray[np.float64]:
    """Latitudes and longitudes of both ends of all edges of a zone's polygons, as four rows."""
    import numpy as np
    from timezonefinder import get_geometry

    edges = []
    for polygon in get_geometry(tz_name=zone):
        for ring in polygon:
            longitudes, latitudes = np.array(ring)
            edges.append([latitudes, longitudes, np.roll(latitudes, -1), np.roll(longitudes, -1)])
    return np.concatenate(edges, axis=1)


@cache
def _countries_of_zones() -> dict[str, tuple[str, ...]]:
    table = resources.files("tzdata") / "zoneinfo" / "zone.tab"
    lines = table.read_text(encoding="utf-8").splitlines()
    rows = (line.split("\t") for line in lines if line and not line.startswith("#"))
    listed: dict[str, tuple[str, ...]] = {zone: (country,) for country, _, zone, *_ in rows}
    return listed | _SHARED


@cache
def _cities() -> _Cities:
    import numpy as np

    names, countries, regions, *numbers = zip(*gazetteer().all_cities(), strict=True)
    latitudes, longitudes, people = map(np.array, numbers)
    keys = {key: number for number, key in enumerate(zip(countries, regions, strict=True))}
    divisions = [keys[key] for key in zip(countries, regions, strict=True)]
    return _Cities(
        names,
        countries,
        regions,
        latitudes,
        longitudes,
        np.array(divisions),
        _RADIUS_KM * np.sqrt(people),
    )


@cache
def _members() -> dict[str, list[int]]:
    """The numbers of each country's cities."""
    members: dict[str, list[int]] = {}
    for number, country in enumerate(_cities().countries):
        members.setdefault(country, []).append(number)
    return members


@cache
def _tree(home: tuple[str, ...]) -> tuple[Any, NDArray[np.int64]]:
    """The cities of some countries as a k-d tree, and the number that each has among all; without
    countries, or if they have no city, all cities. On the sphere the nearest along the great circle
    is the nearest along the chord."""
    import numpy as np
    from scipy.spatial import cKDTree

    cities = _cities()
    numbers = np.array([number for country in home for number in _members().get(country, ())])
    if not len(numbers):
        if home:
            return _tree(())
        numbers = np.arange(len(cities.names))
    vectors = _unit_vectors(cities.latitudes[numbers], cities.longitudes[numbers])
    return cKDTree(vectors), numbers


def _unit_vectors(
    latitude: NDArray[np.float64], longitude: NDArray[np.float64]
) -> NDArray[np.float64]:
    import numpy as np

    phi, theta = np.radians(latitude), np.radians(longitude)
    return np.stack(
        [np.cos(phi) * np.cos(theta), np.cos(phi) * np.sin(theta), np.sin(phi)], axis=-1
    )
