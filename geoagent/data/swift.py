"""Records → the JSON lines that ms-swift trains on; the only place that knows that form."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from geoagent.answer import is_address, parse, split_parts
from geoagent.data.judge import to_judge
from geoagent.data.prompt import coordinates_answer, judge_question, question
from geoagent.data.record import Record, image_root
from geoagent.data.trajectory import has_trajectory, trajectory_row
from geoagent.files import write_jsonl
from geoagent.rollout.environment import opening
from geoagent.rollout.zoom import open_image, shown_size

STAGES = ("sft", "judge", "grpo")


def completion(record: Record, answer: str = "address") -> str:
    """What the model is to write for a record that has a chain of thought, and an answer of that
    form (`data.answer`). An address is the chain's own, which may be coarser than the record's."""
    chain = f"<think>{record.think}</think>"
    if answer == "coordinates":
        point = coordinates_answer(record.latitude, record.longitude)
        return f"{chain}<answer>{point}</answer>"
    final = parse(chain).final_answer or ""
    address = final if is_address(split_parts(final)) else record.address
    return f"{chain}<answer>{address}</answer>"


def to_swift_rows(
    records: Iterable[Record], folder: Path, stage: str, answer: str = "address"
) -> Iterator[dict[str, Any]]:
    """Rows of one stage: `sft` (question and completion), `grpo` (question and the truth), or
    `judge` (whether a prediction is right, the label and the truth), with answers in the form of
    `data.answer`.

    Records without a chain of thought are left out of `sft`. In the other rows the further keys
    are the columns that the rewards are given. ValueError for a record that `judge` cannot use.
    """
    if stage not in STAGES:
        raise ValueError(f"stage {stage!r} is none of {STAGES}")
    root = image_root(folder)
    for record in records:
        row: dict[str, Any] = {"id": record.id, "images": [str(root / record.image)]}
        if stage == "judge":
            judge = to_judge(record.extra)
            asked = _asked(judge_question(judge.chain, judge.answer))
            yield {**row, "messages": [asked], "label": judge.label, **truth(record)}
        elif stage == "grpo":
            yield {**row, "messages": [_asked(question(answer))], **truth(record)}
        elif record.think is not None:
            said = {"role": "assistant", "content": completion(record, answer)}
            yield {**row, "messages": [_asked(question(answer)), said]}


def _asked(text: str) -> dict[str, str]:
    """A question about the image of its row."""
    return {"role": "user", "content": f"<image>{text}"}


def tool_row(record: Record, root: Path) -> dict[str, Any] | None:
    """The row of `sft` for a model that may call tools: the record's trajectory, or its chain of
    thought as a trajectory in which nothing is called; None with neither.

    `root` is the dataset's `image_root`. ValueError if the trajectory cannot be used.
    """
    if has_trajectory(record):
        return {"id": record.id, **trajectory_row(record, root)}
    if record.think is None:
        return None
    image = root / record.image
    with open_image(image) as opened:
        asked = opening(shown_size(opened.size))
    said = {"role": "assistant", "content": completion(record)}
    return {"id": record.id, "images": [str(image)], "messages": [*asked, said]}


def truth(record: Record) -> dict[str, Any]:
    """The ground-truth columns that rewards and metrics read."""
    return {
        "solution": f"<answer>{record.address}</answer>",
        "latitude": record.latitude,
        "longitude": record.longitude,
        "country": record.country,
        "region": record.region,
        "city": record.city,
        "country_code": record.country_code,
    }


def write_swift_jsonl(
    records: Iterable[Record], folder: Path, stage: str, path: Path, answer: str = "address"
) -> int:
    """Write the rows of a stage atomically, or no file if there are none; returns how many."""
    count = write_jsonl(path, to_swift_rows(records, folder, stage, answer))
    if not count:
        path.unlink()
    return count
