"""The models of a run on one or more benchmarks: predictions, metrics, table, TensorBoard."""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypedDict

import geoagent.data
from geoagent.data.needs import evaluation_split
from geoagent.data.prompt import question
from geoagent.data.record import RECORDS_FILE, Record, image_root, read_records
from geoagent.data.swift import truth
from geoagent.errors import UsageError
from geoagent.evaluate.completions import STAGE, Completions, Key, Shard, mark
from geoagent.evaluate.groups import available
from geoagent.evaluate.metrics import metrics, uniform_guess
from geoagent.evaluate.models import Candidate, evaluated
from geoagent.evaluate.rows import prediction
from geoagent.evaluate.rules import RULES
from geoagent.evaluate.scoring import Scorer, gain
from geoagent.evaluate.table import table
from geoagent.evaluate.tensorboard import write_tensorboard
from geoagent.evaluate.tools import columns, play_batch, tool_use
from geoagent.evaluate.tools import made_with as tools_made_with
from geoagent.files import claimed, write_atomic, write_json, write_jsonl
from geoagent.geo.services import check, locator
from geoagent.progress import Progress
from geoagent.rollout.search import provider
from geoagent.run import Run
from geoagent.train.prepare import dataset_folder

if TYPE_CHECKING:
    from geoagent.agent.client import AgentClient
    from geoagent.config import Config
    from geoagent.evaluate.predict import Predictor
    from geoagent.rollout.search import SearchProvider

Rows = list[dict[str, Any]]
PHOTOS: Final = "photos"
PHOTOS_FOLDER: Final = Path(geoagent.data.__file__).with_name("photos")
"""The few real photographs that come with the package."""


class _Sampling(TypedDict):
    temperature: float
    top_p: float
    seed: int


@dataclass(frozen=True)
class Benchmark:
    """Samples that models are compared on, under the name of their folder in RUN/eval."""

    name: str
    folder: Path
    split: str
    draws: int = 0
    """Completions sampled for each image, beside the one that is evaluated."""
    evaluated: bool = True
    """Whether there is that one."""
    output: Path | None = None
    """Where it is written instead."""

    @property
    def numbers(self) -> range:
        """The draws of each image; 0 is the evaluated one."""
        return range(0 if self.evaluated else 1, 1 + self.draws)


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
    steps = _Steps(run.progress_file(STAGE), sum(one.completions for one in chosen))
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
    completions = [_made_with(config, one, c) for one in benchmarks(config) for c in models]
    return mark([completions, asdict(config.eval), asdict(config.agent), asdict(config.rewards)])


def predict_missing(
    config: Config,
    models: Sequence[Candidate],
    chosen: Sequence[Evaluation],
    progress: Path,
    enough: Callable[[], bool] = lambda: False,
) -> None:
    """Write what is missing of the evaluations' shard, batch by batch, until that is `enough`."""
    with ExitStack() as stack:
        for evaluation in chosen:
            stack.enter_context(evaluation.writing())
        there = sum(evaluation.there() for evaluation in chosen)
        steps = _Steps(progress, sum(evaluation.part for evaluation in chosen), there)
        for candidate in models:
            with _loader(config, candidate) as load:
                for evaluation in chosen:
                    steps.add(0, f"{evaluation.benchmark.name}: predicting, {candidate.name}")
                    for done in () if enough() else evaluation.predict(candidate, load):
                        steps.add(done)
                        if enough():
                            break
        steps.end()


class _Steps:
    """Counts completions, of which `there` were there before."""

    def __init__(self, path: Path, total: int, there: int = 0) -> None:
        self._progress = Progress(path, total, unit="completion", first=there)
        self._total = total
        self._done = there
        self._message = ""

    def add(self, done: int, message: str | None = None) -> None:
        self._done += done
        self._message = self._message if message is None else message
        self._progress.update(self._done, self._message)

    def end(self) -> None:
        self._progress.update(self._total, "done")


@contextmanager
def _loader(config: Config, candidate: Candidate) -> Iterator[Callable[[], Predictor]]:
    """Loads the model when it is first needed: not at all if all its rows are there already. At
    the end its memory is free for the next model."""
    loaded: list[Predictor] = []

    def load() -> Predictor:
        if not loaded:
            from geoagent.evaluate.predict import predictor

            loaded.append(predictor(candidate, config))
        return loaded[0]

    try:
        yield load
    finally:
        for one in loaded:
            one.close()


