"""All models of a run on one or more benchmarks: predictions, metrics, table, TensorBoard."""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import geoagent.data
from geoagent.data.prompt import QUESTION
from geoagent.data.record import RECORDS_FILE, Record, read_records
from geoagent.errors import UsageError
from geoagent.evaluate.metrics import metrics, uniform_guess
from geoagent.evaluate.models import Candidate, candidates
from geoagent.evaluate.rows import prediction
from geoagent.evaluate.scoring import Scorer, gain
from geoagent.evaluate.table import table
from geoagent.files import append_jsonl, read_json, write_atomic, write_json, write_jsonl
from geoagent.progress import Progress
from geoagent.run import Run
from geoagent.train.prepare import dataset_folder

if TYPE_CHECKING:
    from geoagent.agent.client import AgentClient
    from geoagent.config import Config
    from geoagent.evaluate.predict import Predictor

Rows = list[dict[str, Any]]
STAGE: Final = "eval"
PHOTOS: Final = "photos"
PHOTOS_FOLDER: Final = Path(geoagent.data.__file__).with_name("photos")
"""The few real photographs that come with the package."""


@dataclass(frozen=True)
class Benchmark:
    """Samples that models are compared on, under the name of their folder in RUN/eval."""

    name: str
    folder: Path
    split: str
    draws: int = 0
    """Completions sampled for each image, beside the one that is evaluated."""


def benchmarks(config: Config) -> list[Benchmark]:
    """The configured split; and beside the drawn sample the real photographs."""
    settings = config.eval
    draws = settings.reward_samples if settings.rewards else 0
    chosen = [Benchmark(settings.benchmark, dataset_folder(config), config.data.eval_split, draws)]
    if config.data.path is None:
        chosen.append(Benchmark(PHOTOS, PHOTOS_FOLDER, PHOTOS))
    return chosen


def evaluate(config: Config, run: Run, agent: AgentClient | None) -> dict[str, Any]:
    """Evaluate every model of the run; returns the metrics of each benchmark by its name.

    Made again after a kill, it goes on after the last whole batch. UsageError if there is nothing
    to evaluate; OutageError if the agent is away: then predictions are kept, nothing is scored.
    """
    models = candidates(config, run)
    scorer = Scorer(config, agent)  # before hours of prediction: it may refuse
    chosen = [Evaluation(config, run, benchmark, models) for benchmark in benchmarks(config)]
    completions = sum(evaluation.completions for evaluation in chosen)
    steps = _Steps(run.progress_file(STAGE), completions * (2 if scorer.rewards else 1))
    for candidate in models:
        load = _loader(config, candidate)
        for evaluation in chosen:
            steps.add(0, f"{evaluation.benchmark.name}: predicting, {candidate.name}")
            for done in evaluation.predict(candidate, load):
                steps.add(done)
    if agent is not None and scorer.rewards:
        agent.check()  # the models may give it nothing to answer
    results = {e.benchmark.name: e.report(scorer, steps) for e in chosen}
    steps.add(0, "done")
    return results


class _Steps:
    """Counts completions: once when they are predicted and, with rewards, once when scored."""

    def __init__(self, path: Path, total: int) -> None:
        self._progress = Progress(path, total)
        self._done = 0
        self._message = ""

    def add(self, done: int, message: str | None = None) -> None:
        self._done += done
        self._message = self._message if message is None else message
        self._progress.update(self._done, self._message)


def _loader(config: Config, candidate: Candidate) -> Callable[[], Predictor]:
    """Loads the model when it is first needed: not at all if all its rows are there already."""
    loaded: list[Predictor] = []

    def load() -> Predictor:
        if not loaded:
            from geoagent.evaluate.predict import Predictor

            loaded.append(Predictor(candidate, config.model, config.model.max_pixels))
        return loaded[0]

    return load


