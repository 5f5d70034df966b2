"""The countries and cities of the bundled sample, read from places.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

PLACES_FILE: Final = Path(__file__).with_name("places.yaml")


@dataclass(frozen=True)
class City:
    """A real city; `sign` is its name as local road signs write it, `biome` its own or else its
    country's."""

    name: str
    region: str
    sign: str
    setting: str
    biome: str
    latitude: float
    longitude: float


@dataclass(frozen=True)
class Country:
    """What a street in this country looks like, as far as the renderer knows it."""

    code: str
    name: str
    driving_side: str
    line: str
    flag: str
    plate: tuple[str, str, str]
    wall: str
    roof: str
    cities: tuple[City, ...]


@cache
def countries() -> tuple[Country, ...]:
    """All countries of the sample in the order of the file."""
    import yaml

    rows = yaml.safe_load(PLACES_FILE.read_text(encoding="utf-8"))
    return tuple(
        Country(
            **{
                **{key: value for key, value in row.items() if key != "biome"},
                "plate": tuple(row["plate"]),
                "cities": tuple(City(**{"biome": row["biome"], **c}) for c in row["cities"]),
            }
        )
        for row in rows
    )
