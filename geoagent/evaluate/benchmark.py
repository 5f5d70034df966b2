"""The models of a run on one or more benchmarks: predictions, metrics, table, TensorBoard."""

from __future__ import annotations

import sys
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import geoagent.data
from geoagent.data.needs import evaluation_split
from geoagent.data.record import read_records
from geoagent.data.swift import truth
from geoagent.evaluate.completions import STAGE, Shard, mark
from geoagent.evaluate.groups import available
from geoagent.evaluate.metrics import metrics, uniform_guess
from geoagent.evaluate.models import evaluated
from geoagent.evaluate.predicting import (
    Benchmark,
    Predictions,
    Steps,
    depends_on,
    predict_missing,
)
from geoagent.evaluate.rows import prediction
from geoagent.evaluate.rules import RULES
from geoagent.evaluate.scoring import Scorer, gain
from geoagent.evaluate.table import table
from geoagent.evaluate.tensorboard import write_tensorboard
from geoagent.evaluate.tools import columns, tool_use
from geoagent.files import write_atomic, write_json, write_jsonl
from geoagent.geo.services import check, locator
from geoagent.run import Run
from geoagent.train.prepare import dataset_folder

if TYPE_CHECKING:
    from geoagent.agent.client import AgentClient
    from geoagent.config import Config

Rows = list[dict[str, Any]]
PHOTOS: Final = "photos"
PHOTOS_FOLDER: Final = Path(geoagent.data.__file__).with_name("photos")
"""The few real photographs that come with the package."""


def benchmarks(config: Config) -> list[Benchmark]:
    """The configured split; and beside the drawn sample the real photographs."""
    settings = config.eval
    draws = settings.reward_samples if settings.rewards else 0
    folder = Path(settings.path) if settings.path else dataset_folder(config)
    chosen = [Benchmark(settings.benchmark, folder, evaluation_split(config), draws)]
    if config.data.path is None and settings.path is None:
        chosen.append(Benchmark(PHOTOS, PHOTOS_FOLDER, PHOTOS))
    return chosen


def evaluate(config: Config, run: Run, agent: AgentClient | None) -> dict[str, Any]:
    """Evaluate the models that `eval.models` asks for; returns, by benchmark,
    their metrics.

    Made again after a kill, it goes on after the last whole batch; what shards have predicted is
    not predicted again. UsageError if there is nothing to evaluate; OutageError if the agent or an
    online geocoder or a search service is away: then predictions are kept, nothing is scored.
    """
    models = evaluated(config, run)
    scorer = Scorer(config, agent)  # before hours of prediction: it may refuse
    check(config.rewards.geocoder)
    chosen = [Evaluation(config, run, benchmark, models) for benchmark in benchmarks(config)]
    predict_missing(config, models, chosen, run.progress_file(STAGE))
    if agent is not None and scorer.rewards:
        agent.check()  # the models may give it nothing to answer
    steps = Steps(run.progress_file(STAGE), sum(one.completions for one in chosen))
    results = {e.benchmark.name: e.report(scorer, steps) for e in chosen}
    steps.end()
    return results


def predict(config: Config, run: Run, shard: Shard) -> int:
    """A shard's part of the predictions of `evaluate`; returns how many completions are missing
    still, of all shards."""
    models = evaluated(config, run)
    chosen = [Evaluation(config, run, one, models, shard) for one in benchmarks(config)]
    predict_missing(config, models, chosen, run.progress_file(shard.stage))
    return sum(evaluation.missing() for evaluation in chosen)


def made_with(config: Config, run: Run) -> str:
    """Tells an evaluation from one of other weights, samples or settings."""
    models = evaluated(config, run)
    completions = [depends_on(config, one, c) for one in benchmarks(config) for c in models]
    return mark([completions, asdict(config.eval), asdict(config.agent), asdict(config.rewards)])


class Evaluation(Predictions):
    """The models of a run on one benchmark, with their metrics."""

    def report(self, scorer: Scorer, steps: Steps) -> dict[str, Any]:
        """Score all rows, and write predictions, metrics.json, table.txt and TensorBoard."""
        result: dict[str, Any] = {"models": {}, "last": self.models[-1].name}
        greedy: dict[str, Rows] = {}
        drawn: dict[str, Rows] = {}
        by = self._break_downs()
        for candidate in self.models:
            name = candidate.name
            steps.add(0, f"{self.benchmark.name}: scoring, {name}")
            greedy[name], drawn[name] = self._rows(name, 0), self._draws(name)
            figures = metrics(greedy[name], by, RULES[self.config.eval.rules])
            scored = scorer.score(greedy[name], steps.add)
            figures["intervals"] |= scored.pop("intervals", {})
            figures |= scored
            if used := tool_use(greedy[name]):
                figures["tools"] = used
            if drawn[name]:
                sampled = scorer.score(drawn[name], steps.add)
                figures |= {f"sampled_{key}": sampled[key] for key in ("mean_reward", "rewards")}
            result["models"][name] = figures
        if scorer.rewards:
            result["gains"] = _gains(greedy, drawn)
        result |= {"uniform": self._uniform(), "rejected": len(self.rejected), **scorer.stats()}
        write_jsonl(self._file(0), [row for rows in greedy.values() for row in rows])
        if self.benchmark.draws:
            write_jsonl(self._file(1), [row for rows in drawn.values() for row in rows])
        write_json(self.output / "made_with.json", self.made_with)
        write_json(self.output / "metrics.json", result)
        write_atomic(self.output / "table.txt", table(result, self.benchmark.name))
        board = self.output / "tensorboard"
        write_tensorboard(board, self.config, self.models, result["models"], greedy)
        return result

    def _rows(self, model: str, draw: int) -> Rows:
        said, traces = self.said.texts, self.said.traces
        locate = locator(self.config.rewards.geocoder)
        rows = []
        for record in self.records:
            key = model, draw, record.id
            row = prediction(model, record, said[key], locate)
            rows.append(row | (columns(traces[key]) if key in traces else {}))
        return [{**row, "draw": draw} for row in rows] if draw else rows

    def _break_downs(self) -> list[str]:
        """Those that the records have usable columns for."""
        usable, problems = available([{**truth(record), **record.extra} for record in self.records])
        for problem in problems:
            print(f"warning: {self.benchmark.folder}: {problem}", file=sys.stderr, flush=True)
        return usable

    def _draws(self, model: str) -> Rows:
        return [row for n in range(self.benchmark.draws) for row in self._rows(model, n + 1)]

    def _file(self, draw: int) -> Path:
        return self.output / ("sampled.jsonl" if draw else "predictions.jsonl")

    def _uniform(self) -> dict[str, Any]:
        """Guessing among the places of the training split; empty if there is none, or only that of
        the drawn sample for something else."""
        if self.config.data.path is None and self.config.eval.path is not None:
            return {}
        training, _ = read_records(
            dataset_folder(self.config), self.config.data.train_split, check_images=False
        )
        places = sorted({(record.latitude, record.longitude) for record in training})
        truths = [(record.latitude, record.longitude) for record in self.records]
        return uniform_guess(places, truths) if places else {}


def _gains(greedy: dict[str, Rows], drawn: dict[str, Rows]) -> dict[str, Any]:
    """What each model's total reward is above that of the model before it."""
    return {
        after: {
            "over": before,
            "reward": gain(greedy[before], greedy[after]),
            "sampled_reward": gain(drawn[before], drawn[after]) if drawn[after] else None,
        }
        for before, after in pairwise(greedy)
    }
