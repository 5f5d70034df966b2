"""A published dataset → a dataset folder. It may be killed at any time: started again it goes on
where it was, and ends with the same bytes."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from geoagent.data.readers.batches import Batch, Entry, batches
from geoagent.data.readers.formats import Position
from geoagent.data.readers.images import FOLDER, Held, Result, Workers, hash64, look_at, stem
from geoagent.data.readers.output import Output, Seen
from geoagent.data.readers.plan import Plan, PlannedFile
from geoagent.data.record import DATASET_FILE, Record
from geoagent.errors import UsageError
from geoagent.files import claimed, read_if_there, write_json
from geoagent.progress import progress_bar

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

SUMMARY_FILE: Final = "summary.json"
WORK: Final = ".prepare"
"""Folder of what is not finished, in the dataset folder."""
_VERSION: Final = 1
"""Raise it when the same rows would become other records."""


def prepare(plan: Plan, folder: Path, workers: int, strict: bool = False) -> dict[str, Any]:
    """Write a dataset folder: records.jsonl, rejected.jsonl, dataset.json and, at the very end,
    summary.json, which is returned. Nothing is done if all that is there already.

    UsageError: the folder holds something else, another process is at it, it cannot be written, no
    row can be used, or, with `strict`, a row is refused.
    """
    made_with = _made_with(plan)
    if (folder / SUMMARY_FILE).is_file():
        if read_if_there(folder / DATASET_FILE).get("made_with") != made_with:
            raise UsageError(f"{folder}: was prepared from something else; remove it first")
        _say(f"{folder}: is prepared already; remove it to do it again")
        shutil.rmtree(folder / WORK, ignore_errors=True)
        return read_if_there(folder / SUMMARY_FILE)
    _check_place(plan, folder)
    try:
        with claimed(folder / WORK / "lock") as mine:
            if not mine:
                raise UsageError(f"{folder}: another process prepares it; wait for it or stop it")
            with Workers(workers) as pool:
                return _Preparation(plan, folder, made_with, pool, strict).run()
    except BrokenProcessPool as error:
        raise UsageError(
            f"{folder}: a process that looks at images was killed, perhaps for its memory; start "
            "again with fewer --workers: it goes on where it was"
        ) from error
    except OSError as error:
        raise UsageError(
            f"{folder}: cannot be written ({error.strerror or error}); started again it goes on"
        ) from error


def preview(plan: Plan, count: int) -> Iterator[tuple[str, Record | str]]:
    """The first rows as they would be written, or why they would not be, each with its place."""
    check = "no" if plan.request.check == "no" and plan.root else "dry"
    for batch in batches(plan, 0, 0, Position(), size=count):
        results = iter(look_at(str(plan.root or Path.cwd()), _images(plan, batch), check))
        for entry in batch.entries:
            outcome = _outcome(entry, results)
            yield _where(plan, batch, entry), outcome
            count -= 1
            if not count:
                return


def _check_place(plan: Plan, folder: Path) -> None:
    place = plan.request.place.resolve()
    if place.is_dir() and folder.resolve().is_relative_to(place):
        raise UsageError(f"{folder}: is inside {place}, which is read; name a folder outside")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: is a file")
    if folder.is_dir() and not (folder / WORK).is_dir() and any(folder.iterdir()):
        raise UsageError(f"{folder}: holds something else already; name a new folder")


def _made_with(plan: Plan) -> dict[str, Any]:
    """Tells a preparation from one of other files, with other settings or another field table."""
    import msgspec

    table = json.dumps(msgspec.to_builtins(plan.source), sort_keys=True)
    request = plan.request
    return {
        "version": _VERSION,
        "table": hashlib.sha256(table.encode()).hexdigest()[:16],
        "source": str(request.place.resolve()),
        "images": str(plan.root) if plan.root else None,
        "files": [_stamp(plan, file) for file in plan.files],
        "split": request.split,
        "limit": request.limit,
        "check_images": request.check,
    }


def _stamp(plan: Plan, file: PlannedFile) -> list[Any]:
    stat = file.published.path.stat()
    return [plan.short(file), file.published.split, stat.st_size, stat.st_mtime_ns]


# --- entries and what became of their images -------------------------------------------------


def _images(plan: Plan, batch: Batch) -> list[str | Held]:
    """What is to be looked at, one for each entry that has a record."""
    records = [(entry, entry.record) for entry in batch.entries if entry.record]
    if plan.root is None:
        return [Held(stem(record.id), entry.images) for entry, record in records]
    return [record.image for _, record in records]


def _outcome(entry: Entry, results: Iterator[Result]) -> Record | str:
    """The record as it is written, or why it is not."""
    if entry.record is None:
        return entry.reason
    reason, names = next(results)
    if reason:
        return reason
    extra = dict(entry.record.extra)
    if len(names) > 1:
        extra["images"] = list(names)
    return replace(entry.record, image=names[0], extra=extra)


def _where(plan: Plan, batch: Batch, entry: Entry) -> str:
    name = plan.short(plan.files[batch.file])
    return name if entry.number is None else f"{name}:{entry.number}"


class _Preparation:
    """One run of `prepare`, under its lock."""

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        made_with: Mapping[str, Any],
        workers: Workers,
        strict: bool,
    ) -> None:
        self._plan = plan
        self._folder = folder
        self._made_with = made_with
        self._workers = workers
        self._strict = strict
        self._sizes = [file.published.path.stat().st_size for file in plan.files]
        self._output = Output(folder / WORK, made_with)

    def run(self) -> dict[str, Any]:
        output = self._output
        if not output.finished:
            if output.counts.rows:
                _say(f"{self._folder}: going on after {output.counts.rows} rows")
            seen = output.open()
            try:
                self._write(seen)
                self._refuse_nothing()
                output.finished = True
                output.save()
            except UsageError:
                output.close()
                self._clear()
                raise
            finally:
                output.close()
        return self._finish()

    def _write(self, seen: Seen) -> None:
        """All batches: several are looked at at a time, and they are written in their order."""
        waiting: deque[tuple[Batch, Future[list[Result]]]] = deque()
        root = self._plan.root or self._folder
        position = Position()
        with _progress() as progress:
            task = progress.add_task("", total=sum(self._sizes), detail="")
            for batch in batches(self._plan, self._output.file, self._output.done, position):
                self._tell_apart(batch, seen)
                images = _images(self._plan, batch)
                found = self._workers.look_at(root, images, self._plan.request.check)
                waiting.append((batch, found))
                while len(waiting) > 2 * self._workers.count:
                    if not self._settle(*waiting.popleft()):
                        return
                self._show(progress, task, batch, position)
            while waiting:
                if not self._settle(*waiting.popleft()):
                    return
                self._show(progress, task, batch, position)

    def _tell_apart(self, batch: Batch, seen: Seen) -> None:
        """Refuse ids that were used; ids that we made of images' names are made different."""
        import numpy as np

        known = [entry for entry in batch.entries if entry.record]
        hashes = np.fromiter((hash64(entry.id) for entry in known), dtype=np.uint64)
        used = set(hashes[seen.has(hashes)].tolist())
        new: list[int] = []
        for entry, number in zip(known, hashes.tolist(), strict=True):
            if number in used and entry.derived and entry.record:
                entry.id = f"{entry.id}#{entry.number}"
                entry.record = replace(entry.record, id=entry.id)
                number = hash64(entry.id)
            if number in used:
                entry.record = None
                entry.reason = f"id '{entry.id}' is used by an earlier row"
            else:
                used.add(number)
                new.append(number)
        batch.hashes = np.array(new, dtype=np.uint64)
        seen.add(batch.hashes)

    def _settle(self, batch: Batch, found: Future[list[Result]]) -> bool:
        """Write a batch; False if no more is wanted."""
        output, limit = self._output, self._plan.request.limit
        results = iter(found.result())
        for entry in batch.entries:
            if limit is not None and output.counts.records >= limit:
                return False
            output.counts.rows += entry.number is not None
            outcome = _outcome(entry, results)
            if isinstance(outcome, Record):
                output.accept(outcome)
                continue
            if self._strict:
                raise UsageError(f"{_where(self._plan, batch, entry)}: {outcome}")
            name = self._plan.short(self._plan.files[batch.file])
            output.refuse(name, entry.number, entry.id, outcome)
        output.use(batch.hashes)
        if batch.done is None:
            output.reached(batch.file + 1, 0)
        else:
            output.reached(batch.file, batch.done)
        return limit is None or output.counts.records < limit

    def _refuse_nothing(self) -> None:
        counts = self._output.counts
        if counts.records:
            return
        chosen = f" in split '{self._plan.request.split}'" if self._plan.request.split else ""
        why = f"; the first that was refused: {counts.first}" if counts.first else ""
        raise UsageError(
            f"{self._plan.request.place}: no usable row{chosen}, of {counts.rows} rows{why}"
        )

    def _clear(self) -> None:
        """Leave nothing of a preparation that was given up. The folder was empty before it."""
        shutil.rmtree(self._folder / WORK, ignore_errors=True)
        shutil.rmtree(self._folder / FOLDER, ignore_errors=True)
        with suppress(OSError):
            self._folder.rmdir()

    def _finish(self) -> dict[str, Any]:
        about: dict[str, Any] = {"dataset": self._plan.name, "title": self._plan.source.title}
        if self._plan.root is not None:
            about["images"] = str(self._plan.root)
        summary = self._summary()
        write_json(self._folder / DATASET_FILE, {**about, "made_with": self._made_with})
        self._output.move(self._folder)
        write_json(self._folder / SUMMARY_FILE, summary)
        shutil.rmtree(self._folder / WORK, ignore_errors=True)
        return summary

    def _summary(self) -> dict[str, Any]:
        counts = self._output.counts
        splits = {name: sum(found.values()) for name, found in sorted(counts.countries.items())}
        return {
            "dataset": self._plan.name,
            "source": str(self._plan.request.place.resolve()),
            "images": str(self._plan.root or self._folder.resolve()),
            "rows": counts.rows,
            "records": counts.records,
            "splits": splits,
            "countries": {name: _by_count(counts.countries[name]) for name in splits},
            "with_chain_of_thought": counts.chains,
            "place_from": _by_count(counts.places),
            "rejected": counts.rejected,
            "rejected_by_reason": _by_count(counts.reasons),
            "notes": self._plan.notes,
        }

    def _show(self, progress: Progress, task: TaskID, batch: Batch, position: Position) -> None:
        counts = self._output.counts
        done = sum(self._sizes[: batch.file]) + position.done
        detail = f"{counts.records} records, {counts.rejected} refused"
        progress.update(task, completed=done, description=self._plan.name, detail=detail)


def _by_count(counts: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _progress() -> Progress:
    from rich.progress import BarColumn, TimeRemainingColumn

    return progress_bar(
        "{task.description}", BarColumn(), TimeRemainingColumn(), "{task.fields[detail]}"
    )


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
