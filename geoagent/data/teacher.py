"""A scripted teacher for the drawn sample: trajectories as GeoVista's cold start has them, where no
vision model is at hand. It sees nothing: it knows the scene that it plays. The episodes are real,
with real crops and real answers of the search provider.

For pictures of one's own, `geoagent data make-trajectories` asks a vision model.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from geoagent.data.cot import chain_of_thought
from geoagent.data.record import DATASET_FILE, DEFAULT_SPLIT, RECORDS_FILE, Record, read_records
from geoagent.data.sample import VERSION, scene_of
from geoagent.data.trajectory import with_trajectory
from geoagent.files import new_folder, read_if_there, write_json, write_jsonl
from geoagent.progress import tracked
from geoagent.rollout.environment import Episode, play_together
from geoagent.rollout.tools import SEARCH, ZOOM

if TYPE_CHECKING:
    from geoagent.config import RolloutConfig
    from geoagent.data.scenes import Scene
    from geoagent.rollout.search import SearchProvider

_TOGETHER: Final = 32
"""Episodes under way at once; their crops are in memory."""


def write_scripted_trajectories(
    sample: Path,
    destination: Path,
    limits: RolloutConfig,
    provider: SearchProvider,
    split: str = DEFAULT_SPLIT,
    limit: int | None = None,
) -> int:
    """Write a dataset folder with a trajectory of each of the first `limit` scenes of a split of
    the drawn sample in the folder `sample`; returns how many.

    Whole or not at all; nothing is done if that is there already, and what this function wrote from
    other settings is replaced. UsageError: there is something else, it can't be written, or
    `sample` is no drawn sample. SearchUnavailable if the search service is away.
    """
    made_with = {
        "made_by": "scripted teacher",
        "version": VERSION,
        "split": split,
        "limit": limit,
        "rollout": asdict(limits),
    }
    records, _ = read_records(sample, split, limit, strict=True)
    about = read_if_there(destination / DATASET_FILE)
    if about == made_with:
        return len(records)
    if about.get("made_by") == made_with["made_by"]:
        shutil.rmtree(destination, ignore_errors=True)
    with new_folder(destination) as part:
        rows = _played(sample, records, part, limits, provider)
        write_jsonl(part / RECORDS_FILE, (record.to_row() for record in rows))
        write_json(part / DATASET_FILE, made_with)
    return len(records)


def _played(
    sample: Path,
    records: Sequence[Record],
    folder: Path,
    limits: RolloutConfig,
    provider: SearchProvider,
) -> Iterator[Record]:
    """The records with their trajectories."""
    starts = range(0, len(records), _TOGETHER)
    for start in tracked(starts, "playing trajectories"):
        group = records[start : start + _TOGETHER]
        episodes = [Episode(sample / record.image, limits, provider) for record in group]
        scripts = [script(scene_of(sample, record), limits) for record in group]
        _play(episodes, scripts)
        for record, episode in zip(group, episodes, strict=True):
            yield with_trajectory(record, episode.image, episode, folder)


def _play(episodes: Sequence[Episode], scripts: Sequence[Sequence[str]]) -> None:
    said = {id(episode): texts for episode, texts in zip(episodes, scripts, strict=True)}
    play_together(episodes, lambda live: [said[id(each)][len(each.turns)] for each in live])


def script(scene: Scene, limits: RolloutConfig) -> list[str]:
    """What the teacher writes, turn by turn: it zooms in on the sign, searches for what it reads
    there, and answers; without the calls that the limits do not allow."""
    country, city = scene.country, scene.city
    calls = []
    if limits.crops:
        thought = (
            f"The flag on the pole is the flag of {country.name}. There is a road sign, which is "
            "too small to be read, so I zoom in on it."
        )
        calls.append(_called(thought, ZOOM, bbox_2d=list(scene.sign), label="road sign"))
    if limits.searches:
        thought = f"The road sign reads {city.sign}. I look up where in {country.name} that is."
        calls.append(_called(thought, SEARCH, query=f"{city.sign} {country.name}"))
    answer = f"{country.name}; {city.region}; {city.name}"
    chain = chain_of_thought(country, city)
    last = f"<think>{chain}</think><answer>{answer}</answer>"
    return [*calls[: limits.turns - 1], last]


def _called(thought: str, name: str, **arguments: Any) -> str:
    call = json.dumps({"name": name, "arguments": arguments}, ensure_ascii=False)
    return f"<think>{thought}</think><tool_call>{call}</tool_call>"
