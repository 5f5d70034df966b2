"""How fast predictions become figures: `.venv/bin/python benchmarks/metrics.py`.

A million made-up predictions of ten columns each, once without and once with the names that answers
are judged by; `geoagent metrics` reads them in a process of its own, whose time and peak memory are
taken from the system. True places are cities, drawn the more often the larger they are, as
photographs are; two in five answers are right, two in five another city of the country, the others
anywhere or nowhere.

Then the intervals: their ends against those of scipy's bootstrap, which makes the resamples.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import numpy as np
from measured import measured
from rich.console import Console
from rich.table import Table
from scipy.stats import bootstrap

from geoagent.errors import exit_code
from geoagent.evaluate.intervals import mean_interval, median_interval, share_interval
from geoagent.evaluate.metrics import geoscore
from geoagent.files import write_json
from geoagent.geo.countries import countries
from geoagent.geo.gazetteer import gazetteer

GOAL_S: Final = 10.0
GOAL_MIB: Final = 1024
RIGHT, NEAR, NOWHERE = 0.4, 0.8, 0.95
KEYS: Final = ("median_s", "lowest_s", "highest_s", "cpu_s", "peak_mib")
DATA_TYPES: Final = ("photo", "panorama", "satellite")
NAMES: Final = ("country", "region", "city")
COUNTS: Final = (30, 300, 3000)
"""Rows that intervals are compared on."""
MANY: Final = 50_000
"""Resamples of both sides then: an end varies by 1.2 % of the standard error."""
PLAIN: Final = ("country_code", "data_type", "locatability", "level")
NAMED: Final = (*NAMES, "answer")
Row = dict[str, Any]


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, metavar="N")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    options = parser.parse_args(arguments)

    def program() -> int:
        figures = measure(options.rows, options.rounds)
        if options.json:
            write_json(options.json, figures)
        show(figures)
        return 0

    return exit_code(program)


def measure(rows: int, rounds: int) -> dict[str, Any]:
    """All figures, as JSON."""
    with tempfile.TemporaryDirectory() as folder:
        points, names = Path(folder) / "points.jsonl", Path(folder) / "names.jsonl"
        # Elsewhere, since a process counts its parent's memory as its own (execve, Linux).
        writer = get_context("spawn").Process(target=write, args=(points, names, rows))
        writer.start()
        writer.join()
        cases = {
            "points": [str(points)],
            "points, by data_type and locatability": [
                *(str(points), "--by", "data_type", "--by", "locatability")
            ],
            "names": [str(names)],
            "names, GeoVista's rules": [str(names), "--rules", "geovista"],
            "names, by country and continent": [
                *(str(names), "--by", "country", "--by", "continent")
            ],
        }
        results = {case: [run(words) for _ in range(rounds)] for case, words in cases.items()}
        sizes = {file.stem: file.stat().st_size for file in (points, names)}
    return {
        "rows": rows,
        "cores": len(os.sched_getaffinity(0)),
        "bytes": sizes,
        "cases": {case: summary(runs) for case, runs in results.items()},
        "intervals": [against_scipy(count) for count in COUNTS],
    }


def write(points: Path, names: Path, rows: int) -> None:
    """The same predictions without and with names."""
    with points.open("w") as plain, names.open("w") as named:
        for row in predictions(rows):
            for file, other in ((plain, NAMED), (named, PLAIN)):
                kept = {key: value for key, value in row.items() if key not in other}
                file.write(json.dumps(kept, ensure_ascii=False) + "\n")


def run(words: list[str]) -> dict[str, float]:
    """Seconds, seconds of a core, and peak MiB of one `geoagent metrics`."""
    said, figures = measured(["geoagent.cli", "metrics", *words])
    json.loads(said)
    return figures


def summary(runs: list[dict[str, float]]) -> dict[str, float]:
    seconds = sorted(one["seconds"] for one in runs)
    return {
        "median_s": round(seconds[len(seconds) // 2], 2),
        "lowest_s": round(seconds[0], 2),
        "highest_s": round(seconds[-1], 2),
        "cpu_s": round(sorted(one["cpu"] for one in runs)[len(runs) // 2], 2),
        "peak_mib": round(max(one["mib"] for one in runs)),
    }


def predictions(count: int) -> Iterator[Row]:
    """Rows with all columns; the same for the same count."""
    generator = np.random.default_rng(0)
    places = cities()
    weights = 1 / np.arange(1, len(places) + 1)  # Zipf's law: the n-th city has 1/n of the people
    weights /= weights.sum()
    true, anywhere = (generator.choice(len(places), count, p=weights) for _ in range(2))
    near, shares = in_same_country(places), generator.random(count)
    kinds, scores = generator.random(count), generator.integers(0, 11, count)
    noise = generator.normal(0, 0.05, (count, 2))
    for number in range(count):
        place = places[true[number]]
        kind = kinds[number]
        said: Row | None = None
        if kind < RIGHT:
            said = place
        elif kind < NEAR:
            said = places[near(int(true[number]), shares[number])]
        elif kind < NOWHERE:
            said = places[anywhere[number]]
        yield {
            "id": f"image-{number:07d}",
            "latitude": round(place["latitude"] + noise[number, 0], 6),
            "longitude": round((place["longitude"] + noise[number, 1] + 180) % 360 - 180, 6),
            "predicted_latitude": said and said["latitude"],
            "predicted_longitude": said and said["longitude"],
            "country_code": place["country_code"],
            "data_type": DATA_TYPES[number % len(DATA_TYPES)],
            "locatability": int(scores[number]),
            "model": "grpo",
            "level": said and "city",
            "country": place["country"],
            "region": place["region"],
            "city": place["city"],
            "answer": said and "; ".join(name for key in NAMES if (name := said[key])),
        }


def cities() -> list[Row]:
    """Those of the gazetteer, the largest first, with the names of their countries and regions."""
    columns = ("city", "country_code", "region", "latitude", "longitude")
    known: list[Row] = [dict(zip(columns, city, strict=False)) for city in gazetteer().all_cities()]
    return [
        {**city, "region": city["region"] or "", "country": home.name}
        for city in known
        if (home := countries().get(city["country_code"]))
    ]


def in_same_country(places: list[Row]) -> Callable[[int, float], int]:
    """Gives a city of the country that another is in, by Zipf's law as well: `share`, from 0 to 1,
    is that of the people in larger ones."""
    homes: dict[str, list[int]] = {}
    for number, place in enumerate(places):
        homes.setdefault(place["country_code"], []).append(number)

    def near(number: int, share: float) -> int:
        home = homes[places[number]["country_code"]]
        return home[int(len(home) ** share) - 1]

    return near


def against_scipy(count: int) -> dict[str, Any]:
    """How far the ends of the intervals are from scipy's, in standard errors (the interval's width
    over 3.92), and how many times as fast they are made."""
    distance = np.sort(np.minimum(np.random.default_rng(count).lognormal(6, 2, count), 20_000))
    score, hits = geoscore(distance), int((distance <= 200).sum())
    pairs = {
        "share": (lambda: share_interval(hits, count, MANY), distance <= 200, np.mean),
        "mean": (lambda: mean_interval(score, MANY), score, np.mean),
        "median": (lambda: median_interval(distance, resamples=MANY), distance, np.median),
    }
    found: dict[str, Any] = {"rows": count}
    for name, (ours, values, statistic) in pairs.items():
        started = time.perf_counter()
        low, high = ours()
        between = time.perf_counter()
        theirs = bootstrap(
            (np.asarray(values, dtype=float),),
            statistic,
            n_resamples=MANY,
            method="percentile",
            batch=500,
            rng=np.random.default_rng(1),
        ).confidence_interval
        ended = time.perf_counter()
        error = (theirs.high - theirs.low) / 3.92
        found[name] = {
            "ours": [low, high],
            "scipys": [float(theirs.low), float(theirs.high)],
            "difference": round(max(abs(low - theirs.low), abs(high - theirs.high)) / error, 4),
            "times_as_fast": round((ended - between) / (between - started), 1),
        }
    return found


def show(figures: dict[str, Any]) -> None:
    """Print the figures on standard output."""
    console = Console()
    table = Table(title=f"{figures['rows']:,} predictions of ten columns, {figures['cores']} cores")
    for column in ("case", "s", "lowest", "highest", "CPU s", "peak MiB", "goal"):
        table.add_column(column, justify="left" if column == "case" else "right")
    for case, found in figures["cases"].items():
        met = found["median_s"] <= GOAL_S and found["peak_mib"] <= GOAL_MIB
        values = [f"{found[key]:,}" for key in KEYS]
        table.add_row(case, *values, "met" if met else "missed")
    console.print(table)
    console.print(f"goal for a million: {GOAL_S:g} s and {GOAL_MIB:,} MiB")
    table = Table(title=f"ends of intervals against scipy's, {MANY:,} resamples each")
    for column in ("rows", "of the", "difference in standard errors", "times as fast"):
        table.add_column(column, justify="left" if column == "of the" else "right")
    for one in figures["intervals"]:
        for name in ("share", "mean", "median"):
            found = one[name]
            difference, faster = f"{found['difference']:.3f}", str(found["times_as_fast"])
            table.add_row(str(one["rows"]), name, difference, faster)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
