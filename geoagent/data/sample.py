"""The bundled sample: scenes of real places, drawn by code, with chains of thought."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from geoagent.data.cot import chain_of_thought
from geoagent.data.places import City, Country, countries
from geoagent.data.record import RECORDS_FILE, Record
from geoagent.data.scenes import render
from geoagent.files import read_json, write_json, write_jsonl

HELDOUT_PER_COUNTRY: Final = 2
VERSION: Final = 1
"""Raise it when scenes or texts change, so that older folders are built again."""
_MARK: Final = "sample.json"


def build_sample(folder: Path, scenes_per_country: int, seed: int = 0) -> None:
    """Build the sample in `folder`, whole or not at all; nothing is done if it is there already.

    Splits: `train` with scenes_per_country scenes of each country, `heldout` with 2 others.
    """
    wanted = {"version": VERSION, "scenes_per_country": scenes_per_country, "seed": seed}
    if (folder / _MARK).is_file() and read_json(folder / _MARK) == wanted:
        return
    part = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(part, ignore_errors=True)
    (part / "images").mkdir(parents=True)
    try:
        write_jsonl(
            part / RECORDS_FILE, [r.to_row() for r in _draw(part, scenes_per_country, seed)]
        )
        write_json(part / _MARK, wanted)
        shutil.rmtree(folder, ignore_errors=True)
        part.rename(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _draw(folder: Path, scenes_per_country: int, seed: int) -> Iterator[Record]:
    from rich.console import Console
    from rich.progress import track

    scenes = list(_plan(scenes_per_country))
    console = Console(stderr=True)
    quiet = not console.is_terminal
    for split, index, country, city in track(
        scenes, "drawing scenes", console=console, disable=quiet, transient=True
    ):
        name = f"{split}-{country.code.lower()}-{index:03d}"
        key = f"{seed}/{name}"
        scene = render(country, city, key)
        scene.image.save(folder / "images" / f"{name}.jpg", quality=90)
        yield _record(name, split, country, city, chain_of_thought(country, city))


def _plan(scenes_per_country: int) -> Iterator[tuple[str, int, Country, City]]:
    """Split, number, country and city of every scene; cities take turns."""
    counts = {"train": scenes_per_country, "heldout": HELDOUT_PER_COUNTRY}
    for split, count in counts.items():
        for country in countries():
            for index in range(count):
                yield split, index, country, country.cities[index % len(country.cities)]


def _record(name: str, split: str, country: Country, city: City, think: str) -> Record:
    return Record(
        id=name,
        image=f"images/{name}.jpg",
        latitude=city.latitude,
        longitude=city.longitude,
        country=country.name,
        region=city.region,
        city=city.name,
        address=f"{country.name}; {city.region}; {city.name}",
        split=split,
        country_code=country.code,
        think=think,
    )
