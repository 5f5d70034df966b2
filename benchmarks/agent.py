"""How well and how fast the demo's agent answers: `.venv/bin/python benchmarks/agent.py`.

Starts the agent of `recipe=demo` several times, each with one thing changed, and asks every one
about the true chains of thought of held-out scenes. The scenes are dealt into rounds, and in each
round all agents answer the same questions one after the other, so that whatever else the machine
does falls on all of them. No agent is asked a question twice.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from geoagent.agent.client import AgentClient
from geoagent.agent.endpoint import read_endpoints
from geoagent.agent.prompt import Question
from geoagent.answer import LEVELS
from geoagent.config import Config, resolve, to_yaml
from geoagent.data.record import Record, read_records
from geoagent.data.sample import build_sample
from geoagent.data.swift import completion
from geoagent.errors import OutageError, UsageError, exit_code
from geoagent.files import write_json
from geoagent.rewards.consistency import Consistency
from jobs.processes import signals_wait

SLOTS: Final = "1,2,4,8"
ROUNDS: Final = 5
START_S: Final = 600.0
SILENT_S: Final = 60.0
"""Training waits longer for an agent that has gone; here it is not coming back."""
WAITING: Final = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
"""The variables from which libgomp takes how long a thread spins before it sleeps."""
WAITS: Final = {"sleep at once": "0", "spin for long": "300000"}
"""Other ways to wait; the second is libgomp's own if nobody says anything."""


@dataclass
class Agent:
    """One agent that runs: how it differs from the demo's, and how it did, by round."""

    name: str
    config: Config
    client: AgentClient
    asked: int = 0
    distinct: int = 0
    unusable: int = 0
    right: Counter[str] = field(default_factory=Counter)
    of: Counter[str] = field(default_factory=Counter)
    rates: list[float] = field(default_factory=list)

    def answer(self, scenes: Sequence[Record]) -> None:
        """One round: ask as the reward does, and count as it does."""
        reward = Consistency(self.config.rewards.consistency, self.client)
        stages = [stage for scene in scenes for stage in reward._asked(completion(scene))]
        before = replace(self.client.stats)
        judgements = self.client.ask([stage.question for stage in stages])
        after = self.client.stats
        distinct = after.distinct - before.distinct
        self.rates.append(distinct / (after.seconds - before.seconds))
        self.asked += len(stages)
        self.distinct += distinct
        self.unusable += after.invalid - before.invalid
        for stage, judgement in zip(stages, judgements, strict=True):
            self.of[stage.level] += 1
            self.right[stage.level] += reward._agrees(stage, judgement)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=30, metavar="N", help="held-out scenes (30)")
    parser.add_argument(
        "--slots", default=SLOTS, metavar="N,N", help=f"numbers of slots to compare ({SLOTS})"
    )
    parser.add_argument(
        "--busy", type=int, default=0, metavar="N", help="keep N cores busy meanwhile (0)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    options = parser.parse_args(arguments)
    # Ends through the same `finally` as Ctrl-C, so that no agent is left behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)

    def program() -> int:
        figures = measure(options.scenes, _numbers(options.slots), options.busy)
        if options.json:
            write_json(options.json, figures)
        show(figures)
        return 0

    try:
        return exit_code(program)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130


def _numbers(text: str) -> list[int]:
    try:
        return [int(piece) for piece in text.split(",")]
    except ValueError as error:
        raise UsageError(f"--slots {text}: expected numbers with commas between") from error


def measure(scenes: int, slots: Sequence[int], busy: int) -> dict[str, Any]:
    """All agents' figures, and how busy the machine was with other things."""
    started, others = time.monotonic(), _seconds_of_others()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="agent-benchmark-")))
        chosen, rest = choose(folder / "sample", scenes)
        bar = stack.enter_context(_bar())
        task = bar.add_task("starting agents", total=None)
        # Once for all rounds: idle ones use no processor time.
        agents = start_all(folder, stack, slots)
        for agent in agents:
            bar.update(task, description=f"warming up: {agent.name}")
            warm_up(agent, rest)
        for _ in range(busy):
            stack.enter_context(_ends_with_us([sys.executable, "-c", "while True: pass"]))
        turns = list(_turns(agents, chosen))
        bar.update(task, total=len(turns))
        for agent, part in turns:
            bar.update(task, description=f"asking: {agent.name}")
            agent.answer(part)
            bar.advance(task)
        figures = report(agents, scenes)
    # Once they have ended, because only then it is known what they used.
    share = (_seconds_of_others() - others) / (time.monotonic() - started)
    return figures | {"cores_used_by_others": round(max(share, 0.0), 2), "busy": busy}


def _turns(
    agents: Sequence[Agent], scenes: Sequence[Record]
) -> Iterator[tuple[Agent, Sequence[Record]]]:
    """Who answers when. Back and forth, so that a machine that slows down favours none."""
    for number in range(min(ROUNDS, len(scenes))):
        for agent in agents if number % 2 == 0 else reversed(agents):
            yield agent, scenes[number::ROUNDS]


def _seconds_of_others() -> float:
    """Processor time used on this machine, less that of this process and its ended children;
    with what a virtual machine's host took away."""
    fields = Path("/proc/stat").read_text(encoding="ascii").split()[1:9]
    user, nice, system, _idle, _waiting, *interrupts_and_stolen = map(int, fields)
    used = user + nice + system + sum(interrupts_and_stolen)
    return used / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])


def _bar() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    quiet = not console.is_terminal
    return Progress(*columns, TimeElapsedColumn(), console=console, transient=True, disable=quiet)


