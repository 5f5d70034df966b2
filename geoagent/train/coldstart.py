"""What SFT learns beside chains of thought: trajectories of a model that may call tools
(`rollout.train`, GeoVista's cold start), and to the tiny model how a judgement is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from geoagent.data.prompt import coordinates_answer
from geoagent.data.record import (
    RECORDS_FILE,
    Record,
    Rejected,
    image_root,
    parse_line,
    read_lines,
    read_records,
)
from geoagent.data.swift import to_swift_rows, tool_row
from geoagent.errors import UsageError
from geoagent.files import read_jsonl, write_jsonl
from geoagent.rollout.search import provider
from geoagent.run import Run

if TYPE_CHECKING:
    from geoagent.config import Config

_JUDGED_EACH: Final = 4
FOLDER: Final = "trajectories"
"""In RUN/data, where a script plays those of the drawn sample, which has none."""


def write_cold_start(
    config: Config, run: Run, folder: Path, records: Sequence[Record]
) -> tuple[int, list[Rejected]]:
    """Write data/sft.jsonl of the records that SFT can learn tools from, or no file if there are
    none; returns how many, and those with a trajectory that cannot be used.

    UsageError for the first of these with `data.strict`; SearchUnavailable if a script has to
    search and the service is away.
    """
    if config.data.path is None:
        folder, records = _played(config, run, folder)
    root, refused = image_root(folder), dict[str, str]()

    def rows() -> Iterator[dict[str, Any]]:
        for record in records:
            try:
                row = tool_row(record, root)
            except ValueError as error:
                refused[record.id] = str(error)
                continue
            if row is not None:
                yield row

    count = write_jsonl(run.dataset("sft"), rows())
    if not count:
        run.dataset("sft").unlink()
    bad = _with_lines(folder, refused)
    if bad and config.data.strict:
        raise UsageError(f"{folder / RECORDS_FILE}:{bad[0].line}: {bad[0].reason}")
    return count, bad


def _played(config: Config, run: Run, sample: Path) -> tuple[Path, list[Record]]:
    """The drawn sample's training split with trajectories, and their folder."""
    from geoagent.data.teacher import write_scripted_trajectories

    folder, data, rollout = run.data / FOLDER, config.data, config.rollout
    search = provider(rollout.search)
    write_scripted_trajectories(sample, folder, rollout, search, data.train_split, data.limit)
    return folder, read_records(folder, data.train_split, strict=True)[0]


def judgements(records: Sequence[Record], folder: Path) -> Iterator[dict[str, Any]]:
    """Rows in which the chain and answer of every fourth record are judged, in turn its own, which
    are right, and those of a record of another country, which are wrong.

    A pretrained model can answer whether something is true before it has learnt anything of ours.
    A random one would never write either word, and RL-I would have nothing to choose from.
    """
    judged = [_judged(records, index) for index in range(0, len(records), _JUDGED_EACH)]
    for record, row in zip(judged, to_swift_rows(judged, folder, "judge"), strict=True):
        thought = f"<think>This is {record.city}, {record.country}.</think>"
        said = {"role": "assistant", "content": f"{thought}<answer>{row['label']}</answer>"}
        yield {"id": row["id"], "images": row["images"], "messages": [*row["messages"], said]}


def _judged(records: Sequence[Record], index: int) -> Record:
    record = records[index]
    others = (one for one in (*records[index:], *records[:index]) if one.country != record.country)
    wrong = next(others, None) if index // _JUDGED_EACH % 2 else None
    said = wrong or record
    extra = {
        "predicted_cot": said.think or "",
        "predicted_answer": coordinates_answer(said.latitude, said.longitude),
        "label": wrong is None,
    }
    return replace(record, id=f"{record.id}#judged", extra=extra)


def _with_lines(folder: Path, refused: Mapping[str, str]) -> list[Rejected]:
    """Refused records (id → reason) with their lines in the dataset."""
    if not refused:
        return []
    lines: dict[str, int] = {}
    for number, text in read_lines(folder / RECORDS_FILE):
        try:
            lines.setdefault(str(parse_line(text).get("id")), number)
        except ValueError:
            continue
    return [Rejected(lines[name], name, reason) for name, reason in refused.items()]


def conversations(run: Run) -> Iterator[str]:
    """Messages of the rows that SFT learns, as the tiny model's tokenizer reads them."""
    file = run.dataset("sft")
    for row in read_jsonl(file) if file.is_file() else ():
        for message in row["messages"]:
            yield f"{message['role']}\n{message['content']}\n"
