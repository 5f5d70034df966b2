"""How near reading records and decoding their images comes to Pillow alone: `make bench-decoding`.

Images of OSV-5M's height, made up. `read_records` with checked images, which `prepare` does for
each row that is trained on, beside a loop that opens and decodes the same files with Pillow; and
without images, beside `json.loads` of the same lines. Figures are medians of three.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from harness import Figures, bars, medians, percent, run, seconds, table
from prepare import SIZE
from rich.console import Console

from geoagent.data.record import read_records
from geoagent.files import write_jsonl

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ROUNDS: Final = 3


def measure(options: argparse.Namespace) -> Figures:
    """All figures, as JSON."""
    with tempfile.TemporaryDirectory(prefix="decoding-") as place:
        folder = Path(place)
        rows = publish(folder, options.images)

        def ours(number: int) -> float:
            return seconds(lambda: read_records(folder, check_images=True))

        def unchecked(number: int) -> float:
            return seconds(lambda: read_records(folder, check_images=False))

        def pillow(number: int) -> float:
            return seconds(lambda: [_decoded(folder / row["image"]) for row in rows])

        def plain(number: int) -> float:
            lines = (folder / "records.jsonl").read_text().splitlines()
            return seconds(lambda: [json.loads(line) for line in lines])

        pairs = {
            "records, images decoded": medians(ROUNDS, ours, pillow),
            "records alone": medians(ROUNDS, unchecked, plain),
        }
        records, refused = read_records(folder)
        assert (len(records), len(refused)) == (len(rows), 0)
    cases = [
        {
            "what": what,
            "rows": len(rows),
            "rows_per_s": len(rows) / taken,
            "limit_per_s": len(rows) / least,
            "share": least / taken,
        }
        for what, (taken, least) in pairs.items()
    ]
    return {"cases": cases}


def publish(folder: Path, count: int) -> list[dict[str, Any]]:
    """A dataset folder of so many rows, each with an image of its own; returns its rows."""
    from PIL import Image

    rows: list[dict[str, Any]] = []
    for number in range(count):
        name = f"{number:05d}.jpg"
        noise = Image.effect_noise((86, 64), 40 + number % 50).convert("RGB")
        noise.resize(SIZE).save(folder / name, quality=85)
        place = {"latitude": number % 60, "longitude": number % 170, "country": "Nowhere"}
        rows.append({"id": str(number), "image": name, **place, "split": "train"})
    write_jsonl(folder / "records.jsonl", rows)
    return rows


def _decoded(path: Path) -> tuple[int, int]:
    from PIL import Image

    with Image.open(path) as image:
        image.load()
        return image.size


def show(figures: Figures, console: Console) -> None:
    """Print the figures."""
    keys = ("what", "rows", "rows_per_s", "limit_per_s")
    rows = [(*(case[key] for key in keys), percent(case["share"])) for case in figures["cases"]]
    heads = ("", "rows", "rows/s", "Pillow or json alone", "share")
    console.print(table("Reading records", heads, rows))


def draw(figures: Figures) -> Figure:
    """Rows a second."""
    cases = figures["cases"]
    series = {"ours": "rows_per_s", "Pillow or json alone": "limit_per_s"}
    values = {label: [case[key] for case in cases] for label, key in series.items()}
    labels = [case["what"] for case in cases]
    return bars("Reading records", "rows a second", labels, values, logarithmic=True)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=int, default=1000, metavar="N", help="images (1000)")


if __name__ == "__main__":
    sys.exit(run("decoding", __doc__, measure, show, draw, options=_options))
