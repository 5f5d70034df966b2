"""All models of a run on one held-out split: predictions, metrics, table, TensorBoard."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoagent.answer import parse
from geoagent.data.record import Record, read_records
from geoagent.data.swift import truth
from geoagent.errors import UsageError
from geoagent.evaluate.metrics import metrics, row_distance, uniform_guess
from geoagent.evaluate.models import Candidate, candidates
from geoagent.evaluate.table import write_table
from geoagent.files import append_jsonl, write_atomic, write_json
from geoagent.geo.geocoder import geocode
from geoagent.progress import Progress
from geoagent.rewards.registry import build, weighted
from geoagent.run import Run
from geoagent.train.prepare import dataset_folder

if TYPE_CHECKING:
    from geoagent.agent.client import AgentClient
    from geoagent.config import Config
    from geoagent.evaluate.predict import Predictor

STAGE = "eval"
SAMPLED = "-sampled-"
"""Between a model's name and the number of the draw, for completions that were sampled."""


class Benchmark:
    """One evaluation of a run; made again, it goes on where the last one stopped."""

    def __init__(self, config: Config, run: Run, agent: AgentClient | None) -> None:
        self.config = config
        self.run = run
        self.agent = agent
        self.folder = dataset_folder(config)
        data = config.data
        self.records, self.rejected = read_records(
            self.folder, data.eval_split, config.eval.limit or data.limit, data.strict
        )
        if not self.records:
            raise UsageError(f"{self.folder}: no usable record in split '{data.eval_split}'")
        self.output = run.evaluation(config.eval.benchmark)
        self.predictions = self.output / "predictions.jsonl"
        self.models = candidates(config, run)
        draws = 1 + config.eval.reward_samples
        self.progress = Progress(
            run.progress_file(STAGE),
            total=len(self.models) * len(self.records) * draws,
            unit="image",
        )

    def evaluate(self) -> dict[str, Any]:
        """Predict what is missing, then score and report everything."""
        rows = self._predict()
        result: dict[str, Any] = {"models": {}, "last": self.models[-1].name}
        scored: list[dict[str, Any]] = []
        for candidate in self.models:
            greedy = [row for row in rows if row["model"] == candidate.name]
            sampled = [row for row in rows if row["model"].startswith(candidate.name + SAMPLED)]
            self.progress.update(self.progress.total or 0, f"scoring {candidate.name}")
            figures = self._figures(greedy)
            if sampled:
                figures["sampled_mean_reward"] = self._figures(sampled).get("mean_reward")
            result["models"][candidate.name] = figures
            scored += greedy + sampled
        result["uniform"] = self._uniform()
        result["rejected"] = len(self.rejected)
        if self.agent is not None:
            result["agent"] = asdict(self.agent.stats)
        write_atomic(self.predictions, "".join(f"{_line(row)}\n" for row in scored))
        write_json(self.output / "metrics.json", result)
        write_table(self.output / "table.txt", result)
        self._tensorboard(result)
        return result

    def _predict(self) -> list[dict[str, Any]]:
        """Rows of all models; those that are there already are not predicted again."""
        rows = list(_whole_rows(self.predictions))
        done = {(row["model"], row["id"]) for row in rows}
        for candidate in self.models:
            jobs = [(candidate.name, 0.0, 0)]
            temperature = self.config.grpo.temperature
            for draw in range(self.config.eval.reward_samples):
                jobs.append((f"{candidate.name}{SAMPLED}{draw}", temperature, draw + 1))
            predictor: Predictor | None = None
            for name, heat, seed in jobs:
                missing = [record for record in self.records if (name, record.id) not in done]
                if missing and predictor is None:
                    predictor = self._load(candidate)
                for batch in _batches(missing, self.config.eval.batch_size):
                    assert predictor is not None
                    self.progress.update(len(rows), f"predicting with {candidate.name}")
                    new = self._predict_batch(predictor, name, batch, heat, seed)
                    append_jsonl(self.predictions, new)
                    rows += new
        return rows

    def _load(self, candidate: Candidate) -> Predictor:
        from geoagent.evaluate.predict import Predictor

        return Predictor(self.config.model, candidate.model, candidate.adapters)

    def _predict_batch(
        self, predictor: Predictor, name: str, batch: Sequence[Record], heat: float, seed: int
    ) -> list[dict[str, Any]]:
        images = [self.folder / record.image for record in batch]
        settings = self.config.eval
        heat = heat or settings.temperature
        texts = predictor.complete(images, settings.max_new_tokens, heat, seed)
        return [prediction(name, record, text) for record, text in zip(batch, texts, strict=True)]

    def _figures(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Metrics and rewards of one model's rows; the rewards are added to the rows."""
        figures = metrics([row["distance_km"] for row in rows])
        figures["parse_rate"] = sum(row["parsed"] for row in rows) / len(rows)
        figures["geocoded_rate"] = figures.pop("located_rate")
        if self.config.eval.rewards:
            self._add_rewards(rows)
            names = weighted(self.config.rewards)
            means = {name: sum(row["rewards"][name] for row in rows) / len(rows) for name in names}
            weights = self.config.rewards.weights
            figures["rewards"] = means
            figures["mean_reward"] = sum(weights[name] * mean for name, mean in means.items())
        return figures

    def _add_rewards(self, rows: list[dict[str, Any]]) -> None:
        columns: dict[str, list[Any]] = {
            name: [row[name] for row in rows] for name in truth(self.records[0])
        }
        texts = [row["completion"] for row in rows]
        for row in rows:
            row["rewards"] = {}
        for name, reward in self._rewards().items():
            for row, score in zip(rows, reward.score(texts, **columns), strict=True):
                row["rewards"][name] = score.value

    def _rewards(self) -> dict[str, Any]:
        if not hasattr(self, "_built"):
            self._built = build(self.config.rewards, agent=self.agent)
        return self._built

    def _uniform(self) -> dict[str, Any]:
        """What guessing among the places of the training split would reach."""
        training, _ = read_records(self.folder, self.config.data.train_split, check_images=False)
        places = sorted({(record.latitude, record.longitude) for record in training})
        truths = [(record.latitude, record.longitude) for record in self.records]
        return uniform_guess(places, truths) if places else {}

    def _tensorboard(self, result: dict[str, Any]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        for step, (name, figures) in enumerate(result["models"].items()):
            writer = SummaryWriter(str(self.output / "tensorboard" / name))
            for key, value in {**figures, **figures.get("rewards", {})}.items():
                if isinstance(value, int | float):
                    writer.add_scalar(f"eval/{key}", value, step)
            writer.close()


def prediction(model: str, record: Record, text: str) -> dict[str, Any]:
    """A row of predictions.jsonl: the raw completion, what was read from it, and the truth."""
    completion = parse(text)
    row: dict[str, Any] = {"model": model, "id": record.id, "completion": text}
    row |= {"answer": completion.answer, **locate_answer(text), **truth(record)}
    row["parsed"] = completion.well_formed and 2 <= len(completion.parts) <= 3
    row["distance_km"] = row_distance(row)
    return row


def locate_answer(text: str) -> dict[str, Any]:
    """Where a completion's answer is: coordinates that it gives itself, or its address geocoded."""
    completion = parse(text)
    if completion.coordinates is not None:
        latitude, longitude = completion.coordinates
        level, matched = "coordinates", None
    elif (place := geocode("; ".join(completion.parts))) is not None:
        latitude, longitude = place.latitude, place.longitude
        level, matched = place.level, place.matched
    else:
        return dict.fromkeys(("predicted_latitude", "predicted_longitude", "level", "matched"))
    return {
        "predicted_latitude": latitude,
        "predicted_longitude": longitude,
        "level": level,
        "matched": matched,
    }


def _batches(records: Sequence[Record], size: int) -> Iterator[Sequence[Record]]:
    return (records[start : start + size] for start in range(0, len(records), size))


def _whole_rows(path: Path) -> Iterator[dict[str, Any]]:
    """Rows of an earlier try; a last line that was cut by a kill is passed over."""
    if not path.is_file():
        return
    whole = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            whole.append(json.loads(line))
        except ValueError:
            continue
    write_atomic(path, "".join(f"{_line(row)}\n" for row in whole))
    yield from whole


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False)
