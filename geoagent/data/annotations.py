"""What a vision model says of a dataset's images: `annotations.jsonl` beside records.jsonl.

The attributes are GeoSeek-Val's (GeoAgent, arXiv 2602.12617): how well an image can be located,
from 0 to 10, and ten scene elements, each yes, no or maybe.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from geoagent.errors import UsageError

ANNOTATIONS_FILE: Final = "annotations.jsonl"
LOCATABILITY: Final = tuple(range(11))
ELEMENTS: Final = (
    "manmade",
    "traffic",
    "buildings",
    "sign",
    "language",
    "natural",
    "plants",
    "mountains_and_rivers",
    "weather",
    "agricultural",
)
"""Scene elements; each is there, not there, or maybe."""
PRESENCE: Final = ("yes", "no", "maybe")


@dataclass(frozen=True)
class Annotation:
    """Of one image: locatability 0 to 10, and yes, no or maybe for each element."""

    locatability: int
    scene: Mapping[str, str]


@dataclass(frozen=True)
class Annotated:
    """A row of annotations.jsonl: an image's annotation, or None with the reason if the model gave
    none that could be used, and who was asked what (`prompt`: version of the question)."""

    id: str
    model: str
    prompt: int
    annotation: Annotation | None
    failed: str | None = None

    def to_row(self) -> dict[str, Any]:
        """The row as a line of annotations.jsonl."""
        if self.annotation is None:
            said: dict[str, Any] = {"failed": self.failed}
        else:
            said = {
                "locatability": self.annotation.locatability,
                "scene": dict(self.annotation.scene),
            }
        return {"id": self.id, **said, "model": self.model, "prompt": self.prompt}


def to_annotation(value: Any) -> Annotation:
    """The annotation in a JSON object; ValueError says what is wrong with it. Other keys are
    passed over, and so is the case of yes, no and maybe."""
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    score = value.get("locatability")
    if isinstance(score, bool) or not isinstance(score, int | float) or score not in LOCATABILITY:
        raise ValueError(f"locatability: {_shown(score)} is not a whole number from 0 to 10")
    given = value.get("scene")
    if not isinstance(given, dict):
        raise ValueError(f"scene: {_shown(given)} is not an object of elements")
    scene = {}
    for name in ELEMENTS:
        answer = given.get(name)
        scene[name] = answer.strip().lower() if isinstance(answer, str) else ""
        if scene[name] not in PRESENCE:
            raise ValueError(f"scene: {name}: {_shown(answer)} is not yes, no or maybe")
    return Annotation(int(score), scene)


def _shown(value: Any) -> str:
    return "missing" if value is None else json.dumps(value)[:40]


def read_annotations(folder: Path) -> dict[str, Annotated]:
    """Newest row of each id in a folder's annotations.jsonl; {} without the file.

    A line that is not JSON is one that a kill has cut, and is passed over. UsageError with file
    and line if another row is wrong.
    """
    path = folder / ANNOTATIONS_FILE
    rows: dict[str, Annotated] = {}
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    value = json.loads(line)
                except (ValueError, RecursionError):
                    continue
                try:
                    row = _annotated(value)
                except ValueError as error:
                    raise UsageError(f"{path}:{number}: {error}; correct or remove it") from error
                rows[row.id] = row
    except FileNotFoundError:
        pass
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from error
    return rows


def _annotated(value: Any) -> Annotated:
    if not isinstance(value, dict) or not isinstance(value.get("id"), str):
        raise ValueError("id: missing, or not a text")
    failed = value.get("failed")
    return Annotated(
        id=value["id"],
        model=str(value.get("model", "")),
        prompt=value["prompt"] if isinstance(value.get("prompt"), int) else 0,
        annotation=to_annotation(value) if failed is None else None,
        failed=None if failed is None else str(failed),
    )


def columns(folder: Path) -> dict[str, dict[str, Any]]:
    """`locatability` and `scene` of each annotated image, by the id of its record."""
    return {
        row.id: {"locatability": row.annotation.locatability, "scene": dict(row.annotation.scene)}
        for row in read_annotations(folder).values()
        if row.annotation is not None
    }


def joined(own: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """A record's own columns, and what a model said of those attributes that it has none for. The
    scene may be a column of its own or one for each element."""
    has_scene = any(name in own for name in ELEMENTS)
    return {k: v for k, v in said.items() if not (has_scene and k == "scene")} | dict(own)
