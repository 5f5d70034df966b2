"""Rows of a dataset's files → batches of records, with what is still to be done about images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from geoagent.data.readers.formats import Item, Position, UnreadableError, read_rows
from geoagent.data.readers.images import FOLDER
from geoagent.data.readers.places import locate_answer, name_places
from geoagent.data.readers.plan import Plan, PlannedFile, bytes_held, held, image_name
from geoagent.data.record import Record, to_record
from geoagent.rewards.judge import read_label

BATCH: Final = 512
_BATCH_BYTES: Final = 16 << 20
"""Of images that rows hold: a batch has no more than one row beyond it."""
_ID_CHARACTERS: Final = 200


@dataclass
class Entry:
    """A row of a file: its record, or why there is none."""

    number: int | None
    """Its line in a text file, its row in others; None: what is left of the file."""
    id: str = ""
    reason: str = ""
    record: Record | None = None
    images: tuple[bytes, ...] = ()
    """Images that the row holds."""
    derived: bool = False
    """The id is the image's name, which other rows may have as well."""


@dataclass
class Batch:
    """Entries of one file, and how many of its rows are done after them; None: all are."""

    file: int
    done: int | None
    entries: list[Entry] = field(default_factory=list)
    hashes: Any = None
    """Of the ids that these entries are the first to use."""


def batches(
    plan: Plan, file: int, done: int, position: Position, size: int = BATCH
) -> Iterator[Batch]:
    """All that comes after the first `done` rows of a file (by number), in order.

    A file that cannot be read to its end gives an entry that says so, and the next one follows.
    """
    for number in range(file, len(plan.files)):
        yield from _of_file(plan, number, done, position, size)
        done = 0


def _of_file(plan: Plan, number: int, done: int, position: Position, size: int) -> Iterator[Batch]:
    planned, entry = plan.files[number], plan.source
    path = planned.published.path
    items: list[Item] = []
    weight = 0
    position.done = 0.0
    last = Batch(number, None)
    try:
        for item in read_rows(path, position, done, entry.header, entry.name_pattern):
            items.append(item)
            weight += bytes_held(item[1]) if isinstance(item[1], dict) else 0
            if len(items) >= size or weight > _BATCH_BYTES:
                done += len(items)
                yield Batch(number, done, _entries(plan, planned, items))
                items, weight = [], 0
    except UnreadableError as error:
        last.entries.append(Entry(None, reason=str(error)))
    last.entries[:0] = _entries(plan, planned, items)
    yield last


def _entries(plan: Plan, planned: PlannedFile, items: list[Item]) -> list[Entry]:
    """Rows of other splits than the one that is wanted are left out."""
    read = [(number, _read(plan, planned, item)) for number, item in items]
    wanted = plan.request.split
    read = [
        (number, row)
        for number, row in read
        if isinstance(row, str) or wanted in (None, row["split"])
    ]
    name_places([row for _, row in read if isinstance(row, dict)])
    return [
        Entry(number, reason=row) if isinstance(row, str) else _entry(plan, planned, number, row)
        for number, row in read
    ]


def _read(plan: Plan, planned: PlannedFile, item: dict[str, Any] | str) -> dict[str, Any] | str:
    """A row in our own terms; a reason stays what it is."""
    if isinstance(item, str):
        return item
    row = planned.fields.read(item, planned.image_column)
    if planned.swapped:
        row["latitude"], row["longitude"] = row.get("longitude"), row.get("latitude")
    if plan.source.conversation:
        locate_answer(row)
    row.setdefault("split", planned.published.split)
    return row


def _entry(plan: Plan, planned: PlannedFile, number: int, row: dict[str, Any]) -> Entry:
    images = held(row.get("image"))
    name = image_name(row.get("image"))
    derived = "id" not in row
    row.setdefault("id", name or f"{planned.published.split}-{number}")
    entry = Entry(number, str(row["id"])[:_ID_CHARACTERS], derived=derived, images=images)
    try:
        if plan.root is not None:
            row["image"] = planned.image_path(name) if name else None
        elif images:
            row["image"] = FOLDER
        else:
            raise ValueError("image: missing in the row, where others hold theirs")
        if plan.source.conversation == "label":
            row["label"] = read_label(row.get("label"))
        entry.record = to_record(row)
    except ValueError as error:
        entry.reason = str(error)
    return entry
