"""A search provider in memory, for tests of what uses one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from geoagent.rollout.search import Result, SearchProvider, SearchUnavailable


def hit(title: str, snippet: str = "", url: str = "") -> Result:
    return Result(title, snippet, url)


class Shelf(SearchProvider):
    """Finds what it was given under a query; down, it raises what search providers raise."""

    def __init__(self, known: Mapping[str, Sequence[Result]], down: bool = False) -> None:
        self._known = known
        self.down = down
        self.asked: list[str] = []

    def find(self, query: str) -> list[Result]:
        self.asked.append(query)
        if self.down:
            raise SearchUnavailable("the shelf is away")
        return list(self._known.get(query, ()))

    async def afind(self, query: str) -> list[Result]:
        return self.find(query)
