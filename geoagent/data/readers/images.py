"""Where the images of a published dataset are; they are checked, or written, in other processes."""

from __future__ import annotations

import hashlib
import io
import os
import re
import signal
import threading
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from geoagent.data.record import check_image, decode_image, find_image
from geoagent.files import write_atomic

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FOLDER: Final = "images"
"""Of a dataset folder, for images that were inside Parquet files."""
_FOLDERS: Final = ("images", "imgs", "img", "image", "data")
_SAFE: Final = re.compile(r"[^A-Za-z0-9._-]")
_NAME_CHARACTERS: Final = 80


def hash64(text: str) -> int:
    """A number for a text, 0 to 2⁶⁴−1: two of five million are equal with a chance of 1 in 10⁶."""
    data = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest())


@dataclass(frozen=True)
class Rule:
    """How the name in a row becomes a path below the images' folder: `folder` is put before the
    name, which is taken whole, without its own folders (`base`), or with _ for / (`flat`)."""

    folder: str = ""
    form: str = "whole"

    def path(self, name: str) -> str:
        if self.form == "base":
            name = PurePosixPath(name).name
        elif self.form == "flat":
            name = name.replace("/", "_")
        return f"{self.folder}/{name}" if self.folder else name


def rules(root: Path, place: Path, split: str, folders: Sequence[str]) -> list[Rule]:
    """The rules that are tried, in order. `place` is the folder of the file that names the images;
    the images are in it, in `root` or below one of them."""
    own = [*folders, *(name for name in _FOLDERS if name not in folders)]
    starts = dict.fromkeys([_below(root, place), ""])
    places = [
        f"{start}/{name}".strip("/")
        for start in starts
        for name in ("", *own, f"{FOLDER}/{split}", split)
    ]
    return [Rule(name, form) for form in ("whole", "base", "flat") for name in places]


def _below(root: Path, place: Path) -> str:
    if not place.is_relative_to(root):
        return ""
    relative = place.relative_to(root).as_posix()
    return "" if relative == "." else relative


def choose_rule(root: Path, names: Sequence[str], tried: Iterable[Rule]) -> Rule | None:
    """The rule that finds most of these images; None if none finds any."""
    best, most = None, 0
    for rule in tried:
        hits = sum(_is_there(root, rule.path(name)) for name in names)
        if hits > most:
            best, most = rule, hits
        if most == len(names):
            break
    return best


def _is_there(root: Path, name: str) -> bool:
    try:
        find_image(root, name)
    except ValueError:
        return False
    return True


class FileIndex:
    """All files below a folder by their names, in 12 bytes a file: for sets that are spread over
    numbered folders which no row names, as OSV-5M is."""

    def __init__(self, root: Path) -> None:
        import numpy as np

        self._folders: list[str] = []
        hashes: list[NDArray[np.uint64]] = []
        owners: list[NDArray[np.uint32]] = []
        for folder, below, names in os.walk(root):
            below.sort()
            found = np.fromiter(map(hash64, names), dtype=np.uint64, count=len(names))
            hashes.append(found)
            owners.append(np.full(len(found), len(self._folders), dtype=np.uint32))
            self._folders.append(os.path.relpath(folder, root))
        joined = np.concatenate(hashes)
        order = np.argsort(joined, kind="stable")
        self._hashes, self._owners = joined[order], np.concatenate(owners)[order]

    def __len__(self) -> int:
        return len(self._hashes)

    def path(self, name: str) -> str:
        """Path of the file of this name below the folder, whatever folders the name has itself
        (or with _ for /); the name if there is none. ValueError if there are several."""
        import numpy as np

        for form in ("base", "flat"):
            file = Rule(form=form).path(name)
            wanted = np.uint64(hash64(file))
            first, last = (np.searchsorted(self._hashes, wanted, end) for end in ("left", "right"))
            if last - first > 1:
                raise ValueError(f"image: {file[:80]!r} is the name of {last - first} files")
            if last > first:
                folder = self._folders[self._owners[first]]
                return file if folder == "." else f"{folder}/{file}"
        return name


# --- what the workers do ---------------------------------------------------------------------


@dataclass(frozen=True)
class Held:
    """Images that a row holds itself, to be written under a name made of `stem`."""

    stem: str
    images: tuple[bytes, ...]


Result = tuple[str, tuple[str, ...]]
"""Why the image cannot be used, or nothing; and the paths of the images below their folder."""


def look_at(root: str, images: Sequence[str | Held], check: str) -> list[Result]:
    """A result for each image. `check`: `decode` or `exists` (and what rows hold is written),
    `no`, or `dry` (decode, but write nothing)."""
    return [_look_at(Path(root), image, check) for image in images]


def _look_at(root: Path, image: str | Held, check: str) -> Result:
    try:
        if isinstance(image, Held):
            return "", _write(root, image, dry=check == "dry")
        if check in ("decode", "dry"):
            check_image(root, image)
        elif check == "exists":
            find_image(root, image)
    except ValueError as error:
        return str(error), ()
    return "", (image,)


def _write(root: Path, held: Held, dry: bool) -> tuple[str, ...]:
    """Write the images as the bytes they are, after all were decoded; their paths."""
    names = []
    for number, data in enumerate(held.images):
        kind = decode_image(io.BytesIO(data), held.stem).lower() or "img"
        ending = {"jpeg": "jpg", "mpo": "jpg"}.get(kind, kind)
        names.append(f"{FOLDER}/{held.stem}{f'-{number}' if number else ''}.{ending}")
    for name, data in zip(names, held.images, strict=True):
        if not dry:
            write_atomic(root / name, data)
    return tuple(names)


def stem(text: str) -> str:
    """A file's name for an id: what is unusual in it is replaced, and told apart by its hash."""
    safe = _SAFE.sub("_", text)[:_NAME_CHARACTERS].lstrip(".")
    return safe if safe == text else f"{safe}-{hash64(text):016x}"


class Workers:
    """Processes that look at images; none is started for what one batch holds."""

    def __init__(self, count: int) -> None:
        self.count = max(1, count)
        self._pool: ProcessPoolExecutor | None = None
        self._jobs = 0

    def look_at(self, root: Path, images: Sequence[str | Held], check: str) -> Future[list[Result]]:
        self._jobs += 1
        if check == "no" or self.count == 1 or self._jobs == 1:
            done: Future[list[Result]] = Future()
            done.set_result(look_at(str(root), images, check))
            return done
        if self._pool is None:
            import multiprocessing

            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self.count, context, initializer=_follow_parent)
        with _without_interrupts():  # the first jobs start the processes
            return self._pool.submit(look_at, str(root), images, check)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: Any) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Processes that begin meanwhile never hear Ctrl-C: the parent tells them to end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _follow_parent() -> None:
    """End if the parent was killed: it could not say so."""
    import multiprocessing

    parent = multiprocessing.parent_process()

    def follow() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