def choose(folder: Path, scenes: int) -> tuple[list[Record], list[Record]]:
    """Held-out scenes of the bundled sample, evenly from all countries, and the rest of them."""
    build_sample(folder, scenes_per_country=1)
    records, _ = read_records(folder, split="heldout", check_images=False)
    if not 1 <= scenes < len(records):
        raise UsageError(f"--scenes {scenes}: there are 1 to {len(records) - 1}")
    numbers = {k * len(records) // scenes for k in range(scenes)}
    chosen = [record for k, record in enumerate(records) if k in numbers]
    return chosen, [record for k, record in enumerate(records) if k not in numbers]


def start_all(folder: Path, stack: ExitStack, slots: Sequence[int]) -> list[Agent]:
    """The demo's agent first, then those that differ from it; they are stopped with the stack."""
    demo = resolve(["recipe=demo"])
    agents = [start(folder, stack, "demo", demo, {})]
    for number in dict.fromkeys(slots):
        if number != demo.agent.slots:
            config = resolve(["recipe=demo", f"agent.slots={number}"])
            agents.append(start(folder, stack, f"slots {number}", config, {}))
    for name, turns in WAITS.items():
        agents.append(start(folder, stack, name, demo, {"GOMP_SPINCOUNT": turns}))
    return agents


def start(
    folder: Path, stack: ExitStack, name: str, config: Config, variables: dict[str, str]
) -> Agent:
    """An agent that has announced itself, which it does after its first answer."""
    run = folder / name.replace(" ", "-")
    run.mkdir()
    (run / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
    environment = {key: value for key, value in os.environ.items() if key not in WAITING}
    log = stack.enter_context((run / "server.log").open("wb"))
    server = [sys.executable, "-m", "geoagent.agent.server", "--run", str(run)]
    options = {"stdout": log, "stderr": log, "env": environment | variables}
    process = stack.enter_context(_ends_with_us(server, **options))
    _wait(lambda: bool(read_endpoints(run / "agent")), process, run / "server.log")
    client = AgentClient(replace(config.agent, patience_s=SILENT_S), run / "agent")
    stack.callback(client.close)
    return Agent(name, config, client)


@contextmanager
def _ends_with_us(command: list[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the block."""
    process = None
    try:
        with signals_wait():
            process = subprocess.Popen(command, **options)
        yield process
    finally:
        if process is not None:
            process.terminate()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while not ready():
        if process.poll() is not None:
            said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            raise OutageError(f"the agent ended: {said[-1] if said else process.returncode}")
        if time.monotonic() > deadline:
            raise OutageError(f"the agent did not announce itself within {START_S:.0f} s")
        time.sleep(0.1)


def warm_up(agent: Agent, scenes: Sequence[Record]) -> None:
    """A question for each slot: each reads what all questions begin with once, at its first."""
    countries = sorted({scene.country for scene in scenes})[: agent.config.agent.slots]
    texts = (f"The flag is that of {country}, so this is {country}." for country in countries)
    agent.client.ask([Question("country", text) for text in texts])


def report(agents: Sequence[Agent], scenes: int) -> dict[str, Any]:
    """The figures as JSON: of the demo's agent, and of the others against it."""
    demo, *others = agents
    return {
        "scenes": scenes,
        "rounds": len(demo.rates),
        "cores": len(os.sched_getaffinity(0)),
        "asked": demo.asked,
        "distinct": demo.distinct,
        "unusable": demo.unusable,
        "stages": {level: {"right": demo.right[level], "of": demo.of[level]} for level in LEVELS},
        "slots": demo.config.agent.slots,
        "questions_per_second": _rounded(demo.rates),
        "against_demo": {agent.name: compare(agent, demo) for agent in others},
    }


def compare(agent: Agent, demo: Agent) -> dict[str, Any]:
    """Its speed as a multiple of the demo's: by medians, and the range of the rounds."""
    ratios = [one / other for one, other in zip(agent.rates, demo.rates, strict=True)]
    return {
        "ratio": round(statistics.median(agent.rates) / statistics.median(demo.rates), 3),
        "lowest": round(min(ratios), 3),
        "highest": round(max(ratios), 3),
        "right": agent.right.total(),
        "questions_per_second": _rounded(agent.rates),
    }


def _rounded(rates: Sequence[float]) -> dict[str, Any]:
    return {
        "median": round(statistics.median(rates), 2),
        "rounds": [round(rate, 2) for rate in rates],
    }


def show(figures: dict[str, Any]) -> None:
    """Print the figures on standard output."""
    console = Console()
    stages = ", ".join(f"{k} {v['right']} of {v['of']}" for k, v in figures["stages"].items())
    right = sum(stage["right"] for stage in figures["stages"].values())
    console.print(f"named right: {right} of {figures['asked']} stages ({stages})", soft_wrap=True)
    console.print(f"unusable replies: {figures['unusable']} of {figures['distinct']} questions")
    table = Table(
        title=f"{figures['cores']} cores, of which others used "
        f"{figures['cores_used_by_others']}; {figures['rounds']} rounds"
    )
    for column in ("agent", "right", "questions/s", "times demo's", "lowest", "highest"):
        table.add_column(column, justify="left" if column == "agent" else "right")
    rate = figures["questions_per_second"]["median"]
    table.add_row(f"demo ({figures['slots']} slots)", str(right), f"{rate:.2f}", "1", "", "")
    for name, row in figures["against_demo"].items():
        ratios = [f"{row[key]:.2f}" for key in ("ratio", "lowest", "highest")]
        rate = row["questions_per_second"]["median"]
        table.add_row(name, str(row["right"]), f"{rate:.2f}", *ratios)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
