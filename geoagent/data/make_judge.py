"""Predictions and a threshold → judge data: rows that are true or false, as many of each."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice, zip_longest
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

from geoagent.answer import parse
from geoagent.data.judge import SPLIT
from geoagent.data.prompt import coordinates_answer
from geoagent.data.readers.images import hash64
from geoagent.data.record import (
    DATASET_FILE,
    RECORDS_FILE,
    Record,
    coordinate,
    find_image,
    image_root,
    iter_records,
    parse_line,
    read_lines,
)
from geoagent.errors import UsageError
from geoagent.files import new_folder, write_json, write_jsonl
from geoagent.geo.distance import great_circle_km
from geoagent.rollout.trace import completions

SUMMARY_FILE: Final = "summary.json"
NO_ANSWER, TOLD_BEFORE = "no answer", "told before"
Item = TypeVar("Item")


# --- what was predicted ----------------------------------------------------------------------


@dataclass(frozen=True)
class Said:
    """A prediction: its chain of thought (with tools, of all turns), its answer ("" if it gives
    none), and where that is in degrees, or None if it is nowhere."""

    chain: str
    answer: str
    point: tuple[float, float] | None


def read_prediction(row: Mapping[str, Any]) -> Said:
    """What a row of predictions.jsonl says; ValueError says what it lacks."""
    texts = completions(row)
    point = None
    names = ("predicted_latitude", "predicted_longitude")
    for name in names:
        if name not in row:
            raise ValueError(f"{name}: missing; null means that the answer is nowhere")
    if any(row[name] is not None for name in names):
        point = coordinate(row, names[0], 90.0), coordinate(row, names[1], 180.0)
    read = parse(texts[-1])
    answer = read.answer or ""
    if not answer and read.coordinates is not None:
        answer = coordinates_answer(*read.coordinates)
    thoughts = [(parse(text).think or "").strip() for text in texts]
    return Said("\n".join(filter(None, thoughts)), answer.strip(), point)


class Place(NamedTuple):
    """Where a prediction stands: which file, and which line of it (from 1)."""

    file: int
    line: int


class Entry(NamedTuple):
    """A prediction that can be drawn, without its texts."""

    place: Place
    picture: str
    """Id of the record."""
    country: str
    label: bool
    distance_km: float | None


@dataclass
class Pool:
    """Predictions of one model about some records, each told once; their texts stay in the files.

    A prediction is true if it is nearer than `threshold_km`; one that is nowhere is false. The same
    chain and answer about the same image count once. Without an answer there is nothing to judge.
    """

    records: Mapping[str, Record]
    threshold_km: float
    model: str | None = None
    """Only this one's rows; None: there may only be one."""
    entries: list[Entry] = field(default_factory=list)
    counts: Counter[bool] = field(default_factory=Counter)
    """Entries by label."""
    dropped: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    """All rows by their model, "" for those that name none."""
    _seen: set[int] = field(default_factory=set)

    def add(self, place: Place, row: Mapping[str, Any]) -> None:
        """Take a row of predictions; ValueError if it cannot be used."""
        model = str(row.get("model") or "")
        if self.model not in (None, model):
            self.models[model] += 1
            return
        if "id" not in row:
            raise ValueError("id: missing")
        record = self.records.get(str(row["id"]))
        if record is None:
            raise ValueError(f"id: no record with a usable image has {str(row['id'])[:80]!r}")
        said = read_prediction(row)
        self.models[model] += 1
        if not said.answer:
            self.dropped[NO_ANSWER] += 1
            return
        mark = hash64("\0".join((record.image, said.answer, said.chain)))
        if mark in self._seen:
            self.dropped[TOLD_BEFORE] += 1
            return
        self._seen.add(mark)
        distance = None
        if said.point is not None:
            distance = great_circle_km(record.latitude, record.longitude, *said.point)
        label = distance is not None and distance < self.threshold_km
        self.counts[label] += 1
        self.entries.append(Entry(place, record.id, record.country, label, distance))

    def check(self) -> None:
        """UsageError unless these are one model's predictions, some of them true and some not."""
        if self.model is not None and not self.models[self.model]:
            raise UsageError(f"no usable row of model '{self.model}'; {self._listed()}")
        if self.model is None and len(self.models) > 1:
            raise UsageError(f"predictions of several models, choose one; {self._listed()}")
        dropped = ", ".join(f"{n} {why}" for why, n in self.dropped.items())
        others = f" (left out: {dropped})" if dropped else ""
        if not self.entries:
            raise UsageError(f"no prediction that can be judged{others}")
        for label in (True, False):
            if not self.counts[label]:
                other, way = ("false", "raise") if label else ("true", "lower")
                raise UsageError(
                    f"all {len(self.entries)} predictions{others} are {other} at "
                    f"{self.threshold_km:g} km, and there must be both: {way} the threshold, "
                    "sample more of each picture, or take another model"
                )

    def _listed(self) -> str:
        names = ", ".join(f"{name or '(none)'} ({n})" for name, n in sorted(self.models.items()))
        return f"there are: {names}"


# --- what is drawn ---------------------------------------------------------------------------


