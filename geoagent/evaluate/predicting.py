"""Models on samples → completions, kept batch by batch, so that shards share the work and a kill
loses a batch."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from geoagent.data.prompt import question
from geoagent.data.record import RECORDS_FILE, Record, image_root, read_records
from geoagent.errors import UsageError
from geoagent.evaluate.completions import Completions, Key, Shard, mark
from geoagent.evaluate.models import Candidate
from geoagent.evaluate.tools import made_with as tools_made_with
from geoagent.evaluate.tools import play_batch
from geoagent.files import claimed
from geoagent.progress import Progress
from geoagent.rollout.search import provider
from geoagent.run import Run

if TYPE_CHECKING:
    from geoagent.config import Config
    from geoagent.evaluate.predict import Predictor
    from geoagent.rollout.search import SearchProvider


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


def predict_missing(
    config: Config,
    models: Sequence[Candidate],
    chosen: Sequence[Predictions],
    progress: Path,
    enough: Callable[[], bool] = lambda: False,
) -> None:
    """Write what is missing of the shard, batch by batch, until that is `enough`."""
    with ExitStack() as stack:
        for evaluation in chosen:
            stack.enter_context(evaluation.writing())
        there = sum(evaluation.there() for evaluation in chosen)
        steps = Steps(progress, sum(evaluation.part for evaluation in chosen), there)
        for candidate in models:
            with _loader(config, candidate) as load:
                for evaluation in chosen:
                    steps.add(0, f"{evaluation.benchmark.name}: predicting, {candidate.name}")
                    for done in () if enough() else evaluation.predict(candidate, load):
                        steps.add(done)
                        if enough():
                            break
        steps.end()


class Steps:
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


class Predictions:
    """What models say of samples; `shard` is the part that is predicted here."""

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
        self.made_with = {model.name: depends_on(config, benchmark, model) for model in models}
        marks = {name: mark(value) for name, value in self.made_with.items()}
        ids = [record.id for record in self.records]
        self.said = Completions(self.output / "completions", shard, marks, ids)

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
        return sum(key in self.said.texts for key in self._keys() if key[2] in mine)

    def missing(self) -> int:
        """How many no shard has predicted by now."""
        self.said.read()
        return sum(key not in self.said.texts for key in self._keys())

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
            self.said.begin()
            yield

    def predict(self, candidate: Candidate, load: Callable[[], Predictor]) -> Iterator[int]:
        """Write the completions that are missing, batch by batch; yields how many were done."""
        known = self.said.texts
        for draw in self.benchmark.numbers:
            for batch in self._batches():
                keys = [(candidate.name, draw, record.id) for record in batch]
                new = sum(key not in known for key in keys)
                if new:
                    # The whole batch again, so that a resumed evaluation samples the same texts.
                    texts, traces = self._complete(load, draw, batch)
                    self.said.add(
                        dict(zip(keys, texts, strict=True)), dict(zip(keys, traces, strict=False))
                    )
                    yield new

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


def depends_on(config: Config, benchmark: Benchmark, candidate: Candidate) -> dict[str, Any]:
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
