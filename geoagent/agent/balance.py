"""Which of several servers of one kind the next question goes to."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from geoagent.agent.endpoint import Endpoint

REST_S: Final = 5.0
"""How long a server that failed, or is slow, is left alone."""
_SLOW: Final = 2.0
_NEWEST: Final = 0.2
"""Share of the newest reply in a server's usual time."""


@dataclass
class _State:
    """What is known of a server."""

    under_way: int = 0
    usual_s: float | None = None
    """Seconds of a reply, smoothed; None before the first."""
    resting_until: float = 0.0
    tried: float = 0.0
    """When it was last sent a question."""


class Balance:
    """Chooses the server with the fewest questions under way, of those that answer about as fast
    as the fastest.

    A batch is as slow as its slowest reply, so a server that takes over twice as long as the
    fastest one gets a single question every REST_S seconds, by which it can show that it has
    recovered. Times include the wait for a slot: if the fast ones have too much to do, the slow
    ones are as good and are used again. Servers that failed rest as well, unless all do.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._states: dict[str, _State] = {}

    def choose(self, endpoints: Sequence[Endpoint]) -> Endpoint:
        """One of these, of which there is at least one."""
        now = self._clock()
        awake = [e for e in endpoints if self._of(e).resting_until <= now] or list(endpoints)
        times = [usual for e in awake if (usual := self._of(e).usual_s) is not None]
        limit = _SLOW * min(times, default=0.0)
        fit = [e for e in awake if self._is_fit(self._of(e), limit, now)]
        # Not the first of like ones: that would be the same one for hundreds of processes.
        return min(fit, key=lambda e: (self._of(e).under_way, random.random()))

    def _is_fit(self, state: _State, limit: float, now: float) -> bool:
        if state.usual_s is None or state.usual_s <= limit:
            return True
        return state.under_way == 0 and now - state.tried >= REST_S

    @contextmanager
    def sending(self, endpoint: Endpoint) -> Iterator[None]:
        """While a question is under way. Its time counts if the block ends without an error: a
        server that fails at once is not a fast one."""
        state = self._of(endpoint)
        began = state.tried = self._clock()
        state.under_way += 1
        try:
            yield
            taken = self._clock() - began
            before = taken if state.usual_s is None else state.usual_s
            state.usual_s = _NEWEST * taken + (1 - _NEWEST) * before
        finally:
            state.under_way -= 1

    def rest(self, endpoint: Endpoint) -> None:
        """Leave this one alone for a while."""
        self._of(endpoint).resting_until = self._clock() + REST_S

    def _of(self, endpoint: Endpoint) -> _State:
        return self._states.setdefault(endpoint.url, _State())
