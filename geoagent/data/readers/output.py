"""What a preparation has written so far, so that it can go on after a kill."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from geoagent.data.record import RECORDS_FILE, REJECTED_FILE, Record, reason_kind
from geoagent.errors import UsageError
from geoagent.files import read_if_there, write_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_IDS: Final = "ids"
_STATE: Final = "state.json"
_PARTS: Final = (RECORDS_FILE, REJECTED_FILE, _IDS)
_SAVED_EVERY_S: Final = 2.0


@dataclass
class Counts:
    """What the summary tells."""

    rows: int = 0
    records: int = 0
    rejected: int = 0
    chains: int = 0
    countries: dict[str, dict[str, int]] = field(default_factory=dict)
    """Records by split and country."""
    reasons: dict[str, int] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)
    """Records by where their names of places come from."""
    first: str = ""
    """The first row that was refused."""

    def add(self, record: Record) -> None:
        self.records += 1
        self.chains += record.think is not None
        _count(self.countries.setdefault(record.split, {}), record.country or "(none)")
        named = "publisher" if record.country else "(none)"
        _count(self.places, str(record.extra.get("place_from", named)))

    def refuse(self, where: str, reason: str) -> None:
        self.rejected += 1
        _count(self.reasons, reason_kind(reason))
        self.first = self.first or f"{where}: {reason}"


def _count(counts: dict[str, int], name: str) -> None:
    counts[name] = counts.get(name, 0) + 1


class Seen:
    """Ids that were used, as 8 bytes each: sorted arrays, joined when they are alike in length."""

    def __init__(self, hashes: NDArray[np.uint64]) -> None:
        import numpy as np

        self._arrays = [np.sort(hashes)] if len(hashes) else []

    def has(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Which of N hashes were used."""
        import numpy as np

        found = np.zeros(len(hashes), dtype=bool)
        for array in self._arrays:
            places = np.minimum(np.searchsorted(array, hashes), len(array) - 1)
            found |= array[places] == hashes
        return found

    def add(self, hashes: NDArray[np.uint64]) -> None:
        import numpy as np

        new = np.sort(hashes)
        while self._arrays and len(self._arrays[-1]) <= 2 * len(new):
            new = np.sort(np.concatenate([self._arrays.pop(), new]))
        if len(new):
            self._arrays.append(new)


class Output:
    """Unfinished files in `folder`: rows are appended, and every two seconds it is noted how long
    each file is and where the reading is. What was written after the last note is cut off at the
    next start, and made again.

    UsageError if the folder holds what was `made_with` something else.
    """

    def __init__(self, folder: Path, made_with: Mapping[str, Any]) -> None:
        self._folder = folder
        self._made_with = made_with
        state = read_if_there(folder / _STATE)
        if state and state["made_with"] != made_with:
            raise UsageError(
                f"{folder.parent}: holds an unfinished preparation of other files or with other "
                f"settings; remove {folder.parent} to begin anew"
            )
        self.file: int = state.get("file", 0)
        self.done: int = state.get("done", 0)
        self.finished: bool = state.get("finished", False)
        self.counts = Counts(**state.get("counts", {}))
        self._sizes: dict[str, int] = state.get("sizes", {})
        self._files: dict[str, IO[bytes]] = {}
        self._saved = time.monotonic()

    def open(self) -> Seen:
        """Begin to append; the ids that were used so far. UsageError if what was noted is lost."""
        import numpy as np

        for name in _PARTS:
            path = self._folder / name
            path.touch()
            if path.stat().st_size < self._sizes.get(name, 0):
                raise UsageError(
                    f"{path}: is shorter than it was; remove {self._folder.parent} to begin anew"
                )
            os.truncate(path, self._sizes.get(name, 0))
            self._files[name] = path.open("ab")
        return Seen(np.fromfile(self._folder / _IDS, dtype=np.uint64))

    def accept(self, record: Record) -> None:
        self._write(RECORDS_FILE, record.to_row())
        self.counts.add(record)

    def refuse(self, file: str, line: int | None, row_id: str, reason: str) -> None:
        row = {"file": file, "line": line, "id": row_id, "reason": reason}
        self._write(REJECTED_FILE, row)
        self.counts.refuse(file if line is None else f"{file}:{line}", reason)

    def use(self, hashes: NDArray[np.uint64]) -> None:
        """Note ids as used."""
        self._files[_IDS].write(hashes.tobytes())

    def _write(self, name: str, row: Mapping[str, Any]) -> None:
        # Half surrogate pairs, which JSON escapes can bring in, have no UTF-8.
        line = json.dumps(row, ensure_ascii=False, default=str)
        self._files[name].write(line.encode("utf-8", "replace") + b"\n")

    def reached(self, file: int, done: int) -> None:
        """All before this row of this file is written; noted now and then."""
        self.file, self.done = file, done
        if time.monotonic() - self._saved >= _SAVED_EVERY_S:
            self.save()

    def save(self) -> None:
        """Flush all to disk, then note how far it is."""
        for name, file in self._files.items():
            file.flush()
            os.fsync(file.fileno())
            self._sizes[name] = file.tell()
        state = {
            "made_with": self._made_with,
            "file": self.file,
            "done": self.done,
            "finished": self.finished,
            "sizes": self._sizes,
            "counts": asdict(self.counts),
        }
        write_json(self._folder / _STATE, state)
        self._saved = time.monotonic()

    def close(self) -> None:
        for file in self._files.values():
            file.close()

    def move(self, target: Path) -> None:
        """Give the finished files their names in `target`; may be done again after a kill."""
        for name in (REJECTED_FILE, RECORDS_FILE):
            if (self._folder / name).exists():
                os.replace(self._folder / name, target / name)
