"""All rows that a sample may be drawn from, as compact arrays: 20 bytes a row.

The rows stay in their file; where each begins is kept, so that the chosen ones can be read again.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from geoagent.data.record import (
    DEFAULT_SPLIT,
    RECORDS_FILE,
    Record,
    Rejected,
    as_text,
    parse_line,
    read_bytes,
    reason_kind,
    to_record,
)
from geoagent.errors import UsageError
from geoagent.geo.cells import cell_of
from geoagent.geo.countries import countries
from geoagent.geo.gazetteer import gazetteer
from geoagent.geo.reverse import reverse_many

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.progress import Progress

_NOWHERE: Final = -1
_BATCH: Final = 20_000
"""Points whose country is asked for at once."""
_EXAMPLES: Final = 5
"""Refused rows that are kept of each kind."""


@dataclass
class Refusals:
    """Refused rows: how many of each kind, and the first of each."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: list[Rejected] = field(default_factory=list)

    def wants(self, reason: str) -> bool:
        """Whether one more of this kind would be kept, and not only counted."""
        return self.counts[reason_kind(reason)] < _EXAMPLES

    def more(self) -> Iterator[tuple[str, int]]:
        """Kinds, and how many rows of them are only counted."""
        for kind, count in self.counts.most_common():
            if count > _EXAMPLES:
                yield kind, count - _EXAMPLES

    def add(self, line: int, row_id: str, reason: str) -> None:
        row = Rejected(line, row_id, reason)
        self.counts[row.kind] += 1
        if self.counts[row.kind] <= _EXAMPLES:
            self.examples.append(row)


@dataclass(frozen=True)
class Pool:
    """Usable rows of a dataset folder; the arrays have one number a row, in the file's order.

    `offsets`: where its line begins, in bytes. `marks`: a hash of its id and the seed. `countries`:
    its country's place in `countries()`. `cells`: its cell of 1°. `rows` counts all rows of the
    chosen split, `at_sea` those in no country; `sha256` is that of the file.
    """

    folder: Path
    seed: int
    sha256: str
    rows: int
    at_sea: int
    refusals: Refusals
    offsets: NDArray[np.int64]
    marks: NDArray[np.uint64]
    countries: NDArray[np.int16]
    cells: NDArray[np.uint16]

    @property
    def file(self) -> Path:
        return self.folder / RECORDS_FILE

    def only(self, kept: NDArray[np.bool_]) -> Pool:
        """The pool with a part of its rows."""
        columns = ("offsets", "marks", "countries", "cells")
        return replace(self, **{name: getattr(self, name)[kept] for name in columns})

    def read(self, place: int, file: BinaryIO) -> dict[str, Any]:
        """The row of a place in the arrays, from the open file; UsageError if it isn't there any
        more."""
        file.seek(int(self.offsets[place]))
        try:
            row = parse_line(as_text(file.readline()))
        except ValueError:
            row = {}
        if mark(str(row.get("id")), self.seed) != int(self.marks[place]):
            raise UsageError(f"{self.file}: was changed while it was being read; try again")
        return row

    def refuse(self, place: int, row_id: str, reason: str, file: BinaryIO) -> None:
        """Count a row that was found to be unusable after all; the caller leaves it out."""
        if self.refusals.wants(reason):
            self.refusals.add(_line_at(file, int(self.offsets[place])), row_id, reason)
        else:
            self.refusals.add(0, row_id, reason)


def mark(row_id: str, seed: int) -> int:
    """64 bits that stand for a row: where chance needs a number for it, and to find it twice."""
    text = f"{seed}/{row_id}".encode(errors="surrogatepass")
    digest = hashlib.blake2b(text, digest_size=8)
    return int.from_bytes(digest.digest(), "little")


def read_pool(
    folder: Path, seed: int, split: str | None = None, bar: Progress | None = None
) -> Pool:
    """The usable rows of a dataset folder, read line by line; images are not looked at.

    A row's country is that of its `country_code`, else of its country's name, else of its
    coordinates. A row without one, at sea, is left out. Of rows with the same id the first counts.
    UsageError without a records.jsonl,
    or if there are several splits and none is chosen.
    """
    reader = _Reader(folder, seed, split)
    size = reader.file.stat().st_size if reader.file.is_file() else 0
    task = bar.add_task(f"reading {folder.name}", total=size) if bar else None
    for number, offset, raw in read_bytes(reader.file):
        reader.read(number, offset, raw)
        if bar and task is not None and number % 1000 == 0:
            bar.update(task, completed=offset)
    if bar and task is not None:
        bar.update(task, completed=size)
    return reader.pool()


