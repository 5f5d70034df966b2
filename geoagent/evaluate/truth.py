"""Predictions that lack the truth, joined with a dataset folder by `id`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from geoagent.data.record import RECORDS_FILE, Record, read_records
from geoagent.data.swift import truth
from geoagent.errors import UsageError
from geoagent.evaluate.groups import COLUMNS
from geoagent.evaluate.rules import Missing

Row = Mapping[str, Any]
_TOLD: Final = 5
"""Unknown ids that are named."""


class Truth:
    """The records of one split. UsageError if the folder has several and none is chosen."""

    def __init__(self, folder: Path, split: str | None = None) -> None:
        self.file = folder / RECORDS_FILE
        records, self.rejected = read_records(folder, split, check_images=False)
        splits = sorted({record.split for record in records})
        if not records:
            raise UsageError(f"{self.file}: no usable record in split '{split or 'any'}'")
        if len(splits) > 1:
            names = ", ".join(splits)
            raise UsageError(
                f"{self.file}: has the splits {names}; say which was predicted: --split {splits[0]}"
            )
        self.records = {record.id: record for record in records}
        self._predicted: dict[tuple[Any, Any], set[str]] = {}

    def __len__(self) -> int:
        return len(self.records)

    @property
    def missing(self) -> int:
        """Samples that a model has no row for, of all models; known after `join`."""
        return sum(len(self.records) - len(ids) for ids in self._predicted.values())

    def join(self, rows: Iterable[Row]) -> Iterator[Row]:
        """The rows with the columns of their record, which count where a row has them as well;
        then one without an answer for each sample that a model has no row for.

        UsageError at the end if there were ids that no record has.
        """
        unknown: list[str] = []
        count = 0
        for row in rows:
            name = str(row.get("id"))
            if name not in self.records:
                count += 1
                unknown += [name] if count <= _TOLD else []
                continue
            with suppress(TypeError):  # whoever reads the rows refuses what cannot be a key
                key = row.get("model"), row.get("draw")
                self._predicted.setdefault(key, set()).add(name)
            yield {**row, **_columns(self.records[name])}
        if count:
            more = f" and {count - _TOLD} more" if count > _TOLD else ""
            raise UsageError(f"{self.file}: has no record with id {', '.join(unknown)}{more}")
        for (model, draw), ids in self._predicted.items():
            for name in self.records.keys() - ids:
                about = _columns(self.records[name])
                yield {"model": model, "draw": draw, **_NOTHING, **about}


_NOTHING: Final = {"predicted_latitude": None, "predicted_longitude": None, "answer": Missing()}


def _columns(record: Record) -> dict[str, Any]:
    extra = {name: record.extra[name] for name in COLUMNS if name in record.extra}
    return {"id": record.id, **truth(record), **extra}
