"""How much of a GRPO step waits for its rewards: `make bench-overlap`.

The tiny model first learns a few scenes by heart (SFT), so that its completions are chains of
thought that the agent is asked about. From there GRPO trains a few steps, as it always does, once
with each agent: a stand-in on loopback that takes 200 ms for each request and 64 at a time
(benchmarks/stub.py), and the embedded agent of the demo, on the cores that train. The times are
those that training logs itself, as `time/…`, beside ms-swift's own of a step, which is without the
optimizer; the first step, which loads what rewards need, is left out.

A tiny model on a CPU says nothing about the share on GPUs: only that it is measured, and what part
the reward path is here. A run's own curves tell its share.

Last, an estimate, outside of training: the released algorithm (benchmarks/published.py) asks the
same stand-in about a few completions of benchmarks/batches.py, one question after the other. So
much time for each question of these steps, those with a remembered answer too, is what they would
have waited. The share is that of a step whose other parts take as long as they did; the released
algorithm's other rewards are left out, in its favour.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Final

import agent as embedded
import batches
from harness import Figures, bars, percent, run, seconds, table
from published import STAGES
from published import Consistency as PublishedConsistency
from rich.console import Console
from stub import serving

from geoagent.config import Config, resolve, to_yaml
from geoagent.data.record import RECORDS_FILE
from geoagent.data.sample import build_sample
from geoagent.files import read_json, read_jsonl, write_jsonl
from geoagent.report.curves import read_stage
from geoagent.rewards.registry import weighted
from geoagent.run import Run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LATENCY_S: Final = 0.2
CAPACITY: Final = 64
STEPS: Final = 5
"""Of GRPO; all but the first are counted."""
SCENES: Final = 8
BATCH: Final = 16
TIMED: Final = 8
"""Completions that the released algorithm is timed on; it takes one after the other."""
SETTINGS: Final = (
    "recipe=demo",
    "sft.max_steps=80",
    "sft.save_steps=80",
    "sft.lr_scheduler=constant",
    f"sft.batch_size={SCENES}",
    f"grpo.max_steps={STEPS}",
    f"grpo.save_steps={STEPS}",
    f"grpo.batch_size={BATCH}",
    "grpo.temperature=0.5",
    "grpo.logging_steps=1",
)
_LONGEST_S: Final = 900
_TOKEN: Final = {"GEOAGENT_AGENT_TOKEN": "none"}
"""The stand-in wants none, but an external agent is not asked without."""


def measure(options: argparse.Namespace) -> Figures:
    """All figures, as JSON."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="overlap-")))
        data = f"data.path={_scenes(folder / 'scenes')}"
        learnt = _made(folder / "learnt", resolve([*SETTINGS, data]))
        for stage in ("prepare", "sft"):
            _train(stage, learnt)
        url = stack.enter_context(serving(LATENCY_S, CAPACITY))
        external = [
            "agent.backend=external",
            f"agent.url={url}/v1",
            f"agent.concurrency={CAPACITY}",
        ]
        beside = _made(folder / "beside", resolve([*SETTINGS, data, *external]))
        cases = [_case("stand-in", beside, learnt)]
        estimate = _as_published(cases[0], f"{url}/v1")
        embedded.start(folder, stack, "embedded", learnt.config(), {})
        cases.append(_case("embedded", Run(folder / "embedded"), learnt))
    return {
        "latency_s": LATENCY_S,
        "capacity": CAPACITY,
        "completions": BATCH,
        "cases": cases,
        "estimate": estimate,
    }


def _scenes(folder: Path) -> Path:
    """Scenes of the bundled sample whose chains of thought go down to the place, so that there are
    three questions to each."""
    build_sample(folder, scenes_per_country=1)
    rows = [row for row in read_jsonl(folder / RECORDS_FILE) if row["split"] == "train"]
    whole = [row for row in rows if STAGES[-1] in row["think"]]
    write_jsonl(folder / RECORDS_FILE, whole[:SCENES])
    return folder


