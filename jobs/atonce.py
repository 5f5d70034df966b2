"""The same small work for many runs, several at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from geoagent.progress import tracked

Item = TypeVar("Item")
_AT_ONCE: Final = 16
"""Files that are written at the same time: a shared file system takes milliseconds for each, in
which this process has nothing else to do."""


def each(work: Callable[[Item], object], items: Sequence[Item], doing: str) -> None:
    """Call `work` with every item, with a bar. The first error is raised; what has not begun then
    is left out."""
    if len(items) == 1:
        work(items[0])
        return
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            for _ in tracked(pool.map(work, items), doing, len(items)):
                pass
        except BaseException:  # Ctrl-C may come anywhere
            pool.shutdown(cancel_futures=True)
            raise
