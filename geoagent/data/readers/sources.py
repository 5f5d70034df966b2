"""What publishers call their files and columns: the table `datasets.yaml`, or one row of a
person's own, and the files of it that a folder holds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatch
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from geoagent.errors import UsageError

TABLE: Final = Path(__file__).with_name("datasets.yaml")
_SUFFIXES: Final = (".yaml", ".yml")


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A published dataset. The keys are explained in docs/how-to/your-dataset.md."""

    title: str
    files: dict[str, list[str]]
    fields: dict[str, str | list[str]] = {}
    images: list[str] = []
    keep: list[str] | None = None
    drop: list[str] = []
    flatten: list[str] = []
    header: list[str] | None = None
    conversation: Literal["think", "label", "trajectory"] | None = None
    name_pattern: str | None = None
    swapped: bool = False


class Published(msgspec.Struct, frozen=True):
    """One file of a dataset, or a folder of images, and the split that its rows belong to."""

    path: Path
    split: str


@cache
def sources() -> dict[str, Source]:
    """The published datasets that are known, by name."""
    return _read(TABLE)


def source(name: str) -> tuple[str, Source]:
    """The dataset of this name, or the only one that a YAML file describes; with its name.

    UsageError if there is none, or the file is wrong.
    """
    if name.endswith(_SUFFIXES):
        found = _read(Path(name))
        if len(found) != 1:
            raise UsageError(f"{name}: describes {len(found)} datasets; give one in a file")
        return next(iter(found.items()))
    known = sources()
    if name not in known:
        close = get_close_matches(name.lower(), known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise UsageError(
            f"{name}: no known dataset; {hint}There are: {', '.join(known)}; for one of your own "
            "give a YAML file (docs/how-to/your-dataset.md)"
        )
    return name, known[name]


def _read(path: Path) -> dict[str, Source]:
    import yaml

    try:
        document: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
        table = msgspec.convert(document, dict[str, Source])
        for entry in table.values():
            re.compile(entry.name_pattern or "")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError, msgspec.ValidationError, re.error) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"{path}: does not describe a dataset ({reason})") from error
    return table


def find_files(entry: Source, place: Path, split: str | None) -> list[Published]:
    """The files of a dataset in a folder, in order of split and name; or the one file that `place`
    is. UsageError says what was expected if there are none."""
    if place.is_file():
        return [Published(place, split or _split_of(entry, place))]
    if not place.is_dir():
        raise UsageError(f"{place}: there is no such file or folder")
    # A split that no file is for may be one that the rows name.
    wanted = {key: value for key, value in entry.files.items() if split == key} or entry.files
    found = [
        Published(path, name)
        for name, patterns in wanted.items()
        for path in _first(place, patterns)
    ]
    if not found:
        raise UsageError(_nothing(entry, place, wanted))
    return found


def _split_of(entry: Source, file: Path) -> str:
    """The split that a file's name belongs to; UsageError if several could be."""
    fits = [
        name
        for name, patterns in entry.files.items()
        if any(fnmatch(file.name, pattern.rpartition("/")[2]) for pattern in patterns)
    ]
    chosen = fits or list(entry.files)
    if len(chosen) > 1:
        names = " or ".join(f"--split {name}" for name in chosen)
        raise UsageError(f"{file}: its name does not tell its split; say {names}")
    return chosen[0]


def _first(place: Path, patterns: Sequence[str]) -> list[Path]:
    for pattern in patterns:
        if pattern == ".":
            return [place]
        if found := sorted(path for path in place.glob(pattern) if path.is_file()):
            return found
    return []


def _nothing(entry: Source, place: Path, wanted: dict[str, list[str]]) -> str:
    expected = "; ".join(f"{' or '.join(patterns)} ({name})" for name, patterns in wanted.items())
    there = sorted(path.name + "/" * path.is_dir() for path in islice(place.iterdir(), 1000))
    listed = ", ".join(there[:8]) + (", …" if len(there) > 8 else "") or "nothing"
    return (
        f"{place}: no file of {entry.title} there; expected: {expected}; it holds: {listed} "
        "(docs/how-to/datasets.md)"
    )
