"""Figures that papers published, for the benchmarks that they were measured on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

TABLE: Final = Path(__file__).with_name("published.yaml")
_WORDS: Final = ("name", "source", "ablation")


@dataclass(frozen=True)
class Row:
    """A system's figures under the names and in the units of metrics.json."""

    name: str
    source: str
    figures: Mapping[str, float]
    ablation: bool = False


@dataclass(frozen=True)
class Published:
    """What is known of a benchmark; `images` is how many it has, None where no paper says, `base`
    the model that the papers trained."""

    title: str
    rows: tuple[Row, ...]
    images: int | None = None
    base: str = ""


def published(benchmark: str) -> Published | None:
    """The published figures of the benchmark with this name in RUN/eval, None if there are none."""
    return _benchmarks().get(benchmark.lower().replace("-", "_"))


def benchmarks() -> tuple[str, ...]:
    """Names of the benchmarks that have published figures."""
    return tuple(_benchmarks())


@cache
def _benchmarks() -> dict[str, Published]:
    import yaml

    document = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return {
        name: Published(
            title=benchmark["title"],
            images=benchmark.get("images"),
            base=document["base"],
            rows=tuple(_row(row, document["sources"]) for row in benchmark["rows"]),
        )
        for name, benchmark in document["benchmarks"].items()
    }


def _row(row: Mapping[str, Any], sources: Mapping[str, str]) -> Row:
    """Percentages become shares from 0 to 1."""
    figures = {
        key: value / 100 if "accuracy" in key else value
        for key, value in row.items()
        if key not in _WORDS
    }
    return Row(row["name"], sources[row["source"]], figures, row.get("ablation", False))
