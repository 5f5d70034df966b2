"""Annotates the images of a dataset folder, and goes on where an earlier run has stopped."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from geoagent.agent.chat import Failure
from geoagent.agent.vision import Picture, picture
from geoagent.annotate.client import AnnotationClient
from geoagent.annotate.prompt import MAX_PIXELS, PROMPT_VERSION
from geoagent.data.annotations import (
    ANNOTATIONS_FILE,
    ELEMENTS,
    LOCATABILITY,
    PRESENCE,
    Annotated,
    Annotation,
    read_annotations,
)
from geoagent.data.record import Record, chosen_records, find_image, image_root
from geoagent.errors import UsageError
from geoagent.files import append_jsonl, claimed, mend_last_line

_LOCK_FILE: Final = f".{ANNOTATIONS_FILE}.lock"


@dataclass
class Outcome:
    """What became of the chosen records: by id, the reason why there is no annotation; and the
    annotations there are now, older ones too."""

    records: int
    asked: int = 0
    """Images that the model has replied to in this run."""
    unreadable: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    annotations: dict[str, Annotation] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """Counts, and how often each value was given."""
        scores = Counter(a.locatability for a in self.annotations.values())
        count = scores.total()
        return {
            "records": self.records,
            "annotated": count,
            "asked": self.asked,
            "failed": len(self.failed),
            "unreadable": len(self.unreadable),
            "mean_locatability": sum(k * n for k, n in scores.items()) / count if count else None,
            "locatability": {str(score): scores[score] for score in LOCATABILITY},
            "scene": {name: self._presence(name) for name in ELEMENTS},
        }

    def _presence(self, element: str) -> dict[str, int]:
        counts = Counter(a.scene[element] for a in self.annotations.values())
        return {value: counts[value] for value in PRESENCE}


class FolderAnnotation:
    """Annotates the records of a dataset folder (all, or those of `split`, the first `limit`).

    Answers are appended to annotations.jsonl one by one, as they come. With `redo` an earlier file
    is put aside once the model has shown that it answers. UsageError if the folder holds the
    answers of another model or to another question, which are not to be mixed.
    """

    def __init__(
        self,
        folder: Path,
        client: AnnotationClient,
        split: str | None = None,
        limit: int | None = None,
        redo: bool = False,
    ) -> None:
        self.folder = folder
        self.file = folder / ANNOTATIONS_FILE
        self._client = client
        self._model = client.endpoint.model
        self._redo = redo
        self._lock = threading.Lock()
        self.records, self.rejected = chosen_records(folder, split, limit)
        self._root = image_root(folder)
        earlier = {} if redo else self._earlier()
        self.outcome = Outcome(len(self.records))
        ids = {record.id for record in self.records}
        self.outcome.annotations = {k: a for k, a in earlier.items() if k in ids}

    @property
    def pending(self) -> list[Record]:
        """Records that have no annotation yet, in their order."""
        return [record for record in self.records if record.id not in self.outcome.annotations]

    def run(self, on_done: Callable[[], None]) -> Outcome:
        """Ask about what is pending; `on_done` is called after each image, in another thread.

        Raises UsageError or OutageError as the client does, and UsageError if another process
        annotates the folder at this time. Whatever ends it, what was answered is in the file.
        """
        pending = self.pending
        if not pending:
            return self.outcome
        try:
            with claimed(self.folder / _LOCK_FILE) as alone:
                if not alone:
                    raise UsageError(f"{self.folder}: another process is annotating it just now")
                self._client.check()
                self._begin()
                self._client.each(pending, self._one, lambda *_: on_done())
        except OSError as error:
            raise UsageError(
                f"{self.file}: cannot be written ({error.strerror or error})"
            ) from error
        return self.outcome

    def _earlier(self) -> dict[str, Annotation]:
        """Annotations that are there, by id."""
        rows = read_annotations(self.folder).values()
        for row in rows:
            if (row.model, row.prompt) != (self._model, PROMPT_VERSION):
                raise UsageError(
                    f"{self.file}: holds answers of {row.model or 'a model without a name'} to "
                    f"version {row.prompt} of the question, not of {self._model} to version "
                    f"{PROMPT_VERSION}; --redo puts the file aside and asks anew"
                )
        return {row.id: row.annotation for row in rows if row.annotation is not None}

    def _begin(self) -> None:
        """Put an earlier file aside, or mend the line that a kill has cut in it."""
        if self._redo and self.file.exists():
            self.file.rename(_free_name(self.file))
        else:
            mend_last_line(self.file)

    async def _one(self, record: Record) -> None:
        try:
            image = await asyncio.to_thread(self._picture, record)
        except ValueError as error:
            self.outcome.unreadable[record.id] = str(error)
            return
        answer = await self._client.ask(image)
        self.outcome.asked += 1
        if isinstance(answer, Failure):
            row = Annotated(record.id, self._model, PROMPT_VERSION, None, answer.reason)
            self.outcome.failed[record.id] = answer.reason
        else:
            row = Annotated(record.id, self._model, PROMPT_VERSION, answer)
            self.outcome.annotations[record.id] = answer
        # Network file systems take long to write: others' answers are read meanwhile.
        await asyncio.shield(asyncio.to_thread(self._keep, row))

    def _picture(self, record: Record) -> Picture:
        return picture(find_image(self._root, record.image), MAX_PIXELS)

    def _keep(self, row: Annotated) -> None:
        with self._lock:
            append_jsonl(self.file, [row.to_row()])


def _free_name(path: Path) -> Path:
    """annotations-1.jsonl, or the first number that is free."""
    number = 1
    while (name := path.with_stem(f"{path.stem}-{number}")).exists():
        number += 1
    return name
