"""How right and how fast the offline geocoder is: `.venv/bin/python benchmarks/geocoder.py`.

Asks for 7,298 answers of many forms whose true places come from other sources than the gazetteer
(`benchmarks/data/answers.tsv`, made by `scripts/geocoder_answers.py`), for 500 texts that are no
place, and for texts that no program should choke on. Looks up more than 20,000 texts in a process
of their own. With `benchmarks/reverse.py` beside it, the figures of points to countries follow.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final, TypeVar

from rich.console import Console
from rich.progress import track
from rich.table import Table

from geoagent.errors import UsageError, exit_code
from geoagent.files import write_json
from geoagent.geo.distance import EARTH_RADIUS_KM, great_circle_km
from geoagent.geo.gazetteer import gazetteer
from geoagent.geo.geocoder import Place, geocode, geocode_many

T = TypeVar("T")

HERE: Final = Path(__file__).resolve().parent
EXAMPLE: Final = "example: .venv/bin/python benchmarks/geocoder.py --json geocoder.json"
WELL_FORMED: Final = (
    *("three parts", "two parts", "full-width", "ascii", "abbreviations", "kind added"),
)
AREAS: Final = ("region only", "US counties")
"""Forms that name no city: nothing to ask the gazetteer's cities for."""
AIRPORTS: Final = "airports"
NEAR_KM: Final = (25.0, 200.0, 750.0)
EXISTS_KM: Final = 50.0
WORST: Final = 20
LOOKUPS: Final = 20_000
STARTS: Final = 5
PAIRS: Final = 100_000

GOALS: Final = {
    "well-formed answers, the place is in the gazetteer: within 25 km": (">=", 0.97),
    "all answers: within 200 km": (">=", 0.90),
    "all answers but airports: within 200 km": (">=", 0.90),
    "texts that are no place: resolved": ("<=", 0.01),
    "bad input: exceptions": ("<=", 0.0),
}

BAD: Final = {
    "empty": ["", " ", "\n"],
    "100 kB": ["a" * 100_000, "France; " * 12_500, ";" * 100_000, "é, " * 33_000, "ß" * 100_000],
    "control characters": [
        "\x00",
        "France\x00; Paris",
        "".join(map(chr, range(32))),
        "\x7f;\x1b[0m",
    ],
    "lone surrogates": ["\ud800", "France; \udfff; Paris", "\ud83d; \ude00"],
    "only separators": [";;;", "；；", ",", ";,;,;", " ; ; ", "—", "/|\\"],
    "odd Unicode": ["\u202e\u2066", "\ufeffFrance", "e" + "\u0301" * 5000, "\U0010ffff", "﷽" * 500],
}


@dataclass(frozen=True)
class Answer:
    """A row of answers.tsv; where it truly is in degrees."""

    id: str
    form: str
    query: str
    latitude: float
    longitude: float
    country: str
    source: str
    place: str


@dataclass(frozen=True)
class Result:
    """What the geocoder made of an answer; `km` from the true place, None if nothing was found.

    `exists`: the gazetteer has a city of that name in that country within 50 km of the true place.
    """

    answer: Answer
    found: Place | None
    km: float | None
    exists: bool

    def within(self, km: float) -> bool:
        return self.km is not None and self.km <= km


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EXAMPLE)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    parser.add_argument(
        "--answers", type=Path, default=HERE / "data", metavar="DIR", help="other lists than data/"
    )
    options = parser.parse_args(arguments)

    def program() -> int:
        figures = measure(options.answers)
        reverse = import_module("reverse") if (HERE / "reverse.py").is_file() else None
        if reverse:
            figures["reverse"] = reverse.measure()
        if options.json:
            write_json(options.json, figures)
        show(figures)
        if reverse:
            reverse.show(figures["reverse"])
        return 0

    return exit_code(program)


def measure(lists: Path) -> dict[str, Any]:
    """All figures but those of points to countries, from a folder of lists."""
    answers, nowhere = read_answers(lists / "answers.tsv"), read_garbage(lists / "garbage.txt")
    # Before anything is timed: a machine's first use builds the gazetteer.
    geocode("Sweden; Uppsala")
    results = [look_up(answer) for answer in _tracked(answers, "looking answers up")]
    resolved = [text for text in nowhere if geocode(text)]
    figures = {
        "accuracy": accuracy(results),
        "no_place": {"texts": len(nowhere), "resolved": resolved},
        "bad_input": bad_input(),
        "worst": worst(results),
        "failures": [row(r) for r in results if missed(r)],
        "speed": speed(groups(answers, nowhere)),
        "distance": distances(),
    }
    return figures | {"goals": goals(figures)}


