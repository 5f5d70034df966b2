"""Plays episodes over the pictures of a dataset folder and keeps the good ones in another folder;
goes on where an earlier call has stopped."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from geoagent.agent.chat import Failure
from geoagent.agent.vision import Picture
from geoagent.data.record import (
    DATASET_FILE,
    RECORDS_FILE,
    REJECTED_FILE,
    Record,
    chosen_records,
    find_image,
    image_root,
    reason_kind,
)
from geoagent.data.trajectory import IMAGES, TRAJECTORY, with_trajectory
from geoagent.errors import UsageError
from geoagent.files import (
    append_jsonl,
    claimed,
    mend_last_line,
    read_if_there,
    read_jsonl,
    write_json,
)
from geoagent.rollout.environment import Episode, depends_on, play
from geoagent.rollout.search import SECTION, states
from geoagent.trajectories.client import Conversation, TrajectoryClient, shown
from geoagent.trajectories.verdict import Standard

if TYPE_CHECKING:
    from geoagent.config import RolloutConfig
    from geoagent.rollout.search import SearchProvider

_LOCK_FILE: Final = ".trajectories.lock"
_SEEDS: Final = 1000
"""Between two tries of a picture: a useless reply is asked again with the next seed."""
_NAMES: Final = {"provider": "search", "url": "search_url"}
"""Of settings that dataset.json calls otherwise, beside the model and its server."""
_STATE: Final = "_state"
"""Behind the name of a setting: what the files it names were like."""


@dataclass(frozen=True)
class Task:
    """What is played, and what is kept of it."""

    limits: RolloutConfig
    provider: SearchProvider
    standard: Standard
    temperature: float
    tries: int = 1
    """Episodes over a picture, until one is kept."""

    def made_with(self, model: str, source: Path) -> dict[str, Any]:
        """All that decides what a folder holds; one folder has trajectories of one kind, of one
        dataset: in another one the same ids are other pictures."""
        standard = self.standard
        played = {_NAMES.get(name, name): value for name, value in depends_on(self.limits).items()}
        return {
            "made_by": "make-trajectories",
            "source": str(source.resolve()),
            "model": model,
            "temperature": self.temperature,
            **played,
            **{f"{name}{_STATE}": it for name, it in states(self.limits.search).items()},
            "level": standard.level if standard.within_km is None else None,
            "within_km": standard.within_km,
            "at_least_calls": standard.calls,
        }


@dataclass
class Outcome:
    """What became of the chosen records; the reasons are by id."""

    records: int
    played: int = 0
    """Episodes of this call."""
    kept: dict[str, Counter[str]] = field(default_factory=dict)
    """By id: how many turns, crops and searches a kept trajectory has, earlier ones too."""
    dropped: Counter[str] = field(default_factory=Counter)
    """By id: episodes that were not good enough, earlier ones too."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Kinds of reasons why they were not."""
    unusable: dict[str, str] = field(default_factory=dict)
    """Records that no episode can be played or judged of."""
    failed: dict[str, str] = field(default_factory=dict)
    """Records that the model gave no usable reply for; they are asked about again."""

    def summary(self) -> dict[str, Any]:
        means = {
            f"mean_{name}": sum(used[name] for used in self.kept.values()) / len(self.kept)
            for name in ("turns", "crops", "searches")
            if self.kept
        }
        return {
            "records": self.records,
            "kept": len(self.kept),
            "played": self.played,
            "dropped": self.dropped.total(),
            "dropped_by_reason": dict(self.reasons.most_common()),
            "failed": len(self.failed),
            "unusable": len(self.unusable),
            **means,
        }


