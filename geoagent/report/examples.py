"""The best and the worst predictions, with their image and what the model wrote."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from geoagent.answer import LEVELS, parse
from geoagent.data.record import RECORDS_FILE, image_root, parse_line, read_lines
from geoagent.errors import UsageError
from geoagent.evaluate.metrics import THRESHOLDS_KM
from geoagent.report.load import Evaluation, Predictions
from geoagent.report.pictures import Box, Pictures, pictures
from geoagent.report.texts import cut
from geoagent.report.traces import Turn, read_turns, with_crops

SHOWN: Final = 4
"""Of the best and of the worst each."""
RIGHT_KM: Final = THRESHOLDS_KM[0]
"""Nearer than this is no example of a bad prediction."""
_NAMES: Final = {"country": "Country", "region": "Region", "precise": "Place"}


@dataclass(frozen=True)
class Stage:
    """A stage of the reasoning as it is shown."""

    name: str
    clues: tuple[str, ...]
    reasoning: str
    conclusion: str
    uncertainty: str


@dataclass(frozen=True)
class Example:
    """A prediction to look at; `image` is a data: address, or empty, and `missing` says why."""

    id: str
    distance_km: float | None
    answer: str
    truth: str
    stages: tuple[Stage, ...]
    completion: str
    """Only where neither turns nor stages could be read."""
    image: str
    missing: str
    turns: tuple[Turn, ...] = ()
    """Of a prediction with tools."""
    more: int = 0
    """Turns that are not shown."""


def extremes(predictions: Predictions) -> tuple[list[str], list[str]]:
    """Ids of the best predictions and of the worst, at most one of each country in either.

    Best are from the nearer half of the located images. Worst are from the farther half, if off by
    more than a street; those that were not located at all come after them, since there is nothing
    to see on a map. Equal distances: in the file's order.
    """
    import numpy as np

    distances = predictions.distance_km
    located = np.flatnonzero(~np.isnan(distances))
    nearest = located[np.argsort(distances[located], kind="stable")]
    half = -(-len(nearest) // 2)
    off = np.sort(nearest[half:])
    off = off[distances[off] > RIGHT_KM]
    farthest = off[np.argsort(-distances[off], kind="stable")]
    nowhere = np.flatnonzero(np.isnan(distances))
    return (
        _one_a_country(predictions, nearest[:half].tolist()),
        _one_a_country(predictions, [*farthest.tolist(), *nowhere.tolist()]),
    )


def _one_a_country(predictions: Predictions, order: Sequence[int]) -> list[str]:
    chosen: list[str] = []
    countries: set[str] = set()
    for index in order:
        name = predictions.ids[index]
        country = predictions.country[index] or name
        if len(chosen) < SHOWN and country not in countries:
            countries.add(country)
            chosen.append(name)
    return chosen


def examples(evaluation: Evaluation, model: str, ids: Collection[str]) -> dict[str, Example]:
    """What is shown of these rows of a model, by id."""
    rows = {row["id"]: row for row in _rows(evaluation.folder / "predictions.jsonl", model, ids)}
    turns = {name: read_turns(rows[name]) for name in ids}
    boxes = {name: [turn.box for turn in shown if turn.box] for name, (shown, _) in turns.items()}
    images = _images(evaluation.samples, boxes)
    return {name: _example(rows[name], *images[name], *turns[name]) for name in ids}


def _rows(file: Path, model: str, ids: Collection[str]) -> Iterator[dict[str, Any]]:
    for row in _with_ids(file, ids):
        if row.get("model") == model:
            yield row


def _with_ids(file: Path, ids: Collection[str]) -> Iterator[dict[str, Any]]:
    """Rows of a file with one of these ids. Of millions of lines, few have to be parsed."""
    wanted = set(ids)
    # As it stands in the file: with or without escapes; without quotation marks for a number.
    written = {form[1:-1] for name in ids for form in (json.dumps(name), _unescaped(name))}
    for _, line in read_lines(file):
        if any(name in line for name in written):
            with suppress(ValueError):
                row = parse_line(line)
                if str(row.get("id")) in wanted:
                    yield {**row, "id": str(row["id"])}


def _unescaped(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)


def _example(
    row: Mapping[str, Any], seen: Pictures, missing: str, turns: Sequence[Turn], more: int
) -> Example:
    completion = parse(row.get("completion"))
    stages = tuple(
        Stage(
            _NAMES[level],
            tuple(cut(clue, 120) for clue in stage.clues[:8]),
            cut(stage.reasoning),
            cut(stage.conclusion, 200),
            cut(stage.uncertainty, 200),
        )
        for level in LEVELS
        if (stage := completion.stages.get(level)) is not None
    )
    truth = [row.get(name) for name in ("country", "region", "city")]
    return Example(
        id=row["id"],
        distance_km=row.get("distance_km"),
        answer=cut(row.get("answer"), 200),
        truth="; ".join(part for part in truth if isinstance(part, str) and part),
        stages=stages,
        completion="" if stages or turns else cut(row.get("completion")),
        image=seen.image,
        missing=missing,
        turns=with_crops(turns, seen.crops),
        more=more,
    )


def _images(
    folder: Path | None, boxes: Mapping[str, Sequence[Box]]
) -> dict[str, tuple[Pictures, str]]:
    """For each id its pictures, or why there are none."""
    nothing = Pictures("", ())
    found = dict.fromkeys(boxes, (nothing, "the dataset folder is not there any more"))
    if folder is None or not (folder / RECORDS_FILE).is_file():
        return found
    found = dict.fromkeys(boxes, (nothing, "the dataset has no such id any more"))
    try:
        root = image_root(folder)
    except UsageError as error:
        return dict.fromkeys(boxes, (nothing, str(error)))
    for row in _with_ids(folder / RECORDS_FILE, boxes):
        try:
            found[row["id"]] = pictures(root, str(row.get("image")), boxes[row["id"]]), ""
        except ValueError as error:
            found[row["id"]] = nothing, str(error)
    return found
