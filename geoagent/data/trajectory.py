"""A record's trajectory: what a model wrote and was told over several turns, as SFT learns it.

Two forms are read: ours (`role` and `content`), and the one of GeoVista's published cold start
(`from` and `value`, as ShareGPT has it), which `geoagent data prepare geovista-cold-start` keeps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from geoagent.answer import parse
from geoagent.data.readers.images import stem
from geoagent.data.record import Record, decode_image, find_image
from geoagent.files import link_or_copy, write_atomic
from geoagent.rollout.environment import IMAGE_TAG, Episode
from geoagent.rollout.zoom import as_png

TRAJECTORY: Final = "trajectory"
IMAGES: Final = "images"
"""Columns of a record: the messages, and the names of all images in the order of their tags."""
_SYSTEM, _USER, _ASSISTANT = "system", "user", "assistant"
_ROLES: Final = {
    "system": _SYSTEM,
    "user": _USER,
    "human": _USER,
    "observation": _USER,  # what a tool gave is a message to the model
    "tool": _USER,
    "assistant": _ASSISTANT,
    "gpt": _ASSISTANT,
    "function_call": _ASSISTANT,
}
_FOREIGN: Final = ("<video>", "<audio>")
"""ms-swift's other place-holders; there is nothing that could stand in their places."""


@dataclass(frozen=True)
class Trajectory:
    """`messages` as `role` (system, user, assistant) and `content`; IMAGE_TAG stands in users'
    messages for each of `images`, which are names relative to the folder of the dataset's images;
    the first is the picture, the others are crops."""

    messages: tuple[Mapping[str, str], ...]
    images: tuple[str, ...]


def has_trajectory(record: Record) -> bool:
    return record.extra.get(TRAJECTORY) is not None


def read_trajectory(record: Record) -> Trajectory:
    """The trajectory of a record; ValueError says what is wrong with it. Images are not looked at.

    User and assistant take turns, after a system message or none (then the record's `system`, if
    it has one); the last message is an assistant's answer.
    """
    turns = record.extra.get(TRAJECTORY)
    if not isinstance(turns, list) or not turns:
        raise ValueError(f"{TRAJECTORY}: missing, or not a list of messages")
    messages = [_message(turn, number) for number, turn in enumerate(turns, start=1)]
    system = record.extra.get("system")
    if messages[0]["role"] != _SYSTEM and isinstance(system, str) and system.strip():
        messages.insert(0, {"role": _SYSTEM, "content": system})
    _check_turns(messages)
    images = record.extra.get(IMAGES)
    if not isinstance(images, list) or not all(isinstance(name, str) for name in images):
        raise ValueError(f"{IMAGES}: missing, or not a list of names")
    if images[:1] != [record.image]:
        raise ValueError(f"{IMAGES}: the first has to be the record's image")
    _check_tags(messages, len(images))
    return Trajectory(tuple(messages), tuple(images))


def trajectory_row(record: Record, root: Path) -> dict[str, Any]:
    """`messages` and `images` (absolute paths of files) as ms-swift takes them; `root` is the
    dataset's `image_root`. ValueError if the trajectory is not usable, or an image is not there,
    is outside the folder, or, being a crop, cannot be decoded (who reads records looks at the
    picture)."""
    trajectory = read_trajectory(record)
    paths = [find_image(root, name) for name in trajectory.images]
    for path, name in zip(paths[1:], trajectory.images[1:], strict=True):
        decode_image(path, name)
    return {
        "messages": [dict(message) for message in trajectory.messages],
        "images": [str(path) for path in paths],
    }


def with_trajectory(record: Record, picture: Path, episode: Episode, folder: Path) -> Record:
    """The record with what was said in an episode over its picture, as a record of the dataset
    folder `folder`, where its images come to lie: the picture, of which that is the file, in
    images/ (linked, or else copied), the crops in crops/. All names are made of the id.

    ValueError if the episode cannot be trained on. OSError.
    """
    name = stem(record.id)
    crops = [crop for crop in episode.images if not isinstance(crop, Path)]
    files = [f"crops/{name}-{number}.png" for number in range(1, len(crops) + 1)]
    image = f"images/{name}{picture.suffix}"
    extra = {**record.extra, TRAJECTORY: episode.messages, IMAGES: [image, *files]}
    made = replace(record, image=image, extra=extra)
    read_trajectory(made)
    link_or_copy(picture, folder / image)
    for crop, file in zip(crops, files, strict=True):
        write_atomic(folder / file, as_png(crop))
    return made


def _message(turn: Any, number: int) -> dict[str, str]:
    where = f"{TRAJECTORY}: message {number}"
    if not isinstance(turn, Mapping):
        raise ValueError(f"{where}: not an object")
    speaker = turn.get("role", turn.get("from"))
    content = turn.get("content", turn.get("value"))
    role = _ROLES.get(speaker) if isinstance(speaker, str) else None
    if role is None:
        raise ValueError(f"{where}: {str(speaker)[:40]!r} is no role")
    if not isinstance(content, str) or not content.strip():
        raise ValueError(f"{where}: its content is empty or not a text")
    return {"role": role, "content": content}


def _check_turns(messages: Sequence[Mapping[str, str]]) -> None:
    """ValueError unless user and assistant take turns, and the last is an answer."""
    first = int(messages[0]["role"] == _SYSTEM)
    for number, message in enumerate(messages[first:]):
        due = (_USER, _ASSISTANT)[number % 2]
        if message["role"] != due:
            raise ValueError(
                f"{TRAJECTORY}: message {number + first + 1} is of the {message['role']}, where "
                f"the {due}'s is due"
            )
    if messages[-1]["role"] != _ASSISTANT or not parse(messages[-1]["content"]).answer:
        raise ValueError(f"{TRAJECTORY}: does not end with the assistant's <answer>")


def _check_tags(messages: Sequence[Mapping[str, str]], images: int) -> None:
    """ValueError unless there is one tag an image, in what the assistant is told."""
    tags = 0
    for message in messages:
        found = message["content"].count(IMAGE_TAG)
        if found and message["role"] != _USER:
            raise ValueError(f"{TRAJECTORY}: the {message['role']}'s message holds {IMAGE_TAG}")
        if tag := next((tag for tag in _FOREIGN if tag in message["content"]), None):
            raise ValueError(f"{TRAJECTORY}: a message holds {tag}")
        tags += found
    if tags != images:
        raise ValueError(f"{TRAJECTORY}: {tags} times {IMAGE_TAG} for {images} {IMAGES}")
