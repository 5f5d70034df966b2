"""Rows of predictions → the quality of their chains, kept row by row, and the figures of all."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from geoagent.data.record import Record, check_image
from geoagent.errors import UsageError
from geoagent.evaluate.completions import mark
from geoagent.evaluate.cot.judge import KINDS
from geoagent.evaluate.cot.quality import FAILURES, Quality, Sample
from geoagent.evaluate.groups import Groups, labels
from geoagent.evaluate.intervals import mean_interval
from geoagent.evaluate.rules import Missing
from geoagent.files import append_jsonl, read_json, write_json, write_jsonl
from geoagent.progress import progress_bar
from geoagent.rollout.trace import completions

if TYPE_CHECKING:
    from PIL.Image import Image

Row = Mapping[str, Any]
ROWS_FILE: Final = "rows.jsonl"
SETTINGS_FILE: Final = "settings.json"
FIGURES_FILE: Final = "figures.json"
_FORM: Final = 2
"""Counts up when the same inputs get another score."""
_AT_ONCE: Final = 32
"""Samples whose questions the judge gets together, and that are lost if it is stopped."""
_MARK: Final = "made_with"


class Parts:
    """The rows in a folder that hold for these settings; UsageError if it has those of others."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self._file = folder / ROWS_FILE
        self._known: dict[str, dict[str, Any]] = {}
        made_with = {"form": _FORM, **settings}
        path = folder / SETTINGS_FILE
        if path.is_file() and (found := read_json(path)) != made_with:
            raise UsageError(f"{folder}: {_difference(found, made_with)}; choose another --out")
        write_json(path, made_with)
        if self._file.is_file():
            rows = list(_whole(self._file))
            # A judge that is asked again may reply.
            self._known = {row[_MARK]: row for row in rows if not row.get("unanswered")}
            write_jsonl(self._file, rows)  # without a line that a kill has cut

    def get(self, name: str) -> dict[str, Any] | None:
        return self._known.get(name)

    def add(self, rows: Sequence[dict[str, Any]]) -> None:
        append_jsonl(self._file, rows)

    def write_figures(self, figures: Mapping[str, Any]) -> None:
        """Keep what a report shows: the figures of all rows and of each model."""
        write_json(self._file.with_name(FIGURES_FILE), figures)

    def finish(self, rows: Sequence[dict[str, Any]]) -> None:
        """Keep these rows and no older ones of the same predictions."""
        write_jsonl(self._file, rows)


def _difference(found: Any, wanted: Mapping[str, Any]) -> str:
    if not isinstance(found, dict):
        return f"{SETTINGS_FILE} is not a JSON object"
    names = [name for name, value in wanted.items() if found.get(name) != value]
    return f"holds what was made with other {' and '.join(names) or 'settings'}"


def _whole(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and isinstance(row.get(_MARK), str):
            yield row


def annotated_chain(record: Record) -> str | None:
    """The chain that people or a strong model have written: `think`, or GREval-Bench's `gt_cot`."""
    given = record.think or record.extra.get("gt_cot")
    return given if isinstance(given, str) else None


def assess(
    rows: Sequence[Row],
    records: Mapping[str, Record],
    images: Path,
    quality: Quality,
    parts: Parts,
) -> list[dict[str, Any]]:
    """The row of each prediction's chain, in order. `rows` have `id`, `completion` or `trace`, and
    `model` and `draw` if there are several; `images` is the folder of the dataset's images. Rows
    that `parts` has are taken from there, all others are added to it, some at a time."""
    marks = [_mark_of(row, records[str(row["id"])], images) for row in rows]
    known = {name: row for name in marks if (row := parts.get(name)) is not None}
    new = [number for number, name in enumerate(marks) if name not in known]
    for some in _shown(new):
        samples = [_sample(rows[i], records[str(rows[i]["id"])], images) for i in some]
        scored = [
            {**_named(rows[i]), **score, _MARK: marks[i]}
            for i, score in zip(some, quality.score(samples), strict=True)
        ]
        parts.add(scored)
        known |= {row[_MARK]: row for row in scored}
    ordered = [known[name] for name in marks]
    parts.finish(ordered)
    return ordered


def _mark_of(row: Row, record: Record, images: Path) -> str:
    """What a score depends on besides the settings."""
    image = images / record.image
    state = image.stat() if image.is_file() else None
    size, time = (state.st_size, state.st_mtime_ns) if state else (0, 0)
    chain = annotated_chain(record)
    return mark([list(_named(row).items()), _said(row), chain, record.image, size, time])


def _named(row: Row) -> dict[str, Any]:
    return {name: row[name] for name in ("model", "draw", "id") if row.get(name) is not None}


def _said(row: Row) -> list[str] | None:
    """The completions of a row; None if nothing was predicted."""
    return None if isinstance(row.get("answer"), Missing) else completions(row)


def _sample(row: Row, record: Record, images: Path) -> Sample:
    def image() -> Image:
        from PIL import Image

        check_image(images, record.image)
        return Image.open(images / record.image)

    return Sample(_said(row), annotated_chain(record), image)


def _shown(numbers: Sequence[int]) -> Iterator[Sequence[int]]:
    """Some of the numbers at a time, with a bar for whoever watches."""
    with progress_bar() as shown:
        task = shown.add_task("judging chains", total=len(numbers))
        for start in range(0, len(numbers), _AT_ONCE):
            some = numbers[start : start + _AT_ONCE]
            yield some
            shown.advance(task, len(some))


def figures(rows: Sequence[Row], scored: Sequence[Row], by: Sequence[str] = ()) -> dict[str, Any]:
    """Means of what `assess` gave for `rows`, with 95 % bootstrap intervals, and of each group of
    the break-downs. ValueError if a row cannot be sorted in."""
    result = _figures(scored)
    if by:
        result["by"] = {name: _of_groups(name, rows, scored) for name in dict.fromkeys(by)}
    return result


def _of_groups(name: str, rows: Sequence[Row], scored: Sequence[Row]) -> dict[str, Any]:
    groups = Groups(name)
    groups.add(labels(name, rows))
    return {
        label: _figures([scored[number] for number in members])
        for label, members in groups.members()
    }


def _figures(scored: Sequence[Row]) -> dict[str, Any]:
    """A row without a score is in no mean; `scored` counts the others, part by part."""
    import numpy as np

    names = ("cot_quality", *KINDS)
    columns = {
        name: np.array([row[name] for row in scored if row[name] is not None], dtype=float)
        for name in names
    }
    return {
        "count": len(scored),
        **{name: float(column.mean()) if len(column) else None for name, column in columns.items()},
        "scored": {name: len(column) for name, column in columns.items()},
        "failures": {name: sum(row["failure"] == name for row in scored) for name in FAILURES},
        "unanswered": sum(row["unanswered"] for row in scored),
        "intervals": {
            name: list(mean_interval(column)) for name, column in columns.items() if len(column)
        },
    }
