"""How long each step of GRPO takes, and how much of it is waiting for rewards."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class StepClock:
    """Times one process's optimizer steps and the rewards within them, in seconds.

    Rewards of a batch are awaited together, and several at once count once: what is waited is the
    time in which at least one of them is under way. `per_batch` is how many steps learn from one
    batch of completions. Only the first of them waits, so that the share is that of so many steps
    together: all they waited over all they took.

    Not for several threads: ms-swift begins and ends steps and rewards in one.
    """

    def __init__(self, per_batch: int, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._began: float | None = None
        self._under_way = 0
        self._since = 0.0
        self._waited = 0.0
        self._each: dict[str, float] = {}
        self._recent: deque[tuple[float, float]] = deque(maxlen=per_batch)

    def begin(self) -> None:
        """A step begins; what was scored before it is none of its business."""
        self._began = self._now()
        self._waited = 0.0
        self._each = {}

    @contextmanager
    def reward(self, name: str) -> Iterator[None]:
        """Around one reward of one batch."""
        began = self._now()
        if self._under_way == 0:
            self._since = began
        self._under_way += 1
        try:
            yield
        finally:
            ended = self._now()
            self._under_way -= 1
            self._each[name] = self._each.get(name, 0.0) + ended - began
            if self._under_way == 0:
                self._waited += ended - self._since

    def end(self) -> dict[str, float]:
        """The step that ends: `step_s`, `rewards_s` (0 if it scored nothing), NAME_s of each reward
        and, from the first steps that make up a batch on, `rewards_share`, from 0 to 1. Empty if
        no step has begun."""
        if self._began is None:
            return {}
        taken = self._now() - self._began
        self._began = None
        self._recent.append((self._waited, taken))
        each = {f"{name}_s": seconds for name, seconds in self._each.items()}
        figures = {**each, "rewards_s": self._waited, "step_s": taken}
        waited, spent = (sum(column) for column in zip(*self._recent, strict=True))
        if len(self._recent) == self._recent.maxlen and spent > 0:
            figures["rewards_share"] = waited / spent
        return figures