class TrajectoryMaking:
    """Plays the records of the dataset folder `source` (all, or those of `split`, the first
    `limit`) and adds those that meet the standard to the dataset folder `folder`.

    `folder` has records.jsonl, the images of its records, and rejected.jsonl with the other
    episodes and why they are not kept. UsageError if it holds something else, or what was made
    with other settings or another model.
    """

    def __init__(
        self,
        source: Path,
        folder: Path,
        client: TrajectoryClient,
        task: Task,
        split: str | None = None,
        limit: int | None = None,
    ) -> None:
        self.folder = folder
        self._client = client
        self._task = task
        self._lock = threading.Lock()
        self._root = image_root(source)
        self._made_with = task.made_with(client.endpoint.model, source)
        self.records, self.rejected = chosen_records(source, split, limit)
        self.outcome = Outcome(len(self.records))

    @property
    def pending(self) -> list[Record]:
        """Records that are to be played, in their order."""
        return [record for record in self.records if self._is_pending(record.id)]

    def _is_pending(self, name: str) -> bool:
        known = self.outcome
        if name in known.kept or name in known.unusable:
            return False
        return known.dropped[name] < self._task.tries

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Take in what earlier calls have made, and keep other processes away until the end of the
        block. UsageError if one works on the folder just now, or it cannot be written."""
        try:
            if self.folder.is_dir():
                self._check_folder()  # before it gets a lock file, which may be all that is done
            with claimed(self.folder / _LOCK_FILE) as alone:
                if not alone:
                    raise UsageError(f"{self.folder}: another process makes it just now")
                self._check_folder()
                self._look()
                yield
        except OSError as error:
            raise UsageError(
                f"{self.folder}: cannot be written ({error.strerror or error})"
            ) from error

    def run(self, on_done: Callable[[], None]) -> None:
        """Play what is pending, inside `alone`; `on_done` is called after each record, in another
        thread. Raises UsageError or OutageError as client and search provider do. Whatever ends it,
        what was kept is in the files."""
        if pending := self.pending:
            self._client.check()
            write_json(self.folder / DATASET_FILE, {"made_with": self._made_with})
            self._client.each(pending, self._one, lambda *_: on_done())

    # --- what is there ------------------------------------------------------------------------

    def _check_folder(self) -> None:
        about = read_if_there(self.folder / DATASET_FILE).get("made_with")
        made_with = self._made_with
        if not isinstance(about, Mapping) or about.get("made_by") != made_with["made_by"]:
            self._check_new()
            return
        for name, value in made_with.items():
            if about.get(name) == value or (name.endswith(_STATE) and name not in about):
                continue  # those that were made before states were noted have none
            if name.endswith(_STATE):
                raise UsageError(
                    f"{self.folder}: the files of {SECTION}.{name.removesuffix(_STATE)} have "
                    "changed since its trajectories were made; name another folder"
                )
            raise UsageError(
                f"{self.folder}: holds trajectories made with {name} {about.get(name)}, not "
                f"{value}; name another folder"
            )

    def _check_new(self) -> None:
        """UsageError if there is more than the lock."""
        if {*self.folder.iterdir()} - {self.folder / _LOCK_FILE}:
            raise UsageError(f"{self.folder}: holds something else; name a new folder")

    def _look(self) -> None:
        """Take in what earlier calls have made."""
        chosen = {record.id for record in self.records}
        for name in (RECORDS_FILE, REJECTED_FILE):
            mend_last_line(self.folder / name)
        for row in self._rows(RECORDS_FILE):
            if row.get("id") in chosen:
                self.outcome.kept[row["id"]] = _used(row)
        for row in self._rows(REJECTED_FILE):
            if row.get("id") in chosen:
                self.outcome.dropped[row["id"]] += 1
                self.outcome.reasons[reason_kind(str(row.get("reason")))] += 1
        for record in self.records:
            if reason := self._task.standard.lacks(record):
                self.outcome.unusable[record.id] = reason

    def _rows(self, name: str) -> Iterator[dict[str, Any]]:
        file = self.folder / name
        return read_jsonl(file) if file.exists() else iter(())

    # --- one record ---------------------------------------------------------------------------

    async def _one(self, record: Record) -> None:
        try:
            picture = find_image(self._root, record.image)
            while self._is_pending(record.id):
                if not await self._play(record, picture):
                    return
        except ValueError as error:  # ImageError is one
            self.outcome.unusable[record.id] = str(error)

    async def _play(self, record: Record, picture: Path) -> bool:
        """Play one episode and keep it or say why not; whether there was a reply to each turn."""
        number = self.outcome.dropped[record.id]
        limits, provider = self._task.limits, self._task.provider
        episode = await asyncio.to_thread(Episode, picture, limits, provider)
        policy = _Policy(self._client, _SEEDS * number)
        try:
            await play(episode, policy.reply)
        except _NoReply as error:
            self.outcome.failed[record.id] = str(error)
            return False
        # Network file systems take long to write: others' replies are read meanwhile.
        await asyncio.shield(asyncio.to_thread(self._judge, record, picture, episode))
        return True

    def _judge(self, record: Record, picture: Path, episode: Episode) -> None:
        """Keep an episode, or note why not; one at a time."""
        with self._lock:
            self.outcome.played += 1
            reason = self._task.standard.fault(record, episode.turns)
            if reason is None:
                try:
                    row = with_trajectory(record, picture, episode, self.folder).to_row()
                    append_jsonl(self.folder / RECORDS_FILE, [row])
                    self.outcome.kept[record.id] = _used(row)
                    return
                except ValueError as error:
                    reason = f"malformed: {error}"
            row = {"id": record.id, "reason": reason, "trace": episode.trace()}
            append_jsonl(self.folder / REJECTED_FILE, [row])
            self.outcome.dropped[record.id] += 1
            self.outcome.reasons[reason_kind(reason)] += 1


def _used(row: Mapping[str, Any]) -> Counter[str]:
    """How many turns, crops and searches a trajectory that was kept has: of its calls, none was
    refused."""
    turns = sum(message["role"] == "assistant" for message in row[TRAJECTORY])
    crops = len(row[IMAGES]) - 1
    return Counter(turns=turns, crops=crops, searches=turns - 1 - crops)


class _NoReply(Exception):
    """The model gave no usable reply; why."""


class _Policy:
    """The vision model as the policy of one episode; each image is encoded once."""

    def __init__(self, client: TrajectoryClient, seed: int) -> None:
        self._client = client
        self._seed = seed
        self._pictures: list[Picture] = []

    async def reply(self, episode: Episode) -> str:
        for image in episode.images[len(self._pictures) :]:
            self._pictures.append(await asyncio.to_thread(shown, image))
        question = Conversation(tuple(episode.messages), tuple(self._pictures), self._seed)
        answer = await self._client.ask(question)
        if isinstance(answer, Failure):
            raise _NoReply(answer.reason)
        return answer
