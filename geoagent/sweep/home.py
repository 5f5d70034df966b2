"""The folder of a sweep: sweep.json, a run directory for each trial and for each shared stage."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from geoagent.errors import UsageError
from geoagent.files import read_json, write_json
from geoagent.run import Run

SWEEP_FILE: Final = "sweep.json"
RESULTS: Final = "results"
"""Folder of the tables and pictures, in the sweep's."""


@dataclass
class Row:
    """A point of the table, with the run directory of each of its seeds."""

    point: str
    settings: dict[str, Any]
    dimensions: dict[str, Any]
    stages: list[str]
    published: str | None
    runs: dict[str, str]
    """By seed, the name of its folder in the sweep's."""


@dataclass
class SweepHome:
    """What sweep.json says.

    `source`, `words`, `given_seeds` and `given_parallel` are what the sweep was last called with,
    `seeds` and `parallel` what it came to; `stages` has by a stage's key the name of the folder
    whose run makes it, also of points that are in the YAML no longer.
    """

    path: Path
    source: str
    title: str
    words: list[str]
    seeds: list[int]
    parallel: int | None
    metrics: list[str]
    published: str | None
    given_seeds: list[int] = field(default_factory=list)
    given_parallel: int | None = None
    rows: list[Row] = field(default_factory=list)
    stages: dict[str, str] = field(default_factory=dict)

    @staticmethod
    def at(path: Path) -> bool:
        """Whether a sweep has its folder here."""
        return (path / SWEEP_FILE).is_file()

    @classmethod
    def open(cls, path: Path) -> SweepHome:
        """UsageError if no sweep has its folder here, or sweep.json is not one's."""
        if not cls.at(path):
            raise UsageError(f"{path}: not a sweep's folder (it has no {SWEEP_FILE})")
        document = read_json(path / SWEEP_FILE)
        try:
            rows = [Row(**row) for row in document.pop("rows")]
            return cls(path=path, rows=rows, **document)
        except (TypeError, KeyError, AttributeError) as error:
            raise UsageError(
                f"{path / SWEEP_FILE}: is not what this version of the sweep writes ({error}); "
                "submit the sweep again"
            ) from error

    def save(self) -> None:
        document = asdict(self)
        del document["path"]
        write_json(self.path / SWEEP_FILE, document)

    def run(self, folder: str) -> Run:
        return Run(self.path / folder)
