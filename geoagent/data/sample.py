"""The bundled sample: scenes of real places, drawn by code, with chains of thought."""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from geoagent.data.cot import chain_of_thought
from geoagent.data.places import City, Country, countries
from geoagent.data.record import RECORDS_FILE, Record
from geoagent.data.scenes import Scene, render
from geoagent.errors import UsageError
from geoagent.files import part_of, read_if_there, read_json, sweep_parts, write_json, write_jsonl
from geoagent.progress import tracked

HELDOUT_PER_COUNTRY: Final = 2
VERSION: Final = 3
"""Raise it when scenes or texts change, so that older folders are built again."""
_MARK: Final = "sample.json"


def build_sample(folder: Path, scenes_per_country: int, seed: int = 0) -> None:
    """Build the sample in `folder`, whole or not at all; nothing is done if it is there already.

    Splits: `train` with scenes_per_country scenes of each country, `heldout` with 2 others.
    Processes may build the same folder at the same time. UsageError: the folder holds something
    else than a sample, or cannot be written.
    """
    wanted = {"version": VERSION, "scenes_per_country": scenes_per_country, "seed": seed}
    if scenes_per_country < 1:
        raise UsageError(f"{scenes_per_country} scenes a country: 1 or more are needed")
    part = part_of(folder)
    try:
        if _holds(folder, wanted):
            return
        if folder.exists() and not _replaceable(folder):
            raise UsageError(f"{folder}: exists and is not a sample; it would be replaced")
        sweep_parts(folder)
        (part / "images").mkdir(parents=True)
        rows = [record.to_row() for record in _draw(part, scenes_per_country, seed)]
        write_jsonl(part / RECORDS_FILE, rows)
        write_json(part / _MARK, wanted)
        _put(part, folder, wanted)
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"{folder}: the sample cannot be built there ({reason})") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def is_sample(folder: Path) -> bool:
    """Whether a folder holds a drawn sample, of whichever version."""
    return "scenes_per_country" in read_if_there(folder / _MARK)


def _holds(folder: Path, wanted: dict[str, int]) -> bool:
    """Is it this sample? The mark is written last, before the folder gets its name."""
    return read_if_there(folder / _MARK) == wanted


def _replaceable(folder: Path) -> bool:
    """Another sample, or an empty folder: nothing that anybody would miss."""
    return folder.is_dir() and ((folder / _MARK).is_file() or not any(folder.iterdir()))


def _put(part: Path, folder: Path, wanted: dict[str, int]) -> None:
    """Move the finished sample to its place, unless another process was faster."""
    replaced = "replaced"
    if _holds(folder, wanted):
        return
    with suppress(FileNotFoundError):
        folder.rename(part / replaced)
    try:
        part.rename(folder)
    except OSError:
        if not _holds(folder, wanted):
            raise
    shutil.rmtree(folder / replaced, ignore_errors=True)


def _draw(folder: Path, scenes_per_country: int, seed: int) -> Iterator[Record]:
    scenes = list(_plan(scenes_per_country))
    for split, index, country, city in tracked(scenes, "drawing scenes"):
        name = f"{split}-{country.code.lower()}-{index:03d}"
        key = _key(seed, name)
        scene = render(country, city, key)
        scene.image.save(folder / "images" / f"{name}.jpg", quality=90)
        think = chain_of_thought(country, city, precise=split != "train" or _goes_on(key))
        yield _record(name, split, country, city, think)


def _key(seed: int, name: str) -> str:
    """What a scene is drawn from."""
    return f"{seed}/{name}"


def scene_of(folder: Path, record: Record) -> Scene:
    """The scene of a record of the sample in `folder`, drawn again, which tells where things are in
    the picture. UsageError if the folder holds no sample of this version, or not that record."""
    mark = folder / _MARK
    about = read_json(mark)
    places = [
        (country, city)
        for country in countries()
        for city in country.cities
        if (country.code, city.name) == (record.country_code, record.city)
    ]
    if about.get("version") != VERSION or not places:
        raise UsageError(f"{mark}: {record.id} is no scene of a sample of version {VERSION}")
    country, city = places[0]
    return render(country, city, _key(about["seed"], record.id))


def _goes_on(key: str) -> bool:
    """Whether a training scene's chain of thought goes on to the place: two in five do, whatever
    the picture shows. A model trained on them mostly stops, and rewards can teach it not to."""
    return zlib.crc32(key.encode()) % 5 < 2


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
