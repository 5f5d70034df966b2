"""Judge data, which a model learns to judge predictions on (GRE's RL-I).

A row is a record of the picture, as in every dataset folder, with `predicted_cot`,
`predicted_answer` and `label`: whether the prediction is near enough to the truth. `geoagent data
make-judge` and the stage judge_data make such folders, and GRE30K-Judge is one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from geoagent.answer import parse
from geoagent.data.record import DEFAULT_SPLIT, RECORDS_FILE, Record, Rejected, iter_records
from geoagent.errors import UsageError
from geoagent.rewards.judge import read_label

SPLIT: Final = DEFAULT_SPLIT
"""Of the rows that are trained on."""
CHAIN: Final = "predicted_cot"
"""The column that every row of judge data has."""


@dataclass(frozen=True)
class Judge:
    """What a row of judge data asks about, beside its picture; `label` is the right reply."""

    chain: str
    answer: str
    label: bool


def to_judge(row: Mapping[str, Any]) -> Judge:
    """The columns of a row of judge data, our own or GRE30K-Judge's; ValueError says what is wrong
    with them."""
    said = row.get(CHAIN)
    if not isinstance(said, str):
        raise ValueError(f"{CHAIN}: missing, or not a text")
    answer = row.get("predicted_answer")
    if isinstance(answer, list):  # of two numbers
        answer = json.dumps(answer)
    if not isinstance(answer, str) or not answer.strip():
        raise ValueError("predicted_answer: missing, or not a text")
    thought = parse(said).think
    chain = said if thought is None else thought
    return Judge(chain.strip(), answer.strip(), read_label(row.get("label")))


def read_judge(
    folder: Path, limit: int | None = None, strict: bool = False
) -> tuple[list[Record], list[str]]:
    """The usable records of a folder of judge data, and why others are not usable.

    UsageError if there is none, or with `strict` if there are others.
    """
    records: list[Record] = []
    refused: list[str] = []
    for row in iter_records(folder, SPLIT, limit):
        if isinstance(row, Rejected):
            refused.append(f"line {row.line}: {row.reason}")
            continue
        try:
            to_judge(row.extra)
            records.append(row)
        except ValueError as error:
            refused.append(f"{row.id}: {error}")
    file = folder / RECORDS_FILE
    if strict and refused:
        raise UsageError(f"{file}: {refused[0]}")
    if not records:
        first = f"; the first that was refused: {refused[0]}" if refused else ""
        raise UsageError(f"{file}: no usable row of judge data in split '{SPLIT}'{first}")
    return records, refused
