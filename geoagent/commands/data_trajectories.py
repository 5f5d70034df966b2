"""`geoagent data make-trajectories`: a vision model plays episodes with tools; the right ones are
kept."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoagent.commands.common import (
    FARTHEST_KM,
    add_settings,
    command,
    number,
    warn,
    whole_number,
)
from geoagent.commands.vision import (
    add_vision,
    tell,
    tell_reasons,
    tell_rejected,
    vision_endpoint,
    vision_limits,
    with_bar,
)
from geoagent.config import resolve
from geoagent.errors import OutageError, UsageError
from geoagent.evaluate.rules import LEVELS

if TYPE_CHECKING:
    from geoagent.config import RolloutConfig
    from geoagent.trajectories.folder import TrajectoryMaking


def _make(options: argparse.Namespace) -> int:
    from geoagent.rollout.search import provider
    from geoagent.trajectories.client import TrajectoryClient
    from geoagent.trajectories.folder import Task, TrajectoryMaking
    from geoagent.trajectories.verdict import Standard

    config = resolve([*(str(file) for file in options.config), *options.overrides])
    task = Task(
        limits=config.rollout,
        provider=provider(config.rollout.search),
        standard=Standard(options.level or LEVELS[-1], options.within_km, options.at_least_calls),
        temperature=options.temperature,
        tries=options.tries,
    )
    _check_calls(options.at_least_calls, config.rollout)
    client = TrajectoryClient(
        vision_endpoint(options), vision_limits(options), task.temperature, on_wait=tell
    )
    work = TrajectoryMaking(
        options.folder, options.target, client, task, options.split, options.limit
    )
    tell_rejected(options.folder, work.rejected)
    try:
        with work.alone():
            _play(work)
    finally:
        client.close()
        tell_reasons(work.outcome.unusable | work.outcome.failed)
    summary = {**work.outcome.summary(), "rejected": len(work.rejected)}
    print(json.dumps(summary, indent=2, ensure_ascii=False), flush=True)
    if not work.outcome.kept:
        warn(f"no episode was good enough; {options.target}/rejected.jsonl has them all")
    return 2 if work.rejected or work.outcome.failed or work.outcome.unusable else 0


def _check_calls(least: int, limits: RolloutConfig) -> None:
    """UsageError if no episode could have so many calls: it would be asked for in vain."""
    most = min(limits.turns - 1, limits.crops + limits.searches)  # the last turn has to answer
    if least > most:
        raise UsageError(
            f"--at-least-calls {least}: an episode has at most {most}; ask for fewer, or raise "
            "rollout.turns, rollout.crops or rollout.searches"
        )


def _play(work: TrajectoryMaking) -> None:
    """With a bar; whatever ends it, how far it came."""
    try:
        with_bar("playing", len(work.records), len(work.pending), work.run)
    except (UsageError, OutageError, KeyboardInterrupt):
        tell(f"{len(work.outcome.kept)} of {len(work.records)} images have a trajectory")
        raise


def _calls(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text}: a whole number, 0 or more")
    return int(text)


def add(kinds: Any) -> None:
    parser = command(
        kinds,
        "make-trajectories",
        _make,
        "let a vision model zoom and search for a dataset's pictures, and keep what led to the "
        "right answer",
        """%(prog)s data/mine data/trajectories --url http://gpu07:8000/v1 --model NAME --limit 20
        %(prog)s data/mine data/trajectories --url http://gpu07:8000/v1 --model NAME --tries 4
        %(prog)s data/mine data/near --within-km 25 --url https://HOST/v1 --model NAME \
rollout.search.provider=tavily""",
    )
    parser.add_argument("folder", type=Path, metavar="SRC", help="of a dataset")
    parser.add_argument("target", type=Path, metavar="DST", help="new folder of the trajectories")
    add_vision(parser)
    right = parser.add_mutually_exclusive_group()
    right.add_argument(
        "--level",
        choices=LEVELS,  # no default: argparse lets a conflict with one pass
        help="what of the answer has to be right (city)",
    )
    right.add_argument(
        "--within-km",
        type=number(0, FARTHEST_KM, open_below=True),
        metavar="KM",
        help="instead, how far away the answer may be at most",
    )
    parser.add_argument(
        "--at-least-calls",
        type=_calls,
        default=1,
        metavar="N",
        help="calls of tools that a trajectory has to have (1)",
    )
    parser.add_argument(
        "--tries",
        type=whole_number,
        default=1,
        metavar="N",
        help="episodes over a picture, until one is kept (1)",
    )
    parser.add_argument(
        "--temperature", type=number(0, 2), default=0.7, metavar="T", help="of the model (0.7)"
    )
    add_settings(parser)
