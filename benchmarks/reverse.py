"""How right and how fast points become countries: `.venv/bin/python benchmarks/reverse.py`.

The points are the airports of airportsdata, which takes them from the authorities' publications,
with the ISO code that it has for each. Beside `reverse_many` runs what is usually done instead: the
country of the nearest city. Distances are compared with a loop over geopy. What is compared takes
turns in one run, so that whatever else the machine does falls on all of it.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from geoagent.errors import exit_code
from geoagent.files import write_json
from geoagent.geo import reverse
from geoagent.geo.countries import countries
from geoagent.geo.distance import EARTH_RADIUS_KM, geodesic_km, great_circle_km

ROUNDS: Final = 5
SINGLE: Final = 2000
"""Points that are asked about one by one."""
PAIRS: Final = 5000
"""Pairs of airports whose distance is measured."""
GOAL: Final = 0.995
STATE: Final = {"PR": "US", "VI": "US", "SJ": "NO", "AX": "FI"}
"""Territories that airportsdata files under their state."""


SHARES: Final = ("code_share", "state_share", "mean_of_countries")


@dataclass(frozen=True)
class Airport:
    code: str
    name: str
    latitude: float
    longitude: float
    country: str


@dataclass(frozen=True)
class Miss:
    """An airport whose country is another than airportsdata has. Of three opinions (airportsdata,
    polygons, nearest city) `nearest_city` is the third; `km_to_border` is how far off the country
    is that airportsdata has."""

    code: str
    name: str
    latitude: float
    longitude: float
    expected: str
    found: str | None
    nearest_city: str
    km_to_border: float


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    options = parser.parse_args(arguments)

    def program() -> int:
        figures = measure()
        if options.json:
            write_json(options.json, figures)
        show(figures)
        return 0

    return exit_code(program)


def measure() -> dict[str, Any]:
    """All figures, as JSON."""
    started = time.perf_counter()
    reverse.reverse(0.0, 0.0)
    loading_s = time.perf_counter() - started
    airports, left_out = read_airports()
    return {
        "cores": len(os.sched_getaffinity(0)),
        "rounds": ROUNDS,
        "left_out": left_out,
        "loading_s": round(loading_s, 2),
        **countries_of(airports),
        "cities": cities_of_geonames(),
        "distances": distances(airports),
    }


def read_airports() -> tuple[list[Airport], dict[str, int]]:
    """The airports that can be asked about, and how many cannot, by reason."""
    import airportsdata

    kept, left_out = [], Counter({"country is no ISO code": 0, "coordinates are none": 0})
    for code, row in airportsdata.load("ICAO").items():
        airport = Airport(code, row["name"], row["lat"], row["lon"], row["country"])
        if airport.country not in countries():
            left_out["country is no ISO code"] += 1
        elif not (abs(airport.latitude) <= 90 and abs(airport.longitude) <= 180):
            left_out["coordinates are none"] += 1
        else:
            kept.append(airport)
    return kept, dict(left_out)


def countries_of(airports: Sequence[Airport]) -> dict[str, Any]:
    """How often each way has the country that airportsdata has, and how fast they are."""
    latitude = np.array([airport.latitude for airport in airports])
    longitude = np.array([airport.longitude for airport in airports])
    expected = [airport.country for airport in airports]

    def polygons() -> list[str | None]:
        spots = reverse.reverse_many(latitude, longitude)
        return [spot.country_code if spot else None for spot in spots]

    some = airports[:: len(airports) // SINGLE]

    def singly() -> list[reverse.Spot]:
        return [reverse.reverse(airport.latitude, airport.longitude) for airport in some]

    def nearest() -> list[str | None]:
        return list(nearest_city(latitude, longitude))

    found, baseline = polygons(), nearest()
    seconds = in_turns([polygons, nearest, singly])
    misses = missed(airports, found, baseline)
    return {
        "airports": len(airports),
        "countries": len(set(expected)),
        "right": agreement(expected, found),
        "right_by_nearest_city": agreement(expected, baseline),
        "at_sea": found.count(None),
        "points_per_second": rates(seconds[0], len(airports)),
        "points_per_second_nearest_city": rates(seconds[1], len(airports)),
        "points_per_second_singly": rates(seconds[2], len(some)),
        "speed_ratio_to_nearest_city": ratio(seconds[1], seconds[0]),
        "pairs": [
            {"expected": one, "found": other, "airports": count}
            for (one, other), count in Counter((m.expected, m.found) for m in misses).most_common()
        ],
        "misses": [asdict(miss) for miss in misses],
    }


def cities_of_geonames() -> dict[str, Any]:
    """How many of the gazetteer's cities are in a polygon of the country that GeoNames has."""
    cities = reverse._cities()
    homes = reverse._countries_at(cities.latitudes, cities.longitudes)
    both = list(zip(cities.countries, homes, strict=True))
    pairs = Counter((one, "/".join(home)) for one, home in both if one not in home)
    return {
        "cities": len(both),
        "share": round(1 - pairs.total() / len(both), 5),
        "pairs": [
            {"expected": one, "found": home or None, "cities": count}
            for (one, home), count in pairs.most_common()
        ],
    }