class Evaluation:
    """The models of a run on one benchmark; `shard` is the part that is predicted here."""

    def __init__(
        self,
        config: Config,
        run: Run,
        benchmark: Benchmark,
        models: Sequence[Candidate],
        shard: Shard = Shard(),  # noqa: B008, it is frozen
    ) -> None:
        self.config = config
        self.benchmark = benchmark
        self.models = models
        self.shard = shard
        self.output = benchmark.output or run.evaluation(benchmark.name)
        limit = config.eval.limit or config.data.limit
        self.records, self.rejected = read_records(
            benchmark.folder, benchmark.split, limit, config.data.strict
        )
        if not self.records:
            raise UsageError(
                f"{benchmark.folder}: no usable record in split '{benchmark.split}' to evaluate on"
            )
        self.made_with = {model.name: _made_with(config, benchmark, model) for model in models}
        marks = {name: mark(value) for name, value in self.made_with.items()}
        ids = [record.id for record in self.records]
        self._completions = Completions(self.output / "completions", shard, marks, ids)

    @property
    def texts(self) -> Mapping[Key, str]:
        """The completions that there are by now, of all shards, in the order in which they came."""
        return self._completions.texts

    @property
    def completions(self) -> int:
        """How many there will be, of all models and shards."""
        return len(self.models) * len(self.records) * len(self.benchmark.numbers)

    @property
    def part(self) -> int:
        """How many of them are this shard's."""
        records = sum(len(batch) for batch in self._batches())
        return len(self.models) * records * len(self.benchmark.numbers)

    def there(self) -> int:
        """How many of this shard's need not be predicted."""
        mine = {record.id for batch in self._batches() for record in batch}
        return sum(key in self._completions.texts for key in self._keys() if key[2] in mine)

    def missing(self) -> int:
        """How many no shard has predicted by now."""
        self._completions.read()
        return sum(key not in self._completions.texts for key in self._keys())

    def _keys(self) -> Iterator[Key]:
        for model in self.models:
            for draw in self.benchmark.numbers:
                yield from ((model.name, draw, record.id) for record in self.records)

    def _batches(self) -> Iterator[Sequence[Record]]:
        """Those of this shard. Whole batches, since sampling is seeded by batch: so shards sample
        what one process would."""
        size = self.config.eval.batch_size
        for number, start in enumerate(range(0, len(self.records), size)):
            if self.shard.has(number):
                yield self.records[start : start + size]

    @contextmanager
    def writing(self) -> Iterator[None]:
        """While predictions are written. UsageError if another process writes the same part."""
        lock = self.output / "completions" / f"{self.shard.name}.lock"
        with claimed(lock) as mine:
            if not mine:
                raise UsageError(
                    f"{self.output}: another process predicts shard {self.shard.name}; wait for "
                    "it or stop it"
                )
            self._completions.begin()
            yield

    def predict(self, candidate: Candidate, load: Callable[[], Predictor]) -> Iterator[int]:
        """Write the completions that are missing, batch by batch; yields how many were done."""
        known = self._completions.texts
        for draw in self.benchmark.numbers:
            for batch in self._batches():
                keys = [(candidate.name, draw, record.id) for record in batch]
                new = sum(key not in known for key in keys)
                if new:
                    # The whole batch again, so that a resumed evaluation samples the same texts.
                    texts, traces = self._complete(load, draw, batch)
                    self._completions.add(
                        dict(zip(keys, texts, strict=True)), dict(zip(keys, traces, strict=False))
                    )
                    yield new

    def report(self, scorer: Scorer, steps: _Steps) -> dict[str, Any]:
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
        said, traces = self._completions.texts, self._completions.traces
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

    def _complete(
        self, load: Callable[[], Predictor], draw: int, batch: Sequence[Record]
    ) -> tuple[list[str], list[dict[str, Any]]]:
        """Completions of a batch, and of those that are made with tools the traces; the same seeds
        for all models."""
        settings, grpo = self.config.eval, self.config.grpo
        root = image_root(self.benchmark.folder)
        images = [root / record.image for record in batch]
        sampling: _Sampling = {
            "temperature": grpo.temperature if draw else settings.temperature,
            "top_p": grpo.top_p if draw else 1.0,
            "seed": zlib.crc32(f"{self.config.seed}/{draw}/{batch[0].id}".encode()),
        }
        if not self.config.rollout.eval:
            asked = question(self.config.data.answer)
            return load().complete(images, asked, settings.max_new_tokens, **sampling), []
        search = self._search  # it may be refused, before a model is loaded
        episodes = play_batch(
            load(), images, self.config.rollout, search, settings.max_new_tokens, **sampling
        )
        texts = [episode.turns[-1].completion for episode in episodes]
        return texts, [episode.trace() for episode in episodes]

    @cached_property
    def _search(self) -> SearchProvider:
        return provider(self.config.rollout.search)

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


def _made_with(config: Config, benchmark: Benchmark, candidate: Candidate) -> dict[str, Any]:
    """All that a completion depends on."""
    records = (benchmark.folder / RECORDS_FILE).stat()
    tools = {"tools": tools_made_with(config.rollout)} if config.rollout.eval else {}
    return {
        **asdict(candidate),
        "weights": candidate.weights,
        "samples": [str(benchmark.folder), records.st_size, records.st_mtime_ns],
        "question": question(config.data.answer),
        "engine": config.eval.engine,
        "seed": config.seed,
        "max_pixels": config.model.max_pixels,
        "max_new_tokens": config.eval.max_new_tokens,
        "temperature": config.eval.temperature,
        "sampling": [config.grpo.temperature, config.grpo.top_p],
        **tools,
    }


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