def _tracked(items: Sequence[T], what: str) -> Iterable[T]:
    console = Console(stderr=True)
    quiet = not console.is_terminal
    return track(items, what, console=console, transient=True, disable=quiet)


def read_answers(file: Path) -> list[Answer]:
    """The rows of answers.tsv; UsageError names the file if it cannot be read."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        table = (line for line in lines if not line.startswith("#"))
        rows = csv.DictReader(table, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [_answer(fields) for fields in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{file}: not a list of answers ({error}); see {EXAMPLE}") from error


def _answer(fields: Mapping[str, str]) -> Answer:
    texts = {name: text for name, text in fields.items() if name not in ("latitude", "longitude")}
    return Answer(latitude=float(fields["latitude"]), longitude=float(fields["longitude"]), **texts)


def read_garbage(file: Path) -> list[str]:
    """The lines of garbage.txt."""
    return file.read_text(encoding="utf-8").splitlines()


def look_up(answer: Answer) -> Result:
    """What the geocoder makes of an answer."""
    found = geocode(answer.query)
    km = None
    if found:
        km = great_circle_km(answer.latitude, answer.longitude, found.latitude, found.longitude)
    return Result(answer, found, km, exists(answer))


def exists(answer: Answer) -> bool:
    """Whether the gazetteer has the place itself, whatever the geocoder makes of the text."""
    return answer.form not in AREAS and any(
        great_circle_km(answer.latitude, answer.longitude, city.latitude, city.longitude)
        <= EXISTS_KM
        for city in gazetteer().cities(answer.country, answer.place)
    )


def missed(result: Result) -> bool:
    """Whether an answer is farther from the truth than its form allows."""
    return not result.within(NEAR_KM[2] if result.answer.form in AREAS else NEAR_KM[0])


def accuracy(results: Sequence[Result]) -> dict[str, dict[str, Any]]:
    """Figures by form and for groups of forms."""
    forms = dict.fromkeys(result.answer.form for result in results)
    plain = {r.answer.id: r for r in results if r.answer.form == "three parts"}
    figures = {form: shares([r for r in results if r.answer.form == form], plain) for form in forms}
    figures["well-formed"] = shares([r for r in results if r.answer.form in WELL_FORMED], plain)
    figures["all but airports"] = shares([r for r in results if r.answer.form != AIRPORTS], plain)
    figures["all"] = shares(results, plain)
    return figures


def shares(results: Sequence[Result], plain: Mapping[str, Result]) -> dict[str, Any]:
    """Shares of the answers; the median error is that of the resolved ones. `three_parts` is the
    share within 25 km of the same places written as three parts, for a fair comparison."""
    there = [result for result in results if result.exists]
    same = [plain[r.answer.id] for r in results if r.answer.id in plain]
    kilometres = [result.km for result in results if result.km is not None]
    return {
        "answers": len(results),
        "resolved": len(kilometres) / len(results),
        **{f"within_{km:.0f}_km": share(results, km) for km in NEAR_KM},
        "median_km": statistics.median(kilometres) if kilometres else None,
        "in_gazetteer": len(there),
        "in_gazetteer_within_25_km": share(there, NEAR_KM[0]),
        "three_parts_within_25_km": share(same, NEAR_KM[0]),
        "levels": Counter(r.found.level if r.found else "none" for r in results),
    }


def share(results: Sequence[Result], km: float) -> float | None:
    return sum(r.within(km) for r in results) / len(results) if results else None


def worst(results: Iterable[Result]) -> list[dict[str, Any]]:
    """The farthest from the truth, one of each place."""
    far = sorted((r for r in results if r.km is not None), key=lambda r: -(r.km or 0.0))
    places = {result.answer.id: result for result in reversed(far)}
    ranked = sorted(places.values(), key=lambda r: -(r.km or 0.0))
    return [row(result) for result in ranked[:WORST]]


def row(result: Result) -> dict[str, Any]:
    """An answer with what was found, as JSON."""
    answer, found = result.answer, result.found
    return {
        **asdict(answer),
        "matched": f"{found.matched} ({found.level}, {found.country_code})" if found else None,
        "km": result.km,
        "in_gazetteer": result.exists,
    }


def bad_input() -> dict[str, dict[str, Any]]:
    """By sort of text: how many, how many places they are taken for, and exceptions."""
    figures = {}
    for sort, texts in BAD.items():
        errors: list[str] = []
        resolved = 0
        started = time.perf_counter()
        for text in texts:
            try:
                resolved += geocode_many([text]) != [None]
            except Exception as error:  # what it is called is the finding
                errors.append(f"{type(error).__name__}: {text[:20]!a}")
        seconds = time.perf_counter() - started
        figures[sort] = {
            "texts": len(texts),
            "resolved": resolved,
            "exceptions": errors,
            "seconds": seconds,
        }
    return figures


def groups(answers: Iterable[Answer], nowhere: Iterable[str]) -> dict[str, list[str]]:
    """Distinct texts, at least 20,000: those of the lists, and the same in other letters."""
    taken: set[str] = set()
    found: dict[str, list[str]] = {"well-formed": [], "other forms": [], "no place": []}

    def add(group: str, text: str) -> None:
        if text not in taken:
            taken.add(text)
            found.setdefault(group, []).append(text)

    for answer in answers:
        add("well-formed" if answer.form in WELL_FORMED else "other forms", answer.query)
    for text in nowhere:
        add("no place", text)
    listed = list(taken)
    changes: tuple[Callable[[str], str], ...] = (str.upper, str.lower, str.swapcase)
    for change in changes:
        for text in sorted(listed):
            add("in other letters", change(text))
    if len(taken) < LOOKUPS:
        raise UsageError(f"{HERE / 'data'}: {len(taken)} distinct texts, {LOOKUPS} are needed")
    return found


def speed(texts: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """One core: look-ups a second, seconds to the first answer, memory of the process."""
    starts = [run_lookups({}) for _ in _tracked(range(STARTS), "starting processes")]
    figures = run_lookups(texts)
    number = sum(map(len, texts.values()))
    first, again = (sum(s[k] for s in figures["seconds"].values()) for k in (0, 1))
    return {
        "texts": number,
        "distinct_per_second": number / first,
        "by_group": {
            name: {"texts": len(texts[name]), "distinct_per_second": len(texts[name]) / seconds[0]}
            for name, seconds in figures["seconds"].items()
        },
        "repeated_per_second": number / again,
        "import_s": min(start["import_s"] for start in starts),
        "first_answer_s": min(start["first_answer_s"] for start in starts),
        "rss_mib": figures["rss_mib"],
        "peak_mib": figures["peak_mib"],
    }


def run_lookups(texts: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """The figures of `benchmarks/lookups.py` in a fresh process."""
    command = [sys.executable, str(HERE / "lookups.py")]
    process = subprocess.run(
        command,
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        check=False,
        cwd=HERE.parent,
    )
    if process.returncode:
        said = process.stderr.strip().splitlines()
        raise UsageError(f"{command[1]} ended: {said[-1] if said else process.returncode}")
    return dict(json.loads(process.stdout))


def distances() -> dict[str, Any]:
    """Pairs of points a second: `great_circle_km` of arrays, and the same formula in a loop."""
    import numpy as np

    random = np.random.default_rng(0)
    latitudes = np.degrees(np.arcsin(random.uniform(-1, 1, (2, PAIRS))))
    longitudes = random.uniform(-180, 180, (2, PAIRS))
    columns = latitudes[0], longitudes[0], latitudes[1], longitudes[1]
    points = list(zip(*(column.tolist() for column in columns), strict=True))
    seconds: dict[str, list[float]] = {"arrays": [], "loop": []}
    for _ in range(STARTS):
        started = time.perf_counter()
        together = great_circle_km(*columns)
        seconds["arrays"].append(time.perf_counter() - started)
        started = time.perf_counter()
        one_by_one = [haversine(*point) for point in points]
        seconds["loop"].append(time.perf_counter() - started)
    arrays, loop = (PAIRS / statistics.median(times) for times in seconds.values())
    return {
        "pairs": PAIRS,
        "arrays_per_second": arrays,
        "loop_per_second": loop,
        "ratio": arrays / loop,
        "largest_difference_km": float(np.abs(together - np.array(one_by_one)).max()),
    }


def haversine(lat1: float, lon1: float, lat2: float, lon2: float) -> float:
    """Great-circle distance in km of one pair in degrees, as reward functions often have it."""
    phi1, phi2 = math.radians(lat1), math.radians(lat2)
    chord = (
        math.sin((phi2 - phi1) / 2) ** 2
        + math.cos(phi1) * math.cos(phi2) * math.sin(math.radians(lon2 - lon1) / 2) ** 2
    )
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(chord, 1.0)))


def goals(figures: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What was reached of each goal."""
    by_form, nowhere = figures["accuracy"], figures["no_place"]
    reached = (
        by_form["well-formed"]["in_gazetteer_within_25_km"],
        by_form["all"]["within_200_km"],
        by_form["all but airports"]["within_200_km"],
        len(nowhere["resolved"]) / nowhere["texts"],
        float(sum(len(sort["exceptions"]) for sort in figures["bad_input"].values())),
    )
    return {
        name: {
            "goal": f"{sign} {bound}",
            "reached": value,
            "met": value >= bound if sign == ">=" else value <= bound,
        }
        for (name, (sign, bound)), value in zip(GOALS.items(), reached, strict=True)
    }


