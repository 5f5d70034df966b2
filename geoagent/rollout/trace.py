"""What an episode does, for whoever watches, and as it can be looked at later."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from geoagent.answer import parse
from geoagent.errors import UsageError
from geoagent.files import require_new, write_atomic, write_json
from geoagent.rollout.tools import ZOOM, as_data
from geoagent.rollout.zoom import as_png

if TYPE_CHECKING:
    from PIL.Image import Image

    from geoagent.rollout.environment import Episode, Turn

_SHOWN: Final = 600
"""Characters of a thought or of results for a person to read; the trace has all of them."""


def turns(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The turns of a row of predictions, whose `trace` is what `Episode.trace` gives; none if it
    was predicted without tools. ValueError if they are of another form."""
    trace = row.get("trace")
    return [] if trace is None else _turns(trace)


def _turns(trace: object) -> list[dict[str, Any]]:
    found = trace.get("turns") if isinstance(trace, dict) else None
    if not isinstance(found, list) or not found or not all(map(_is_turn, found)):
        raise ValueError("trace: has no turns, each with a text 'completion'")
    return found


def _is_turn(turn: object) -> bool:
    return isinstance(turn, dict) and isinstance(turn.get("completion"), str)


def completions(row: Mapping[str, Any]) -> list[str]:
    """All that a model has written for a row, turn by turn. ValueError if that can't be told."""
    if found := turns(row):
        return [turn["completion"] for turn in found]
    if not isinstance(row.get("completion"), str):
        raise ValueError("completion: missing, or not a text")
    return [row["completion"]]


def written(trace: object) -> list[str]:
    """All that a model has written in an episode, turn by turn: `trace` is a list of the texts, as
    in training, or what `Episode.trace` gives. ValueError if it is neither."""
    if isinstance(trace, list) and trace and all(isinstance(text, str) for text in trace):
        return trace
    return [turn["completion"] for turn in _turns(trace)]


def output(observation: str) -> str:
    """What the tool of a turn has given, without what the environment has added for the model."""
    return observation.partition("<tool_response>")[2].partition("</tool_response>")[0]


def results(observation: str) -> list[dict[str, str]]:
    """What a search has found (title, snippet, url), read from the turn's observation; empty if
    it has found nothing."""
    try:
        listed = json.loads(output(observation).partition("as follows:\n")[2])
    except (ValueError, RecursionError):
        return []
    found = listed if isinstance(listed, list) else []
    return [
        {name: str(one.get(name) or "") for name in ("title", "snippet", "url")}
        for one in found
        if isinstance(one, dict)
    ]


class Trace:
    """A JSON file with the episodes as far as they are, `{"images": [Episode.trace(), …]}`, and
    beside it the folder NAME-crops with the crops as PNG, which the file names.

    UsageError if one of them is there already, or cannot be written.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._folder = file.with_name(f"{file.stem}-crops")
        if file.exists():
            raise UsageError(f"{file}: exists already; name a new file")
        require_new(self._folder)
        self._episodes: list[Episode] = []
        self._crops: list[list[str]] = []
        self._write()  # before a model is loaded, so that an unwritable place is told at once

    def add(self, episode: Episode) -> Path | None:
        """Take in the episode's newest turn; the file of the turn's crop, if it made one."""
        if not self._episodes or self._episodes[-1] is not episode:
            self._episodes.append(episode)
            self._crops.append([])
        crop = episode.turns[-1].observation.image
        file = None if crop is None else self._save(crop)
        self._write()
        return file

    def _save(self, crop: Image) -> Path:
        names = self._crops[-1]
        file = self._folder / f"{len(self._episodes):03d}-{len(names) + 1}.png"
        try:
            write_atomic(file, as_png(crop))
        except OSError as error:
            raise UsageError(f"{file}: cannot be written ({error.strerror})") from error
        names.append(f"{self._folder.name}/{file.name}")
        return file

    def _write(self) -> None:
        pairs = zip(self._episodes, self._crops, strict=True)
        try:
            write_json(self._file, {"images": [each.trace(names) for each, names in pairs]})
        except OSError as error:
            raise UsageError(f"{self._file}: cannot be written ({error.strerror})") from error


def as_text(episode: Episode, crop: Path | None = None) -> str:
    """The newest turn of an episode for a person to read; `crop` is the file of its crop."""
    turn = episode.turns[-1]
    thought = parse(turn.completion).think
    lines = [("thought", thought)] if thought else []
    lines += _call(turn, crop)
    if turn.observation.done:
        answer = parse(turn.completion).answer
        lines.append((turn.observation.why, answer or turn.completion))
    head = f"  {len(episode.turns)}  "
    shown = []
    for name, text in lines:
        words = f"{head}{name:<8} {as_data(text, _SHOWN)}"
        shown.append(textwrap.fill(words, 100, subsequent_indent=" " * 14))
        head = " " * len(head)
    return "\n".join(shown)


def _call(turn: Turn, crop: Path | None) -> list[tuple[str, str]]:
    """What was called, and what came of it."""
    observation = turn.observation
    if observation.done:
        return []
    if turn.call is None:
        return [("refused", observation.text)]
    arguments: dict[str, Any] = dict(turn.call.arguments)
    if turn.call.name == ZOOM:
        box = ", ".join(f"{value:g}" for value in arguments["bbox_2d"])
        asked = ("zoom", f"[{box}] {arguments.get('label', '')}")
        made = observation.image
        size = f"{made.width} × {made.height} pixels" if made else ""
        came = ("crop", f"{size} {crop or ''}") if made else ("refused", observation.text)
    else:
        asked = ("search", arguments["query"])
        came = ("found" if observation.why == "search" else "refused", observation.text)
    return [asked, came]
