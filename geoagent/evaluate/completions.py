"""What models have said on a benchmark, kept from the first batch on; shards write side by side."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from geoagent.errors import UsageError
from geoagent.files import append_jsonl, write_jsonl
from geoagent.run import Run

Key = tuple[str, int, str]
"""Model, draw (0: the evaluated completion), id of the record."""
MARK: Final = "made_with"
STAGE: Final = "eval"


@dataclass(frozen=True)
class Shard:
    """Every `count`-th batch from `index` (from 0) on; the same ones at every start."""

    index: int = 0
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """`K/N`; UsageError unless 0 ≤ K < N."""
        index, _, count = text.partition("/")
        if index.isdecimal() and count.isdecimal() and int(index) < int(count):
            return cls(int(index), int(count))
        raise UsageError(f"--shard {text}: not a shard such as 0/4 (0/4, 1/4, 2/4 and 3/4 are all)")

    @property
    def name(self) -> str:
        return f"{self.index}-of-{self.count}"

    @property
    def stage(self) -> str:
        """Where in the run directory it keeps what a stage does: progress, logs, done.json."""
        return f"{STAGE}/shards/{self.name}"

    def has(self, batch: int) -> bool:
        return batch % self.count == self.index


def shard_folders(run: Run) -> list[Path]:
    """Folders of the shards that were worked at last, in their order; empty if there are none or
    one."""
    files = run.stage(STAGE).glob("shards/*-of-*/progress.json")
    newest = max(files, key=written_at, default=None)
    count = int(newest.parent.name.rpartition("-")[2]) if newest else 0
    shards = [Shard(index, count) for index in range(count)]
    return [run.stage(shard.stage) for shard in shards] if count > 1 else []


def written_at(file: Path) -> float:
    """When a file was last written (seconds since 1970), 0 if it is not there any more."""
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def mark(made_with: Any) -> str:
    """A short name for all that completions depend on."""
    return hashlib.sha256(json.dumps(made_with, sort_keys=True).encode()).hexdigest()[:16]


class Completions:
    """Completions in `folder`, a file for each shard, of which this one writes only its own.

    `marks` (model → mark) tells which still hold: rows that were made with anything else, of other
    samples than `ids`, or that a kill has cut, are passed over. `traces` has what
    `Episode.trace` gives, of completions that were made with tools.
    """

    def __init__(
        self, folder: Path, shard: Shard, marks: Mapping[str, str], ids: Collection[str]
    ) -> None:
        self.folder = folder
        self.marks = marks
        self.ids = frozenset(ids)
        self.texts: dict[Key, str] = {}
        self.traces: dict[Key, Mapping[str, Any]] = {}
        self._shard = shard
        self._file = folder / f"{shard.name}.jsonl"
        self.read()

    def read(self) -> None:
        """Learn what all shards have written by now."""
        for path in sorted(self.folder.glob("*.jsonl")):
            for row in self._rows(path):
                self.texts[_key(row)] = row["completion"]
                if "trace" in row:
                    self.traces[_key(row)] = row["trace"]

    def begin(self) -> None:
        """Make ready to write. What does not hold is dropped from this shard's file, a cut line
        above all: a row that is appended to it would be lost."""
        self.folder.mkdir(parents=True, exist_ok=True)
        for index in range(self._shard.count):
            # Network file systems may show a new file a minute late, but not to who has touched it.
            (self.folder / f"{Shard(index, self._shard.count).name}.jsonl").touch()
        write_jsonl(self._file, list(self._rows(self._file)))

    def add(
        self, texts: Mapping[Key, str], traces: Mapping[Key, Mapping[str, Any]] | None = None
    ) -> None:
        """Keep what is new."""
        new = {key: text for key, text in texts.items() if key not in self.texts}
        self.texts.update(new)
        self.traces.update({key: trace for key, trace in (traces or {}).items() if key in new})
        append_jsonl(self._file, [self._row(key, text) for key, text in new.items()])

    def _row(self, key: Key, text: str) -> dict[str, Any]:
        model, draw, record = key
        row: dict[str, Any] = {"model": model, "id": record, "completion": text}
        if key in self.traces:
            row["trace"] = self.traces[key]
        return {**row, "draw": draw, MARK: self.marks[model]}

    def _rows(self, path: Path) -> Iterator[dict[str, Any]]:
        with path.open("rb") as file:
            for line in file:
                try:
                    row = json.loads(line)
                    holds = self.marks.get(row["model"]) == row[MARK] and row["id"] in self.ids
                except (ValueError, KeyError, TypeError):
                    continue
                if holds and {"completion", "draw"} <= row.keys():
                    yield row


def _key(row: Mapping[str, Any]) -> Key:
    return row["model"], row["draw"], row["id"]
