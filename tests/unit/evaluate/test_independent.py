"""All figures of 3,000 predictions, computed a second time with nothing of ours.

Predictions are put at known distances by the formula for a point on a sphere reached along a
bearing; distances are scikit-learn's; the rest is plain Python.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from sklearn.metrics.pairwise import haversine_distances

from geoagent.evaluate.metrics import metrics

COUNT = 3000
RADIUS_KM = 6371.0
Row = dict[str, Any]

PLACES = {
    "Peru": {"Ancash": ["Huaraz", "Chimbote"], "Cusco": ["Cusco"]},
    "France": {"Normandy": ["Rouen", "Caen"], "Brittany": ["Rennes"]},
    "Japan": {"Hokkaido": ["Sapporo"], "Okinawa": ["Naha"]},
}


def destination(
    latitude: float, longitude: float, km: float, bearing: float
) -> tuple[float, float]:
    """Where one gets to along a great circle, in degrees."""
    phi, theta, delta = math.radians(latitude), math.radians(bearing), km / RADIUS_KM
    there = math.asin(
        math.sin(phi) * math.cos(delta) + math.cos(phi) * math.sin(delta) * math.cos(theta)
    )
    turn = math.atan2(
        math.sin(theta) * math.sin(delta) * math.cos(phi),
        math.cos(delta) - math.sin(phi) * math.sin(there),
    )
    east = math.degrees(math.radians(longitude) + turn)
    return math.degrees(there), (east + 540) % 360 - 180


def place(dice: random.Random) -> list[str]:
    country = dice.choice(sorted(PLACES))
    region = dice.choice(sorted(PLACES[country]))
    return [country, region, dice.choice(PLACES[country][region])]


def said(truth: list[str], depth: int) -> list[str]:
    """An answer of which so many names, from the country on, are right."""
    country, region, city = truth
    if depth == 3:
        return truth
    if depth == 2:
        return [country, region, "Nowhereville"]
    if depth == 1:
        other = next(name for name in PLACES[country] if name != region)
        return [country, other, PLACES[country][other][0]]
    other = next(name for name in PLACES if name != country)
    return [other, next(iter(PLACES[other])), city]


def synthetic(dice: random.Random) -> list[Row]:
    rows = []
    for number in range(COUNT):
        truth, depth = place(dice), dice.randrange(4)
        latitude, longitude = dice.uniform(-89, 89), dice.uniform(-180, 180)
        km = dice.choice([0.5, 10, 100, 500, 2000, 9000]) * dice.uniform(0.1, 2.1)
        point: tuple[float | None, float | None]
        point = destination(latitude, longitude, km, dice.uniform(0, 360))
        answer: str | None = "; ".join(said(truth, depth))
        failed = dice.random() < 0.1
        if failed:
            point, depth = (None, None), 0
            answer = dice.choice([None, "", "the sea; the middle of it"])
        rows.append(
            {
                "id": str(number),
                "latitude": latitude,
                "longitude": longitude,
                "predicted_latitude": point[0],
                "predicted_longitude": point[1],
                "answer": answer,
                "completion": f"<think>t</think><answer>{answer}</answer>" if answer else "?",
                **dict(zip(("country", "region", "city"), truth, strict=True)),
                "data_type": dice.choice(["photo", "panorama"]),
                "locatability": dice.uniform(0, 10),
                "sign": dice.choice(["yes", "no", "maybe"]),
                "known": {"km": None if failed else km, "depth": depth},
            }
        )
    return rows


def distances(rows: Sequence[Row]) -> list[float]:
    found = []
    for row in rows:
        if row["predicted_latitude"] is None:
            found.append(math.inf)
            continue
        ends = [
            [math.radians(row["latitude"]), math.radians(row["longitude"])],
            [math.radians(row["predicted_latitude"]), math.radians(row["predicted_longitude"])],
        ]
        found.append(float(haversine_distances(np.array(ends))[0, 1]) * RADIUS_KM)
    return found


def expected(rows: Sequence[Row]) -> dict[str, float]:
    count, km = len(rows), distances(rows)
    figures: dict[str, float] = {"count": count}
    for threshold in (1, 25, 200, 750, 2500):
        figures[f"accuracy_{threshold}km"] = sum(d <= threshold for d in km) / count
    figures["geoscore"] = math.fsum(5000 * math.exp(-10 * d / 18050) for d in km) / count
    figures["median_km"] = statistics.median(km)
    figures["geocoded_rate"] = sum(map(math.isfinite, km)) / count
    answered = [row["answer"] for row in rows]
    figures["parse_rate"] = sum(bool(a) for a in answered) / count
    depths = [row["known"]["depth"] for row in rows]
    for depth, level in enumerate(("country", "region", "city"), start=1):
        figures[f"{level}_accuracy"] = sum(d >= depth for d in depths) / count
    return figures


def largest_difference(rows: Sequence[Row], ours: dict[str, Any]) -> float:
    theirs = expected(rows)
    assert set(theirs) <= set(ours)
    return max(abs(ours[name] - value) for name, value in theirs.items())


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    return synthetic(random.Random(20))


@pytest.fixture(scope="module")
def ours(rows: list[Row]) -> dict[str, Any]:
    return metrics(rows, by=["data_type", "locatability", "scene", "country"])


def test_all_figures(rows: list[Row], ours: dict[str, Any]) -> None:
    difference = largest_difference(rows, ours)
    print(f"largest difference of the whole: {difference:.3g}")
    assert difference < 1e-9


def test_all_groups(rows: list[Row], ours: dict[str, Any]) -> None:
    def members(name: str, group: str) -> list[Row]:
        if name == "scene":
            return [row for row in rows if row[group] == "yes"]
        if name == "locatability":
            low, high = map(float, group.split("-"))
            last = 10.0 if high == 10 else math.nan
            return [r for r in rows if low <= r[name] < high or r[name] == last]
        return [row for row in rows if row[name] == group]

    differences = {
        (name, group): largest_difference(members(name, group), figures)
        for name, groups in ours["by"].items()
        for group, figures in groups.items()
    }
    assert len(differences) == 2 + 5 + 1 + 3
    print(f"largest difference of {len(differences)} groups: {max(differences.values()):.3g}")
    assert max(differences.values()) < 1e-9


def test_distances_are_those_that_were_made(rows: list[Row]) -> None:
    """So that the two computations don't share a fault: the median of rows one by one."""
    known = [row for row in rows if row["known"]["km"] is not None]
    off = [abs(metrics([row])["median_km"] - row["known"]["km"]) for row in known[:300]]
    print(f"largest difference from the distance made: {max(off):.3g} km")
    assert max(off) < 1e-6


def test_failures_are_counted(rows: list[Row], ours: dict[str, Any]) -> None:
    failed = [row for row in rows if row["predicted_latitude"] is None]
    no_answer = sum(not row["answer"] for row in failed)
    assert ours["failures"] == {
        "no_answer": no_answer,
        "not_geocoded": len(failed) - no_answer,
        "unexplained": 0,
        "missing": 0,
    }
    assert sum(ours["failures"].values()) == round(COUNT * (1 - ours["geocoded_rate"]))


def test_intervals_are_around_the_figures(ours: dict[str, Any]) -> None:
    names = set(ours["intervals"])
    assert names == {
        *(f"accuracy_{km}km" for km in (1, 25, 200, 750, 2500)),
        *(f"{level}_accuracy" for level in ("country", "region", "city")),
        *("parse_rate", "geocoded_rate", "geoscore", "median_km"),
    }
    for name, (low, high) in ours["intervals"].items():
        assert low < ours[name] < high
