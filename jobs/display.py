"""Progress of a run for people: a live line on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console, RenderableType
from rich.live import Live
from rich.text import Text

from geoagent.files import read_if_there
from geoagent.run import Run

if TYPE_CHECKING:
    from rich.table import Table

_PLAIN_EVERY_S: Final = 10.0
_WATCH_S: Final = 5.0
"""Slurm's accounting does not like to be asked more often."""
_FILE_WIDTH: Final = 250
_SHOWN: Final = ("loss", "reward")


def read_progress(run: Run, stage: str) -> dict[str, Any]:
    """The stage's progress.json, or {} while there is none."""
    return read_if_there(run.progress_file(stage))


def clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"


def console() -> Console:
    """Standard output; in a file as wide as any table needs."""
    found = Console()
    return found if found.is_terminal else Console(width=_FILE_WIDTH)


def counted(number: float, unit: str) -> str:
    """A number and what it counts."""
    return f"{number:g} {unit}{'' if number == 1 else 's'}"


def plain_table(title: str) -> Table:
    """A table without a frame, its title on the left."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    return Table(title=title, title_justify="left", title_style="", box=SIMPLE_HEAD)


def line_of(stage: str, progress: dict[str, Any], seconds: float) -> str:
    """One line: stage, time, steps, time left, newest figures."""
    parts = [f"{stage:<8}", clock(seconds)]
    step, total = progress.get("step"), progress.get("total")
    if total:
        parts.append(f"{step}/{total} {progress.get('unit', '')}")
        left = left_of(progress, seconds)
        parts += [f"left {clock(left)}"] if left is not None else []
    metrics = progress.get("metrics") or {}
    parts += [f"{name} {metrics[name]:.3g}" for name in _SHOWN if name in metrics]
    if progress.get("message"):
        parts.append(str(progress["message"]))
    return "  ".join(parts)


def left_of(progress: dict[str, Any], seconds: float) -> float | None:
    """Seconds that the rest of a stage takes at the speed so far; None if nothing is known.

    `seconds` is how long the stage runs; the time since it began to count says more.
    """
    step, total = progress.get("step") or 0, progress.get("total") or 0
    done = step - progress.get("first", 0)
    if done <= 0 or step >= total:
        return None
    counted = progress.get("updated", 0.0) - progress.get("began", progress.get("updated", 0.0))
    return float((counted or seconds) / done * (total - step))


def show(look: Callable[[], tuple[RenderableType, bool]], console: Console, watch: bool) -> None:
    """Print what `look` gives; with `watch` anew now and then, as long as it says that there is
    more to come."""
    page, goes_on = look()
    if not watch:
        console.print(page, soft_wrap=True)
        return
    with Live(page, console=console, auto_refresh=False) as live:
        while goes_on:
            time.sleep(_WATCH_S)
            page, goes_on = look()
            live.update(page, refresh=True)


class Display:
    """Shows the stage that is running; use as a context manager."""

    def __init__(self, run: Run, console: Console | None = None) -> None:
        self.run = run
        self.console = console or Console(highlight=False)
        self._live = Live(console=self.console, refresh_per_second=4, transient=True)
        self._last = 0.0

    def __enter__(self) -> Display:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.console.is_terminal:
            self._live.stop()

    def say(self, message: str) -> None:
        """A line that stays."""
        self.console.print(Text(message), soft_wrap=True)

    def show(self, stage: str, seconds: float) -> None:
        """The state of a running stage."""
        text = line_of(stage, read_progress(self.run, stage), seconds)
        if self.console.is_terminal:
            self._live.update(Text(self._bar(stage) + text))
        elif time.monotonic() - self._last >= _PLAIN_EVERY_S:
            self._last = time.monotonic()
            self.say(text)

    def _bar(self, stage: str, width: int = 24) -> str:
        progress = read_progress(self.run, stage)
        if not progress.get("total"):
            return ""
        done = int(width * min(1.0, progress["step"] / progress["total"]))
        return "█" * done + "░" * (width - done) + "  "