def nearest_city(latitude: Any, longitude: Any) -> list[str]:
    """The country of the nearest city of all."""
    tree, _ = reverse._tree(())
    codes = reverse._cities().countries
    numbers = tree.query(reverse._unit_vectors(latitude, longitude))[1]
    return [codes[number] for number in numbers.tolist()]


def agreement(expected: Sequence[str], found: Sequence[str | None]) -> dict[str, float]:
    """Airports with the very code, and those that differ no more than by a territory's state; of
    these also the mean of the countries' shares, since nearly half of the airports are American."""
    strict = sum(one == other for one, other in zip(expected, found, strict=True))
    same = [same_state(one, other) for one, other in zip(expected, found, strict=True)]
    state = sum(same)
    right = Counter(one for one, well in zip(expected, same, strict=True) if well)
    shares = [right[code] / count for code, count in Counter(expected).items()]
    return {
        "code": strict,
        "code_share": round(strict / len(expected), 5),
        "state": state,
        "state_share": round(state / len(expected), 5),
        "mean_of_countries": round(statistics.mean(shares), 5),
    }


def same_state(expected: str, found: str | None) -> bool:
    return found is not None and expected in (found, STATE.get(found))


def missed(
    airports: Sequence[Airport], found: Sequence[str | None], baseline: Sequence[str | None]
) -> list[Miss]:
    """Those with another country, the farthest from the expected one's border first."""
    misses = [
        Miss(
            airport.code,
            airport.name,
            airport.latitude,
            airport.longitude,
            airport.country,
            country,
            str(other),
            km_to_border(airport),
        )
        for airport, country, other in zip(airports, found, baseline, strict=True)
        if not same_state(airport.country, country)
    ]
    return sorted(misses, key=lambda miss: -miss.km_to_border)


def km_to_border(airport: Airport) -> float:
    """How far the nearest border of the country is that airportsdata has, in the polygons. Taken on
    a plane, which is good for some hundred kilometres."""
    zones = [
        zone for zone, home in reverse._countries_of_zones().items() if airport.country in home
    ]
    distance = min(_degrees_to_edge(zone, airport.latitude, airport.longitude) for zone in zones)
    reverse._edges.cache_clear()
    return round(distance * math.radians(EARTH_RADIUS_KM), 3)


def _degrees_to_edge(zone: str, latitude: float, longitude: float) -> float:
    y0, x0, y1, x1 = reverse._edges(zone)
    scale = math.cos(math.radians(latitude))
    start = np.stack([(x0 - longitude) * scale, y0 - latitude])
    edge = np.stack([(x1 - x0) * scale, y1 - y0])
    length = np.maximum((edge**2).sum(axis=0), 1e-18)
    along = np.clip(-(start * edge).sum(axis=0) / length, 0, 1)
    return float(np.hypot(*(start + along * edge)).min())


def distances(airports: Sequence[Airport]) -> dict[str, Any]:
    """Arrays at once against a loop over geopy, on the same pairs of airports."""
    import geopy.distance

    draw = np.random.default_rng(0)
    points = np.array([(airport.latitude, airport.longitude) for airport in airports])
    one, other = points[draw.integers(len(points), size=(2, PAIRS))]
    pairs = list(zip(one.tolist(), other.tolist(), strict=True))
    figures: dict[str, Any] = {"pairs": PAIRS}
    for name, ours, theirs in (
        ("great circle", great_circle_km, geopy.distance.great_circle),
        ("geodesic", geodesic_km, geopy.distance.geodesic),
    ):

        def at_once(ours: Callable[..., Any] = ours) -> Any:
            return ours(one[:, 0], one[:, 1], other[:, 0], other[:, 1])

        def loop(theirs: Callable[..., Any] = theirs) -> list[float]:
            return [theirs(*pair).km for pair in pairs]

        seconds = in_turns([at_once, loop])
        figures[name] = {
            "per_second": rates(seconds[0], PAIRS),
            "per_second_geopy": rates(seconds[1], PAIRS),
            "ratio": ratio(seconds[1], seconds[0]),
            "largest_difference_km": float(np.abs(at_once() - np.array(loop())).max()),
        }
    return figures


