"""Early stop of a sweep's hopeless points: asynchronous successive halving over plain files.

Li et al., A System for Massively Parallel Hyperparameter Tuning (ASHA), MLSys 2020, arXiv
1810.05934, in the form that stops a trial where the paper would pause it. A trial here is a run; it
writes only to its own files, so one that is killed at any moment leaves the others alone
(docs/decisions/0093-successive-halving.md).
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Final

from geoagent.files import read_if_there, write_json
from geoagent.run import Run

if TYPE_CHECKING:
    from geoagent.config import Config

RECORD: Final = "stop-early.json"
"""In GRPO's folder: what this run has reported, and what was decided on it."""
STOPPED: Final = "stopped_early"
"""In done.json of a GRPO that was stopped."""
_STAGE: Final = "grpo"


@dataclass(frozen=True)
class Verdict:
    """What was decided at one rung, of `trials` that had come to it, this one included."""

    stop: bool
    best: float
    trials: int


def rung_at(step: int, first_step: int, factor: int) -> int | None:
    """k if `step` is first_step·factorᵏ, else None."""
    rung, at = 0, first_step
    while at < step:
        rung, at = rung + 1, at * factor
    return rung if at == step else None


def judge(value: float, others: Sequence[float], factor: int) -> Verdict:
    """Whether a trial with this value stops, given those that the others have reported at the rung.

    Of n values the n // factor largest go on, and all that equal the smallest of these. As long as
    there are fewer than `factor`, everybody does: one of two says nothing about the better third.
    """
    values = sorted([value, *others], reverse=True)
    kept = len(values) // factor
    return Verdict(kept > 0 and value < values[kept - 1], values[0], len(values))


def window_mean(
    history: Iterable[Mapping[str, Any]], rewards: Sequence[str], after: int, to: int
) -> float | None:
    """Mean over the logged steps in (after, to] of the mean of the named rewards, without weights.

    `history` is the trainer's log: `step`, `rewards/NAME/mean`. None if nothing was logged, or
    something that is no number.
    """
    means: list[float] = []
    for row in history:
        named = [row.get(f"rewards/{name}/mean") for name in rewards]
        values = [value for value in named if isinstance(value, int | float)]
        if after < row["step"] <= to and len(values) == len(rewards):
            means.append(fmean(values))
    mean = fmean(means) if means else math.nan
    return mean if math.isfinite(mean) else None


def rewards_of(config: Config) -> list[str]:
    """Names of the rewards that are compared, sorted."""
    weights = config.rewards.weights
    return sorted(config.grpo.stop_early.by or [name for name in weights if weights[name] > 0])


class Halving:
    """This run's part in the study: it reports at each rung, once, and says whether to stop.

    The run's own record counts; the file in the study is a copy of its values for the others. So a
    run that is killed and goes on reports what it had reported, abides by what was decided, and is
    never compared with itself; one that began anew under its name replaces what was there.
    """

    def __init__(self, config: Config, run: Run) -> None:
        self._settings = config.grpo.stop_early
        self._rewards = rewards_of(config)
        self._record = run.stage(_STAGE) / RECORD
        assert self._settings.study is not None
        self._study = Path(self._settings.study)
        self._own = self._study / f"{run.path.name}.json"

    def is_rung(self, step: int, steps: int) -> bool:
        """Whether trials are compared after `step` of `steps`."""
        settings = self._settings
        return step < steps and rung_at(step, settings.first_step, settings.factor) is not None

    def stops(self, step: int, steps: int, history: Iterable[Mapping[str, Any]]) -> bool:
        """Whether to stop at this rung. A study that cannot be used stops nobody."""
        try:
            return self._stops(step, steps, history)
        except OSError as error:
            reason = error.strerror or error
            _warn(f"{self._study}: {reason}; not compared at step {step}, training goes on")
            return False

    def _stops(self, step: int, steps: int, history: Iterable[Mapping[str, Any]]) -> bool:
        rungs = _rungs(self._record)
        known = rungs.get(step, {})
        if "stop" in known:
            return bool(known["stop"])
        settings = self._settings
        rung = rung_at(step, settings.first_step, settings.factor) or 0
        before = step // settings.factor if rung else 0
        value = known.get("value", window_mean(history, self._rewards, before, step))
        if value is None:
            _warn(f"no rewards were logged up to step {step}; not compared, training goes on")
            return False
        rungs[step] = {"rung": rung, "step": step, "of": steps, "value": value}
        write_json(self._record, {"rungs": [*rungs.values()]})
        values = {str(at): rungs[at]["value"] for at in rungs}
        write_json(self._own, {"rewards": self._rewards, "values": values})
        verdict = judge(value, list(self._others(step)), settings.factor)
        rungs[step] |= asdict(verdict)
        write_json(self._record, {"rungs": [*rungs.values()]})
        return verdict.stop

    def _others(self, step: int) -> Iterator[float]:
        """What other trials have reported at this step of the same rewards."""
        different = []
        for path in sorted(self._study.iterdir()):
            if path.suffix != ".json" or path == self._own or not path.is_file():
                continue
            rewards, values = _reported(path)
            if str(step) in values and rewards != self._rewards:
                different.append(path.stem)
            elif str(step) in values:
                yield values[str(step)]
        if different:
            _warn(
                f"{', '.join(different)}: not compared with at step {step}, since other rewards "
                "are averaged there; name those that all points have in grpo.stop_early.by"
            )


def stopped(config: Config, run: Run) -> dict[str, Any] | None:
    """What done.json says of a GRPO that was told to stop; None if it was not."""
    if config.grpo.stop_early.study is None:
        return None
    for rung in _rungs(run.stage(_STAGE) / RECORD).values():
        if rung.get("stop"):
            names = ("step", "of", "value", "best", "rung")
            kept = rung["trials"] // config.grpo.stop_early.factor
            summary = (
                f"stopped early at step {rung['step']} of {rung['of']}: mean reward "
                f"{rung['value']:.4g} is not among the best {kept} of {rung['trials']} "
                f"(the best: {rung['best']:.4g})"
            )
            return {STOPPED: {name: rung[name] for name in names}, "summary": summary}
    return None


def skipped(config: Config, run: Run) -> str | None:
    """Why a run is not evaluated; None if it is."""
    early = read_if_there(run.done_file(_STAGE)).get(STOPPED)
    if not early or config.grpo.stop_early.study is None:
        return None
    return f"grpo was stopped early at step {early['step']} of {early['of']}"


def _rungs(record: Path) -> dict[int, dict[str, Any]]:
    """By step what a run has noted of itself. OSError, since {} would forget a decision."""
    try:
        document = json.loads(record.read_bytes())
    except FileNotFoundError:
        return {}
    return {rung["step"]: rung for rung in document["rungs"]}


def _reported(path: Path) -> tuple[list[str], dict[str, float]]:
    """The rewards that a trial averages and its finite values by step; empty if the file is not
    one of a trial's."""
    try:
        document = json.loads(path.read_bytes())
        values = {
            step: float(value)
            for step, value in document["values"].items()
            if isinstance(value, int | float) and math.isfinite(value)
        }
        return list(document["rewards"]), values
    except FileNotFoundError:  # removed since
        return [], {}
    except OSError as error:
        _warn(f"{path}: {error.strerror or error}; passed over")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        _warn(f"{path}: is not what a training writes; passed over")
    return [], {}


def _warn(message: str) -> None:
    print(f"warning: early stop: {message}", file=sys.stderr, flush=True)