def draw(entries: Iterable[Entry], seed: int, limit: int | None = None) -> list[Entry]:
    """As many true ones as false ones, in the order of their places; together `limit` at most (but
    one of each at least).

    In each country as many true ones as false ones, as far as there are: or a model could tell the
    label from the country. Countries take turns, and each picture gives one before any gives two.
    """
    mixed = list(entries)
    random.Random(seed).shuffle(mixed)
    countries: dict[bool, dict[str, list[Entry]]] = {True: {}, False: {}}
    for _, entry in sorted(zip(_ranks(mixed), mixed, strict=True), key=lambda pair: pair[0]):
        countries[entry.label].setdefault(entry.country, []).append(entry)
    true, false = countries[True], countries[False]
    most = min(sum(map(len, side.values())) for side in (true, false))
    most = most if limit is None else min(most, max(1, limit // 2))
    pairs = {name: list(zip(true[name], false.get(name, ()), strict=False)) for name in true}
    paired = _in_turns(pairs.values(), most)
    chosen = list(chain.from_iterable(paired))
    for side in (true, false):
        rest = [some[len(pairs.get(name, ())) :] for name, some in side.items()]
        chosen += _in_turns(rest, most - len(paired))
    return sorted(chosen)


def _ranks(entries: Sequence[Entry]) -> list[int]:
    """Of each, how many of its picture with its label come before it."""
    counts: Counter[tuple[str, bool]] = Counter()
    ranks = []
    for entry in entries:
        ranks.append(counts[entry.picture, entry.label])
        counts[entry.picture, entry.label] += 1
    return ranks


def _in_turns(groups: Collection[Sequence[Item]], most: int) -> list[Item]:
    """The first of each group, then the second of each, and so on."""
    rounds = zip_longest(*groups)
    return list(islice((item for some in rounds for item in some if item is not None), most))


# --- files -----------------------------------------------------------------------------------


def predicted_records(folder: Path, files: Sequence[Path]) -> dict[str, Record]:
    """The records of a dataset folder that predictions are about, by id, as far as their images are
    there. UsageError without them."""
    wanted = {str(row["id"]) for file in files for row in _objects(file) if "id" in row}
    if not wanted and any(True for _ in _objects(files[0])):
        raise UsageError(f"{files[0]}:1: id: missing, as in all rows; it names the record")
    root = image_root(folder)
    found: dict[str, Record] = {}
    for record in iter_records(folder, check_images=False):
        if isinstance(record, Record) and record.id in wanted and _has_image(root, record):
            found[record.id] = replace(record, think=None, extra={})
    if not found:
        raise UsageError(
            f"{folder / RECORDS_FILE}: no record with an image has one of the ids of {files[0]}"
        )
    return found


def _has_image(root: Path, record: Record) -> bool:
    try:
        find_image(root, record.image)
    except ValueError:
        return False
    return True


def _objects(file: Path) -> Iterator[dict[str, Any]]:
    for _, line in read_lines(file):
        try:
            yield parse_line(line)
        except ValueError:
            continue


def write_judge(
    target: Path,
    files: Sequence[Path],
    folder: Path,
    pool: Pool,
    chosen: Sequence[Entry],
    made_with: Mapping[str, Any],
) -> dict[str, Any]:
    """Write the chosen predictions as a new dataset folder, whose images stay in that of `folder`;
    returns what it holds and what was left out, which is in its summary.json as well."""
    summary = summarised(pool, chosen)
    with new_folder(target) as part:
        write_jsonl(part / RECORDS_FILE, _rows(files, pool.records, chosen))
        about = {"images": str(image_root(folder)), "made_with": dict(made_with)}
        write_json(part / DATASET_FILE, about)
        write_json(part / SUMMARY_FILE, summary)
    return summary


def _rows(
    files: Sequence[Path], records: Mapping[str, Record], chosen: Sequence[Entry]
) -> Iterator[dict[str, Any]]:
    """Rows of records.jsonl, in the order of the predictions."""
    places = {entry.place: entry for entry in chosen}
    counts: Counter[str] = Counter()
    for number, file in enumerate(files):
        for line, text in read_lines(file):
            entry = places.get(Place(number, line))
            if entry is None:
                continue
            said = read_prediction(parse_line(text))
            counts[entry.picture] += 1
            record = records[entry.picture]
            yield {
                **replace(record, id=f"{record.id}#{counts[record.id]}", split=SPLIT).to_row(),
                "picture": record.id,
                "label": entry.label,
                "predicted_cot": said.chain,
                "predicted_answer": said.answer,
                "distance_km": entry.distance_km,
            }


def summarised(pool: Pool, chosen: Sequence[Entry]) -> dict[str, Any]:
    """Counts of predictions and of what was drawn of them."""
    labels = Counter(entry.label for entry in chosen)
    return {
        "records": len(chosen),
        "true": labels[True],
        "false": labels[False],
        "pictures": len({entry.picture for entry in chosen}),
        "countries": len({entry.country for entry in chosen}),
        "threshold_km": pool.threshold_km,
        "predictions": pool.models.total() if pool.model is None else pool.models[pool.model],
        "predicted_true": pool.counts[True],
        "predicted_false": pool.counts[False],
        "dropped": {
            NO_ANSWER: pool.dropped[NO_ANSWER],
            TOLD_BEFORE: pool.dropped[TOLD_BEFORE],
            "not drawn": len(pool.entries) - len(chosen),
        },
    }
