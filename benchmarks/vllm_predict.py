"""Completions by vLLM against completions by transformers: `make test-vllm`, outside CI.

Loads the last model of each run with both engines, as the evaluation does, and lets both complete
the run's held-out images. Other prompts, pictures or weights would change nearly all completions;
rounding changes a few at most.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from geoagent.config import Config
from geoagent.data.prompt import QUESTION
from geoagent.data.record import read_records
from geoagent.errors import exit_code
from geoagent.evaluate.benchmark import benchmarks
from geoagent.evaluate.models import choose
from geoagent.evaluate.predict import VISION_TOKENS, Predictor, predictor
from geoagent.modelfolder import stay_offline
from geoagent.run import Run

SAME: Final = 0.9
"""Share of completions that must be equal."""
DIFFERENT: Final = 10
"""Completions that must differ from each other; a model that says one thing shows nothing."""


@dataclass
class Said:
    """What a model said under one engine: greedy completions, and how many images a second."""

    texts: list[str]
    rate: float
    faults: list[str]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="with a trained model")
    options = parser.parse_args()
    stay_offline()
    return exit_code(lambda: compare([Run.open(run) for run in options.runs]))


def compare(runs: Sequence[Run]) -> int:
    """Print the figures; 1 if vLLM does not do what transformers does."""
    # All of one engine first: vLLM binds its process to memory and threads of its own.
    plain = [ask(run, "transformers") for run in runs]
    fast = [ask(run, "vllm") for run in runs]
    good = True
    for run, one, other in zip(runs, plain, fast, strict=True):
        same = sum(a == b for a, b in zip(one.texts, other.texts, strict=True))
        count, distinct = len(one.texts), len(set(one.texts))
        print(
            f"{run.path.name}: {same} of {count} greedy completions equal ({distinct} different "
            f"ones); images a second: transformers {one.rate:.1f}, vLLM {other.rate:.1f}, ratio "
            f"{other.rate / one.rate:.1f}"
        )
        for fault in one.faults + other.faults:
            print(f"{run.path.name}: {fault}")
        good &= same >= SAME * count and distinct >= DIFFERENT and not one.faults + other.faults
    return 0 if good else 1


def ask(run: Run, engine: str) -> Said:
    config = run.config()
    config.eval.engine = engine
    held_out = benchmarks(config)[0]
    records, _ = read_records(held_out.folder, held_out.split)
    images = [held_out.folder / record.image for record in records]
    model = predictor(choose(config, run), config)
    try:
        model.complete(images[:2], QUESTION, 8)  # what is made ready at the first call
        started = time.monotonic()
        texts = greedy(model, images, config)
        rate = len(images) / (time.monotonic() - started)
        return Said(texts, rate, [f"{engine}: {text}" for text in faults(model, images[:8])])
    finally:
        model.close()


def greedy(model: Predictor, images: list[Path], config: Config) -> list[str]:
    size = config.eval.batch_size
    batches = [images[start : start + size] for start in range(0, len(images), size)]
    length = config.eval.max_new_tokens
    return [text for batch in batches for text in model.complete(batch, QUESTION, length)]


def faults(model: Predictor, images: list[Path]) -> Iterator[str]:
    """What a predictor must do whatever its engine."""
    first, again, other = (
        model.complete(images, QUESTION, 64, temperature=1.0, seed=seed) for seed in (1, 1, 2)
    )
    if first != again:
        yield "equal seeds sample different completions"
    if first == other:
        yield "different seeds sample equal completions"
    with wanting_vision_tokens(model):
        texts = model.complete(images[:2], QUESTION, 8, temperature=1.0)
    if any(name in text for name in VISION_TOKENS for text in texts):
        yield "a vision token is written"


@contextmanager
def wanting_vision_tokens(model: Predictor) -> Iterator[None]:
    """The model wants to write nothing else."""
    vocabulary = model.engine.template.processor.tokenizer.get_vocab()
    wanted = [vocabulary[name] for name in VISION_TOKENS]
    inner: Any = getattr(model.engine, "inner_model", None)
    owner, name = (inner, "compute_logits") if inner else (model.engine.model.lm_head, "forward")
    compute = getattr(owner, name)

    def prefer(*arguments: Any, **named: Any) -> Any:
        logits = compute(*arguments, **named)
        logits[..., wanted] += 1e4
        return logits

    setattr(owner, name, prefer)
    try:
        yield
    finally:
        setattr(owner, name, compute)


if __name__ == "__main__":
    raise SystemExit(main())
