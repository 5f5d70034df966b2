"""How far work is: a stage in a small file that any other process may read at any time, a command
in a bar for whoever watches."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from geoagent.files import write_json

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import ProgressColumn

Item = TypeVar("Item")


def progress_bar(*columns: str | ProgressColumn) -> Bar:
    """rich's bar on standard error, to be used in a `with` and gone behind it; nothing is shown
    where that is no terminal. Without columns, it has rich's."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    return Bar(*columns, console=console, disable=not console.is_terminal, transient=True)


def tracked(items: Iterable[Item], doing: str, total: int | None = None) -> Iterator[Item]:
    """The items, with a bar that is as far as they are taken; `total` of those without a length."""
    with progress_bar() as shown:
        yield from shown.track(items, total, description=doing)


class Progress:
    """Writes `progress.json` of one stage, at most once a second and at the last step.

    The file holds `step`, `first` (where this attempt began), `total` (null if unknown), `unit`,
    `message`, `metrics` (name → number), and as Unix times `began` (when counting began, after
    what a stage loads first) and `updated`.
    """

    def __init__(
        self, path: Path, total: int | None = None, unit: str = "step", first: int = 0
    ) -> None:
        self.path = path
        self.total = total
        self.first = first
        self.unit = unit
        self._began = time.time()
        self._written = -math.inf
        self._metrics: dict[str, float] = {}

    def update(self, step: int, message: str = "", **metrics: float) -> None:
        """Record that `step` units are done; metrics keep their last value."""
        self._metrics.update(metrics)
        now = time.monotonic()  # a clock that is set back must not hold it up
        if now - self._written < 1.0 and step != self.total and step != 0:
            return
        self._written = now
        write_json(
            self.path,
            {
                "step": step,
                "first": self.first,
                "total": self.total,
                "unit": self.unit,
                "message": message,
                "metrics": self._metrics,
                "began": self._began,
                "updated": time.time(),
            },
        )