def show(figures: Mapping[str, Any]) -> None:
    """Print the figures on standard output."""
    # As wide as the tables need, also where the output goes into a file.
    console = Console(width=max(Console().width, 130))
    for table in (
        _accuracy_table(figures["accuracy"]),
        _levels_table(figures["accuracy"]),
        _worst_table(figures["worst"]),
        _bad_input_table(figures["bad_input"]),
        _speed_table(figures["speed"], figures["distance"]),
        _goals_table(figures["goals"]),
    ):
        console.print(table)
    for text in figures["no_place"]["resolved"]:
        console.print(f"no place, but resolved: {text}", markup=False)


def _table(title: str, *columns: str, texts: int = 1) -> Table:
    """A table whose first columns are texts and the others numbers."""
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(columns):
        left = number < texts
        table.add_column(column, justify="left" if left else "right", overflow="fold")
    return table


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _accuracy_table(figures: Mapping[str, Mapping[str, Any]]) -> Table:
    keys = ["resolved", *(f"within_{km:.0f}_km" for km in NEAR_KM)]
    near = [f"≤ {km:.0f} km" for km in NEAR_KM]
    exist = ("in gazetteer", "of these ≤ 25 km", "three parts ≤ 25 km")
    table = _table("Accuracy by form", "form", "answers", "resolved", *near, "median km", *exist)
    for form, found in figures.items():
        if form == "well-formed":
            table.add_section()
        median = "–" if found["median_km"] is None else f"{found['median_km']:.1f}"
        table.add_row(
            form,
            str(found["answers"]),
            *(_percent(found[key]) for key in keys),
            median,
            "–" if form in AREAS else str(found["in_gazetteer"]),
            _percent(found["in_gazetteer_within_25_km"]),
            _percent(found["three_parts_within_25_km"]),
        )
    return table


