#!/usr/bin/env python3
"""Makes geoagent/figures/data/world.json: the outlines of land and the borders of countries.

    .venv/bin/python scripts/world_outline.py ATLAS

ATLAS is the unpacked npm package world-atlas, Natural Earth 4.1.0 (public domain) as TopoJSON:

    npm pack world-atlas@2.0.2 && mkdir ATLAS && tar -xzf world-atlas-*.tgz -C ATLAS

Of it the 1:110m map, on which countries are as Natural Earth draws them, de facto; no opinion is
meant.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from geoagent.errors import UsageError, exit_code  # noqa: E402
from geoagent.figures.world import OUTLINE  # noqa: E402
from geoagent.files import read_json, short, write_atomic  # noqa: E402

Line = list[tuple[float, float]]
DIGITS: Final = 2
"""Of the degrees: a pixel of a map 1,200 pixels wide is 0.3°."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("atlas", type=Path, metavar="ATLAS")
    options = parser.parse_args(arguments)
    return exit_code(lambda: make(options.atlas))


def make(atlas: Path) -> int:
    file = next(atlas.rglob("countries-110m.json"), None)
    if file is None:
        raise UsageError(f"{short(atlas)}: countries-110m.json is not in it")
    topology = read_json(file)
    arcs = decode(topology)
    land = topology["objects"]["land"]["geometries"]
    countries = topology["objects"]["countries"]["geometries"]
    document = {
        "source": "Natural Earth 4.1.0, 1:110m, by world-atlas 2.0.2; public domain",
        "made_by": "scripts/world_outline.py; longitude, latitude in degrees",
        "land": [part for ring in rings(land) for part in cut(joined(ring, arcs))],
        "borders": [arcs[number] for number in shared(countries)],
    }
    write_atomic(OUTLINE, json.dumps(document, separators=(",", ":")) + "\n")
    print(f"wrote {short(OUTLINE)}")
    return 0


def decode(topology: dict[str, Any]) -> list[Line]:
    """The arcs in degrees: their points are whole numbers, each told as the step from the last."""
    (x_scale, y_scale), (x0, y0) = (topology["transform"][key] for key in ("scale", "translate"))
    decoded = []
    for arc in topology["arcs"]:
        x = y = 0
        line: Line = []
        for dx, dy in arc:
            x, y = x + dx, y + dy
            point = round(x * x_scale + x0, DIGITS), round(y * y_scale + y0, DIGITS)
            if not line or point != line[-1]:
                line.append(point)
        decoded.append(line)
    return decoded


def rings(geometries: list[dict[str, Any]]) -> Iterator[list[int]]:
    """All rings of polygons, holes too, each as the numbers of its arcs."""
    for geometry in geometries:
        arcs = geometry.get("arcs", [])
        for polygon in arcs if geometry["type"] == "MultiPolygon" else [arcs]:
            yield from polygon


def shared(countries: list[dict[str, Any]]) -> list[int]:
    """The arcs between two countries."""
    uses = Counter(max(number, ~number) for ring in rings(countries) for number in ring)
    return sorted(number for number, times in uses.items() if times > 1)


def joined(ring: list[int], arcs: list[Line]) -> Line:
    """The points of a ring; ~N is arc N backwards, and arcs share their ends."""
    line: Line = []
    for number in ring:
        arc = arcs[number] if number >= 0 else arcs[~number][::-1]
        line += arc if not line else arc[1:]
    return line


def cut(ring: Line) -> Iterator[Line]:
    """The parts of a ring on either side of the antimeridian, each within ±180°."""
    unrolled = [ring[0]]
    for x, y in ring[1:]:
        unrolled.append((x + 360 * round((unrolled[-1][0] - x) / 360), y))
    if unrolled[-1][0] != unrolled[0][0]:  # round a pole, so it is closed along the map's edge
        pole = 90.0 if ring[0][1] > 0 else -90.0
        unrolled += [(unrolled[-1][0], pole), (unrolled[0][0], pole), unrolled[0]]
    for turn in (-360, 0, 360):
        part = [(x + turn, y) for x, y in unrolled]
        for side in (-1, 1):
            part = clipped(part, side)
        if part:
            yield [(round(x, DIGITS), round(y, DIGITS)) for x, y in part]


def clipped(ring: Line, side: int) -> Line:
    """A closed ring without what is beyond 180° on one side (Sutherland and Hodgman 1974)."""
    kept: Line = []
    for (x0, y0), (x1, y1) in pairwise(ring):
        if (side * x0 > 180) != (side * x1 > 180):
            kept.append((180.0 * side, y0 + (180 * side - x0) * (y1 - y0) / (x1 - x0)))
        if side * x1 <= 180:
            kept.append((x1, y1))
    return [*kept, kept[0]] if kept else []


if __name__ == "__main__":
    sys.exit(main())
