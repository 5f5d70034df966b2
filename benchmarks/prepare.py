"""How fast, and in how much memory, `geoagent data prepare` reads a large dataset:
`.venv/bin/python benchmarks/prepare.py`.

The dataset is made up in the form of OSV-5M (random points, all its columns) and is read by the
real command in a process of its own: once without images, and once with images that are decoded.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from geoagent.errors import exit_code
from geoagent.files import write_json

COLUMNS: Final = (
    "id,latitude,longitude,thumb_original_url,country,sequence,captured_at,lon_bin,lat_bin,cell,"
    "region,sub-region,city,land_cover,road_index,drive_side,climate,soil,dist_sea,"
    "quadtree_10_5000,quadtree_10_25000,quadtree_10_1000,quadtree_10_50000,quadtree_10_12500,"
    "quadtree_10_500,quadtree_10_2500,unique_region,unique_sub-region,unique_city,unique_country,"
    "creator_username,creator_id"
)
SIZE: Final = (683, 512)
"""Pixels of an image; those of OSV-5M are 512 high."""


@dataclass(frozen=True)
class Figures:
    """One reading: rows, seconds, rows a second, and MiB of the largest process."""

    what: str
    rows: int
    seconds: float
    rows_per_s: float
    peak_mib: float


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, metavar="N", help="without images")
    parser.add_argument("--images", type=int, default=4_000, metavar="N", help="rows with images")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    options = parser.parse_args(arguments)

    def program() -> int:
        with tempfile.TemporaryDirectory() as place:
            figures = [
                measure(Path(place) / "table", options.rows, "table", "no"),
                measure(Path(place) / "images", options.images, "images, decoded", "decode"),
            ]
        if options.json:
            write_json(options.json, [asdict(row) for row in figures])
        show(figures)
        return 0

    return exit_code(program)


def measure(place: Path, rows: int, what: str, check: str) -> Figures:
    """Make a dataset up and prepare it; the time of the second only."""
    publish(place / "in", rows, with_images=check == "decode")
    words = ["osv5m", str(place / "in"), str(place / "out"), "--check-images", check]
    began = time.monotonic()
    command = [sys.executable, "-c", _CHILD, *words]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    seconds = time.monotonic() - began
    *summary, peak = said.splitlines()
    assert json.loads("".join(summary))["records"] == rows
    return Figures(what, rows, seconds, rows / seconds, int(peak) / 1024)


_CHILD: Final = """
import resource, sys
from geoagent.cli import main
code = main(["data", "prepare", *sys.argv[1:]])
whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
print(max(resource.getrusage(who).ru_maxrss for who in whose))
raise SystemExit(code)
"""


def publish(folder: Path, rows: int, with_images: bool) -> None:
    """A dataset in OSV-5M's form; a row has 330 bytes."""
    draw = random.Random(0)
    folder.mkdir(parents=True)
    image = _image() if with_images else b""
    with (folder / "train.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS.split(","))
        for number in range(rows):
            name = str(3859149887465501 + number)
            place = [draw.uniform(-55, 65), draw.uniform(-180, 180)]
            country = draw.choice(("NZ", "FR", "US", "BR"))
            cells = [name, *place, "https://" + "x" * 80, country, f"s{number}", "1500000000"]
            cells += [8, 8, "(0, 8)", "Chatham Islands", "", "Waitangi", 4, 4.661764145, 1, 15, 3]
            cells += [0.0068841379890803, *[0] * 7, "Chatham Islands_NZ", "", "Waitangi_NaN_NZ"]
            writer.writerow([*cells, "NZ", "roadroid", "111336221091714.0"])
            if with_images:
                path = folder / "images" / "train" / f"{number % 50:02d}" / f"{name}.jpg"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(image)


def _image() -> bytes:
    import io

    from PIL import Image

    buffer = io.BytesIO()
    Image.effect_noise((86, 64), 90).convert("RGB").resize(SIZE).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def show(figures: list[Figures]) -> None:
    table = Table(title=f"data prepare, {os.cpu_count()} cores")
    for name in ("what", "rows", "s", "rows/s", "peak MiB"):
        table.add_column(name, justify="left" if name == "what" else "right")
    for row in figures:
        cells = (f"{row.rows:,}", f"{row.seconds:.1f}", f"{row.rows_per_s:,.0f}")
        table.add_row(row.what, *cells, f"{row.peak_mib:.0f}")
    Console().print(table)


if __name__ == "__main__":
    raise SystemExit(main())