class Evaluation:
    """The models of a run on one benchmark."""

    def __init__(
        self, config: Config, run: Run, benchmark: Benchmark, models: Sequence[Candidate]
    ) -> None:
        self.config = config
        self.benchmark = benchmark
        self.models = models
        self.output = run.evaluation(benchmark.name)
        limit = config.eval.limit or config.data.limit
        self.records, self.rejected = read_records(
            benchmark.folder, benchmark.split, limit, config.data.strict
        )
        if not self.records:
            raise UsageError(
                f"{benchmark.folder}: no usable record in split '{benchmark.split}' to evaluate on"
            )
        self._texts = self._earlier()

    @property
    def completions(self) -> int:
        """How many there will be, of all models."""
        return len(self.models) * len(self.records) * (1 + self.benchmark.draws)

    def predict(self, candidate: Candidate, load: Callable[[], Predictor]) -> Iterator[int]:
        """Write the completions that are missing, batch by batch; yields how many were done."""
        for draw in range(1 + self.benchmark.draws):
            for batch in _batches(self.records, self.config.eval.batch_size):
                keys = [(candidate.name, draw, record.id) for record in batch]
                if any(key not in self._texts for key in keys):
                    # The whole batch again, so that a resumed evaluation samples the same texts.
                    texts = self._complete(load(), draw, batch)
                    new = [key for key in keys if key not in self._texts]
                    self._texts.update(zip(keys, texts, strict=True))
                    append_jsonl(self._file(draw), [_stored(key, self._texts[key]) for key in new])
                yield len(batch)

    def report(self, scorer: Scorer, steps: _Steps) -> dict[str, Any]:
        """Score all rows, and write predictions, metrics.json, table.txt and TensorBoard."""
        result: dict[str, Any] = {"models": {}, "last": self.models[-1].name}
        greedy: dict[str, Rows] = {}
        drawn: dict[str, Rows] = {}
        for candidate in self.models:
            name = candidate.name
            steps.add(0, f"{self.benchmark.name}: scoring, {name}")
            greedy[name], drawn[name] = self._rows(name, 0), self._draws(name)
            figures = {**metrics(greedy[name]), **scorer.score(greedy[name], steps.add)}
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
        write_json(self.output / "metrics.json", result)
        write_atomic(self.output / "table.txt", table(result, self.benchmark.name))
        self._tensorboard(result)
        return result

    def _rows(self, model: str, draw: int) -> Rows:
        texts = ((record, self._texts[model, draw, record.id]) for record in self.records)
        rows = [prediction(model, record, text) for record, text in texts]
        return [{**row, "draw": draw} for row in rows] if draw else rows

    def _draws(self, model: str) -> Rows:
        return [row for n in range(self.benchmark.draws) for row in self._rows(model, n + 1)]

    def _file(self, draw: int) -> Path:
        return self.output / ("sampled.jsonl" if draw else "predictions.jsonl")

    def _complete(self, predictor: Predictor, draw: int, batch: Sequence[Record]) -> list[str]:
        """Completions of a batch; the same seeds for all models."""
        settings, grpo = self.config.eval, self.config.grpo
        return predictor.complete(
            [self.benchmark.folder / record.image for record in batch],
            settings.max_new_tokens,
            temperature=grpo.temperature if draw else settings.temperature,
            top_p=grpo.top_p if draw else 1.0,
            seed=zlib.crc32(f"{self.config.seed}/{draw}/{batch[0].id}".encode()),
        )

    def _earlier(self) -> dict[tuple[str, int, str], str]:
        """Completions of an earlier try that still hold: same weights, samples and settings."""
        made_with = self.output / "made_with.json"
        now = json.loads(json.dumps({c.name: self._made_with(c) for c in self.models}))
        before = read_json(made_with) if made_with.is_file() else {}
        same = {name for name, value in now.items() if before.get(name) == value}
        ids = {record.id for record in self.records}
        found: dict[tuple[str, int, str], str] = {}
        for draw in (0, 1):
            rows = [row for row in _whole_rows(self._file(draw)) if row["model"] in same]
            rows = [row for row in rows if row["id"] in ids]
            if self._file(draw).is_file():
                write_jsonl(self._file(draw), rows)
            for row in rows:
                found[row["model"], row.get("draw", 0), row["id"]] = row["completion"]
        write_json(made_with, now)
        return found

    def _made_with(self, candidate: Candidate) -> dict[str, Any]:
        """All that a completion depends on."""
        records = (self.benchmark.folder / RECORDS_FILE).stat()
        settings, grpo = self.config.eval, self.config.grpo
        return {
            **asdict(candidate),
            "weights": candidate.weights,
            "samples": [str(self.benchmark.folder), records.st_size, records.st_mtime_ns],
            "question": QUESTION,
            "seed": self.config.seed,
            "max_pixels": self.config.model.max_pixels,
            "max_new_tokens": settings.max_new_tokens,
            "temperature": settings.temperature,
            "sampling": [grpo.temperature, grpo.top_p],
        }

    def _uniform(self) -> dict[str, Any]:
        """Guessing among the places of the training split; empty if there is none."""
        training, _ = read_records(
            dataset_folder(self.config), self.config.data.train_split, check_images=False
        )
        places = sorted({(record.latitude, record.longitude) for record in training})
        truths = [(record.latitude, record.longitude) for record in self.records]
        return uniform_guess(places, truths) if places else {}

    def _tensorboard(self, result: dict[str, Any]) -> None:
        """A curve a figure over the models in their order; an earlier evaluation is replaced."""
        from torch.utils.tensorboard import SummaryWriter

        folder = self.output / "tensorboard"
        shutil.rmtree(folder, ignore_errors=True)
        for step, (name, figures) in enumerate(result["models"].items()):
            rewards = {f"reward_{key}": value for key, value in figures.get("rewards", {}).items()}
            with SummaryWriter(str(folder / name)) as writer:
                for key, value in {**figures, **rewards}.items():
                    if isinstance(value, int | float):
                        writer.add_scalar(f"eval/{key}", value, step)


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


def _stored(key: tuple[str, int, str], text: str) -> dict[str, Any]:
    """What a killed evaluation leaves of a row; the rest is read from the record again."""
    model, draw, record_id = key
    row: dict[str, Any] = {"model": model, "id": record_id, "completion": text}
    return {**row, "draw": draw} if draw else row


def _batches(records: Sequence[Record], size: int) -> Iterator[Sequence[Record]]:
    return (records[start : start + size] for start in range(0, len(records), size))


def _whole_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of an earlier try; one that a kill has cut, or that is not ours, is passed over."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        for line in file:
            try:
                row = json.loads(line)
            except ValueError:
                continue
            if isinstance(row, dict) and {"model", "id", "completion"} <= row.keys():
                yield row
