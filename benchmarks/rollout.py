"""How well rollouts with tools overlap their searches: `make bench-rollout`.

Episodes over drawn scenes follow a script: zoom, search, zoom, search, answer. A search takes
300 ms and nothing else. The ideal for N episodes at once is the longer of two measured times:
one episode alone (its searches come after each other), and N episodes whose searches take no
time (the work of the cores), each the least of five. The share of the ideal is that time over the
one that N episodes took, the median of five.

Two drivers: `play`, each episode on its own, as with a chat server; `play_together`, all episodes
turn by turn, as with a model in this process and in ms-swift's training. Out of step, half of the
episodes search a turn later than the others; turn by turn that costs the most that it can, since a
turn lasts as long as its slowest tool.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from geoagent.config import RolloutConfig
from geoagent.data.places import countries
from geoagent.data.scenes import render
from geoagent.errors import UsageError, exit_code
from geoagent.files import write_json
from geoagent.progress import tracked
from geoagent.rollout.environment import Episode, play, play_together
from geoagent.rollout.search import Result, SearchProvider
from geoagent.rollout.tools import SEARCH, ZOOM

CONCURRENT: Final = (1, 8, 64)
GOAL: Final = 0.8
ROUNDS: Final = 5
OURS: Final = "play, out of step"
CASES: Final = {
    OURS: ("play", True),
    "play_together, in step": ("play_together", False),
    "play_together, out of step": ("play_together", True),
}
"""Driver, and whether half of the episodes are a turn late."""


def _call(name: str, **arguments: Any) -> str:
    return f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>"


ZOOMS: Final = _call(ZOOM, bbox_2d=[120, 20, 220, 90])
SEARCHES: Final = _call(SEARCH, query="a town with this name")
ANSWERS: Final = "<answer>France; Ile-de-France; Paris</answer>"
SCRIPT: Final = (ZOOMS, SEARCHES, ZOOMS, SEARCHES, ANSWERS)
LATE: Final = (ZOOMS, ZOOMS, SEARCHES, ZOOMS, SEARCHES, ANSWERS)


class SlowSearch(SearchProvider):
    """Finds ten results after that many seconds, whatever is asked."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def find(self, query: str) -> list[Result]:
        return [Result("A town", "where it is " * 20, "https://example.org/")] * 10

    async def afind(self, query: str) -> list[Result]:
        await asyncio.sleep(self._seconds)
        return self.find(query)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=0.3, metavar="S", help="a search (0.3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    options = parser.parse_args(arguments)

    def program() -> int:
        figures = measure(options.seconds)
        if options.json:
            write_json(options.json, figures)
        show(figures)
        return 0

    return exit_code(program)


def measure(seconds: float) -> dict[str, Any]:
    """All figures, as JSON."""
    with tempfile.TemporaryDirectory() as place:
        scenes = []
        for number, country in enumerate(countries()):
            scenes.append(Path(place) / f"{number}.jpg")
            render(country, country.cities[0], f"rollout/{number}").image.save(scenes[-1])
        run(scenes, 8, 0.0, OURS)  # imports, threads
        alone = min(timed(scenes, 1, seconds, OURS))
        cases: list[dict[str, Any]] = []
        for count in tracked(CONCURRENT, "playing"):
            work = min(timed(scenes, count, 0.0, OURS))
            ideal = max(work, alone)
            for case in CASES:
                took = statistics.median(timed(scenes, count, seconds, case))
                cases.append(
                    {
                        "case": case,
                        "episodes": count,
                        "seconds": took,
                        "without_search_s": work,
                        "ideal_s": ideal,
                        "share_of_ideal": ideal / took,
                        "episodes_per_second": count / took,
                    }
                )
    goal = min(figures["share_of_ideal"] for figures in cases if figures["case"] == OURS)
    return {
        "cores": len(os.sched_getaffinity(0)),
        "search_s": seconds,
        "alone_s": alone,
        "cases": cases,
        "goal": {"share": GOAL, "reached": goal, "met": goal >= GOAL},
    }


def timed(scenes: Sequence[Path], count: int, seconds: float, case: str) -> list[float]:
    """Seconds of some runs."""
    return [run(scenes, count, seconds, case) for _ in range(ROUNDS)]


def run(scenes: Sequence[Path], count: int, seconds: float, case: str) -> float:
    """Seconds that so many episodes take; UsageError unless each did all that its script says."""
    driver, out_of_step = CASES[case]
    provider = SlowSearch(seconds)
    started = time.perf_counter()
    episodes = [
        Episode(scenes[number % len(scenes)], RolloutConfig(), provider) for number in range(count)
    ]
    scripts = {
        id(episode): LATE if out_of_step and number % 2 else SCRIPT
        for number, episode in enumerate(episodes)
    }

    def says(episode: Episode) -> str:
        return scripts[id(episode)][len(episode.turns)]

    async def reply(episode: Episode) -> str:
        return says(episode)

    async def all_of_them() -> None:
        await asyncio.gather(*(play(episode, reply) for episode in episodes))

    if driver == "play":
        asyncio.run(all_of_them())
    else:
        play_together(episodes, lambda live: [says(episode) for episode in live])
    took = time.perf_counter() - started
    for episode in episodes:
        if (episode.why, episode.searches) != ("answer", 2):
            raise UsageError(
                f"an episode ended with {episode.why} after {episode.searches} searches"
            )
    return took


def show(figures: dict[str, Any]) -> None:
    """Print the figures on standard output."""
    table = Table(title=f"Searches of {figures['search_s'] * 1000:.0f} ms", title_justify="left")
    columns = ("driver", "episodes", "s", "s without search", "ideal s", "share", "episodes/s")
    for column in columns:
        table.add_column(column, justify="left" if column == "driver" else "right")
    for case in figures["cases"]:
        times = (case["seconds"], case["without_search_s"], case["ideal_s"])
        table.add_row(
            case["case"],
            str(case["episodes"]),
            *(f"{value:.3f}" for value in times),
            f"{100 * case['share_of_ideal']:.0f} %",
            f"{case['episodes_per_second']:.1f}",
        )
    goal = figures["goal"]
    console = Console(width=max(Console().width, 100))
    console.print(table)
    verdict = "met" if goal["met"] else "missed"
    console.print(
        f"goal: play ≥ {100 * goal['share']:.0f} %; {100 * goal['reached']:.1f} %, {verdict}"
    )


if __name__ == "__main__":
    sys.exit(main())