def _made(folder: Path, config: Config) -> Run:
    folder.mkdir()
    made = Run(folder)
    made.config_file.write_text(to_yaml(config), encoding="utf-8")
    return made


def _train(stage: str, of: Run) -> None:
    """One stage in a process of its own; SystemExit with its last line if it fails."""
    root = str(Path(__file__).parents[1])
    environment = {**os.environ, **_TOKEN, "PYTHONPATH": root}
    words = [sys.executable, "-m", "geoagent.train", stage, "--run", str(of.path)]
    done = subprocess.run(
        words,
        cwd=of.path.parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=_LONGEST_S,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise SystemExit(f"error: {stage} of {of.path.name}: {said[-1] if said else 'failed'}")


def _case(name: str, of: Run, learnt: Run) -> dict[str, Any]:
    """GRPO of a run that goes on from the one that has learnt, and what it logged of its time."""
    for part in ("data", "model", "sft"):
        (of.path / part).symlink_to(learnt.path / part)
    _train("grpo", of)
    curves = read_stage(of, "grpo")
    assert curves is not None
    counted = {
        tag.removeprefix("time/"): [float(value) for value in values[1:]]
        for tag, (_, values) in curves.scalars.items()
        if tag.startswith("time/")
    }
    stats = read_json(of.agent / "stats-grpo-rank-0.json")
    return {
        "agent": name,
        "step_s": fmean(counted["step_s"]),
        "step_by_swift_s": fmean(map(float, curves.scalars["train/step_time"][1][1:])),
        "rewards_s": fmean(counted["rewards_s"]),
        "share": sum(counted["rewards_s"]) / sum(counted["step_s"]),
        "each_s": {one: fmean(counted[f"{one}_s"]) for one in weighted(of.config().rewards)},
        "asked": stats["asked"] / STEPS,
        "sent": stats["distinct"] / STEPS,
        "steps": counted,
    }


def _as_published(case: dict[str, Any], url: str) -> dict[str, Any]:
    """What the released algorithm would make of the steps of a case."""
    texts, _ = batches.completions(TIMED, 0)
    taken = seconds(lambda: PublishedConsistency(url, pauses=True)(texts))
    waits = case["asked"] * taken / (TIMED * len(STAGES))
    rest = case["step_s"] - case["rewards_s"]
    return {"rewards_s": waits, "share": waits / (rest + waits)}


def show(figures: Figures, console: Console) -> None:
    """Print the figures."""
    rows: list[tuple[object, ...]] = [
        (
            case["agent"],
            case["step_s"],
            case["step_by_swift_s"],
            case["rewards_s"],
            percent(case["share"]),
            case["asked"],
            case["sent"],
            max(case["each_s"], key=case["each_s"].__getitem__),
        )
        for case in figures["cases"]
    ]
    heads = (
        "agent",
        "step s",
        "by ms-swift",
        "rewards s",
        "share",
        "asked a step",
        "sent",
        "slowest",
    )
    console.print(table(f"GRPO of the tiny model, {BATCH} completions a step", heads, rows))
    estimate = figures["estimate"]
    console.print(
        f"estimate: asked one after the other, as released, the stand-in's steps would wait "
        f"{estimate['rewards_s']:.1f} s for consistency, {percent(estimate['share'])} of a step",
        highlight=False,
    )


def draw(figures: Figures) -> Figure:
    """Seconds of a step, by what it does."""
    cases = figures["cases"]
    return bars(
        f"A GRPO step of the tiny model, {BATCH} completions",
        "seconds",
        [case["agent"] for case in cases],
        {
            "rewards": [case["rewards_s"] for case in cases],
            "all": [case["step_s"] for case in cases],
        },
    )


if __name__ == "__main__":
    sys.exit(run("overlap", __doc__, measure, show, draw))
