"""Going through what is to be predicted: model after model, batch after batch, with progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from geoagent.progress import Progress

if TYPE_CHECKING:
    from geoagent.config import Config
    from geoagent.evaluate.benchmark import Evaluation
    from geoagent.evaluate.models import Candidate
    from geoagent.evaluate.predict import Predictor


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