class _Reader:
    """Lines → arrays that grow."""

    def __init__(self, folder: Path, seed: int, split: str | None) -> None:
        self.folder, self.seed, self.split = folder, seed, split
        self.file = folder / RECORDS_FILE
        self._hash = hashlib.sha256()
        self._refusals = Refusals()
        self._rows = 0
        self._splits: Counter[str] = Counter()
        self._offsets, self._marks = array("q"), array("Q")
        self._countries, self._cells = array("h"), array("H")
        self._asked: list[tuple[int, float, float]] = []

    def read(self, number: int, offset: int, raw: bytes) -> None:
        self._hash.update(raw)
        if not raw.strip():
            return
        row: dict[str, Any] = {}
        try:
            row = parse_line(as_text(raw))
            if self.split is not None and (row.get("split") or DEFAULT_SPLIT) != self.split:
                return
            record = to_record(row)
            self._splits[record.split] += 1
        except ValueError as error:
            self._refusals.add(number, str(row.get("id", ""))[:200], str(error))
        else:
            self._keep(offset, record)
        self._rows += 1

    def _keep(self, offset: int, record: Record) -> None:
        country = named(record.country_code, record.country)
        if country == _NOWHERE:
            self._asked.append((len(self._offsets), record.latitude, record.longitude))
        self._offsets.append(offset)
        self._marks.append(mark(record.id, self.seed))
        self._countries.append(country)
        self._cells.append(cell_of(record.latitude, record.longitude))
        if len(self._asked) == _BATCH:
            self._ask()

    def _ask(self) -> None:
        """Countries by coordinates."""
        if not self._asked:
            return
        places, latitudes, longitudes = zip(*self._asked, strict=True)
        for place, spot in zip(places, reverse_many(latitudes, longitudes), strict=True):
            if spot is not None and spot.country_code is not None:
                self._countries[place] = _number(spot.country_code)
        self._asked.clear()

    def _check_splits(self) -> None:
        """What is trained on and what is tested on are not to be mixed without a word."""
        if self.split is None and len(self._splits) > 1:
            listed = ", ".join(f"{name} ({n})" for name, n in sorted(self._splits.items()))
            raise UsageError(
                f"{self.file}: has the splits {listed}; say which to draw from: "
                f"--split {self._splits.most_common(1)[0][0]}"
            )

    def pool(self) -> Pool:
        import numpy as np

        self._check_splits()
        self._ask()
        home = np.frombuffer(self._countries, dtype=np.int16)
        everything = Pool(
            folder=self.folder,
            seed=self.seed,
            sha256=self._hash.hexdigest(),
            rows=self._rows,
            at_sea=int((home == _NOWHERE).sum()),
            refusals=self._refusals,
            offsets=np.frombuffer(self._offsets, dtype=np.int64),
            marks=np.frombuffer(self._marks, dtype=np.uint64),
            countries=home,
            cells=np.frombuffer(self._cells, dtype=np.uint16),
        )
        kept = home != _NOWHERE
        again = _repeated(everything.marks)
        kept[again] = False
        with self.file.open("rb") as file:
            for place in again.tolist():
                row_id = str(everything.read(place, file).get("id"))[:200]
                everything.refuse(place, row_id, f"id '{row_id}' is used by an earlier row", file)
        return everything.only(kept)


def _line_at(file: BinaryIO, offset: int) -> int:
    """The number of the line that begins at an offset."""
    file.seek(0)
    number = 1
    while (left := offset - file.tell()) > 0:
        number += file.read(min(left, 1 << 20)).count(b"\n")
    return number


def _repeated(marks: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Where a mark stands that has stood before."""
    import numpy as np

    order = np.argsort(marks, kind="stable")
    same = marks[order[1:]] == marks[order[:-1]]
    return order[1:][same]


@lru_cache(maxsize=100_000)
def named(code: str, name: str) -> int:
    """The place in `countries()` of a country by its ISO code or else its name; -1 if both are
    unknown."""
    if (number := _number(code.upper())) != _NOWHERE:
        return number
    for text in (code, name):
        entry = gazetteer().country(text) if text else None
        if entry is not None and (number := _number(entry.country_code)) != _NOWHERE:
            return number
    return _NOWHERE


def _number(code: str) -> int:
    return _numbers().get(code, _NOWHERE)


@lru_cache(maxsize=1)
def _numbers() -> dict[str, int]:
    return {code: number for number, code in enumerate(countries())}