def in_turns(functions: Sequence[Callable[[], Any]]) -> list[list[float]]:
    """Seconds of each function in each round, after one that does not count; back and forth, so
    that a machine that slows down favours none."""
    for function in functions:
        function()
    seconds: list[list[float]] = [[] for _ in functions]
    for number in range(ROUNDS):
        order = range(len(functions))
        for k in order if number % 2 == 0 else reversed(order):
            started = time.perf_counter()
            functions[k]()
            seconds[k].append(time.perf_counter() - started)
    return seconds


def rates(seconds: Sequence[float], count: int) -> dict[str, int]:
    """How many a second: the median of the rounds, and their range."""
    per_second = sorted(round(count / value) for value in seconds)
    return {
        "median": round(statistics.median(per_second)),
        "lowest": per_second[0],
        "highest": per_second[-1],
    }


def ratio(slow: Sequence[float], fast: Sequence[float]) -> dict[str, float]:
    """How many times as fast, round by round: median and range."""
    ratios = sorted(one / other for one, other in zip(slow, fast, strict=True))
    return {
        "median": round(statistics.median(ratios), 3),
        "lowest": round(ratios[0], 3),
        "highest": round(ratios[-1], 3),
    }


def show(figures: dict[str, Any]) -> None:
    """Print the figures on standard output."""
    console = Console()
    out = ", ".join(f"{count} whose {reason}" for reason, count in figures["left_out"].items())
    console.print(
        f"{figures['airports']} airports of {figures['countries']} countries; left out: {out}",
        soft_wrap=True,
    )
    table = Table(title=f"country of a point, {figures['rounds']} rounds")
    for column in ("way", "same code", "same state", "mean of countries", "points/s"):
        table.add_column(column, justify="left" if column == "way" else "right")
    for way, right, speed in (
        ("reverse_many", "right", "points_per_second"),
        ("nearest city", "right_by_nearest_city", "points_per_second_nearest_city"),
        ("one by one", "right", "points_per_second_singly"),
    ):
        shares = [f"{figures[right][share]:.2%}" for share in SHARES]
        table.add_row(way, *shares, f"{figures[speed]['median']:,}")
    console.print(table)
    reached = "met" if figures["right"]["state_share"] >= GOAL else "missed"
    console.print(f"goal: {GOAL:.1%} of the airports in the same state: {reached}")
    console.print(
        f"speed as a multiple of the nearest city's: "
        f"{figures['speed_ratio_to_nearest_city']['median']}; loading took "
        f"{figures['loading_s']} s",
        soft_wrap=True,
    )
    _show_misses(console, figures)
    cities = figures["cities"]
    console.print(
        f"{cities['share']:.2%} of GeoNames' {cities['cities']} cities are in a polygon of their "
        f"country; others: {_listed(cities['pairs'], 'cities')}",
        soft_wrap=True,
    )
    _show_distances(console, figures["distances"])


def _listed(pairs: Sequence[dict[str, Any]], what: str) -> str:
    return ", ".join(f"{p['expected']} as {p['found'] or 'sea'} {p[what]}" for p in pairs)


def _show_misses(console: Console, figures: dict[str, Any]) -> None:
    others = _listed(figures["pairs"], "airports")
    console.print(f"other country ({len(figures['misses'])}): {others}", soft_wrap=True)
    console.print("the 20 farthest from the border of the country that airportsdata has:")
    for miss in figures["misses"][:20]:
        console.print(
            f"  {miss['code']} {miss['name']} at {miss['latitude']:.4f}, {miss['longitude']:.4f}: "
            f"{miss['expected']}, found {miss['found'] or 'sea'}, nearest city's is "
            f"{miss['nearest_city']}; {miss['km_to_border']:.2f} km",
            soft_wrap=True,
            highlight=False,
        )


def _show_distances(console: Console, figures: dict[str, Any]) -> None:
    table = Table(title=f"distances of {figures['pairs']} pairs, arrays against a loop over geopy")
    for column in ("distance", "arrays/s", "geopy/s", "times as fast", "lowest", "highest"):
        table.add_column(column, justify="left" if column == "distance" else "right")
    for name in ("great circle", "geodesic"):
        row = figures[name]
        speeds = [f"{row[key]['median']:,}" for key in ("per_second", "per_second_geopy")]
        table.add_row(name, *speeds, *(f"{row['ratio'][key]:.1f}" for key in row["ratio"]))
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