def _levels_table(figures: Mapping[str, Mapping[str, Any]]) -> Table:
    levels = list(dict.fromkeys(level for found in figures.values() for level in found["levels"]))
    table = _table("Finest level that matched", "form", *levels)
    for form, found in figures.items():
        table.add_row(form, *(str(found["levels"].get(level, 0)) for level in levels))
    return table


def _worst_table(rows: Iterable[Mapping[str, Any]]) -> Table:
    table = _table("Farthest from the truth", "form", "query", "matched", "km", texts=3)
    for found in rows:
        texts = (found[key].replace("[", "\\[") for key in ("form", "query", "matched"))
        table.add_row(*texts, f"{found['km']:.0f}")
    return table


def _bad_input_table(figures: Mapping[str, Mapping[str, Any]]) -> Table:
    table = _table("Bad input", "sort", "exceptions", "texts", "resolved", "seconds", texts=2)
    for sort, found in figures.items():
        errors = ", ".join(found["exceptions"]).replace("[", "\\[") or "none"
        numbers = str(found["texts"]), str(found["resolved"]), f"{found['seconds']:.3f}"
        table.add_row(sort, errors, *numbers)
    return table


def _speed_table(speeds: Mapping[str, Any], distance: Mapping[str, Any]) -> Table:
    table = _table("Speed, one core", "what", "figure")
    rows = {
        f"look-ups a second, distinct ({speeds['texts']:,})": (
            f"{speeds['distinct_per_second']:,.0f}"
        ),
        **{
            f"  {name} ({found['texts']:,})": f"{found['distinct_per_second']:,.0f}"
            for name, found in speeds["by_group"].items()
        },
        "look-ups a second, repeated": f"{speeds['repeated_per_second']:,.0f}",
        f"import, best of {STARTS} (s)": f"{speeds['import_s']:.3f}",
        f"opening and first answer, best of {STARTS} (s)": f"{speeds['first_answer_s']:.3f}",
        "memory after them (MiB)": f"{speeds['rss_mib']:.0f}",
        "highest memory (MiB)": f"{speeds['peak_mib']:.0f}",
        "distances a second, arrays": f"{distance['arrays_per_second']:,.0f}",
        "distances a second, loop": f"{distance['loop_per_second']:,.0f}",
        "arrays as a multiple of the loop": f"{distance['ratio']:.1f}",
    }
    for name, figure in rows.items():
        table.add_row(name, figure)
    return table


def _goals_table(figures: Mapping[str, Mapping[str, Any]]) -> Table:
    table = _table("Goals", "goal", "bound", "reached", "")
    for name, found in figures.items():
        verdict = "met" if found["met"] else "missed"
        table.add_row(name, found["goal"], f"{found['reached']:.4f}", verdict)
    return table


if __name__ == "__main__":
    sys.exit(main())
