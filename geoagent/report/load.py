"""What a run has left behind that a report shows; what is missing is said in `notes`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoagent.data.record import parse_line, read_lines
from geoagent.errors import UsageError
from geoagent.evaluate import predictions as checked
from geoagent.evaluate.cot.assess import FIGURES_FILE, SETTINGS_FILE
from geoagent.evaluate.rules import GEOAGENT
from geoagent.files import read_if_there, read_json
from geoagent.report.curves import Curves, read_curves
from geoagent.rollout.trace import turns
from geoagent.run import Run
from geoagent.stages import STAGES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from geoagent.config import Config

_PLACES = ("latitude", "longitude", "predicted_latitude", "predicted_longitude")
_TEXTS = ("country", "country_code", "answer")


@dataclass(frozen=True)
class Predictions:
    """A model's rows on one benchmark without their completions: N rows in the file's order."""

    ids: list[str]
    places: NDArray[np.float64]
    """N × 4: latitude and longitude of the truth, then of the prediction, in degrees; NaN where
    nothing was predicted."""
    distance_km: NDArray[np.float64]
    """N great-circle distances; NaN where nothing was predicted."""
    country: list[str]
    country_code: list[str]
    answer: list[str]


@dataclass(frozen=True)
class Evaluation:
    """A run's models on one benchmark."""

    benchmark: str
    folder: Path
    metrics: Mapping[str, Any]
    """metrics.json"""
    predictions: Mapping[str, Predictions]
    """By model; empty where predictions.jsonl is missing."""
    notes: tuple[str, ...] = ()
    chains: Mapping[str, Any] = field(default_factory=dict)
    """By model, what `geoagent cot-quality` has found of these predictions; empty if nothing."""
    judge: str = ""
    """The language model that has judged them."""

    @property
    def last(self) -> str:
        """The model that the others led to."""
        models = list(self.metrics["models"])
        last = self.metrics.get("last")
        return str(last) if last in models else models[-1]

    @property
    def samples(self) -> Path | None:
        """The dataset folder that was predicted on, if it is still there."""
        for made in read_if_there(self.folder / "made_with.json").values():
            folder = made.get("samples", [None])[0] if isinstance(made, dict) else None
            if isinstance(folder, str) and Path(folder).is_dir():
                return Path(folder)
        return None


@dataclass(frozen=True)
class Loaded:
    """All of a run that is shown."""

    run: Run
    config: Config
    manifest: Mapping[str, Any]
    evaluations: list[Evaluation]
    curves: list[Curves]
    seconds: Mapping[str, float] = field(default_factory=dict)
    """How long each stage took, of those that are done."""

    @property
    def name(self) -> str:
        return self.run.path.name

    def evaluation(self, benchmark: str) -> Evaluation | None:
        return next((e for e in self.evaluations if e.benchmark == benchmark), None)


def load(run: Run) -> Loaded:
    """Read a run; UsageError names file and line of what is there but cannot be used."""
    config = run.config()
    return Loaded(
        run=run,
        config=config,
        manifest=read_if_there(run.manifest_file),
        evaluations=list(_evaluations(run, config.eval.benchmark)),
        curves=read_curves(run),
        seconds=dict(_seconds(run)),
    )


def _seconds(run: Run) -> Iterator[tuple[str, float]]:
    for stage in STAGES:
        seconds = read_if_there(run.done_file(stage)).get("seconds")
        if isinstance(seconds, int | float):
            yield stage, float(seconds)


def _evaluations(run: Run, first: str) -> Iterator[Evaluation]:
    """Those that were finished, the configured one first."""
    files = sorted((run.path / "eval").glob("*/metrics.json"))
    for file in sorted(files, key=lambda file: file.parent.name != first):
        yield read_evaluation(file.parent)


def read_evaluation(folder: Path) -> Evaluation:
    """The evaluation in RUN/eval/BENCHMARK."""
    metrics = read_json(folder / "metrics.json")
    models = metrics.get("models") if isinstance(metrics, dict) else None
    usable = isinstance(models, dict) and all(isinstance(one, dict) for one in models.values())
    if not models or not usable:
        raise UsageError(
            f"{folder / 'metrics.json'}: is not what an evaluation writes (no 'models'); "
            "evaluate the run again"
        )
    file = folder / "predictions.jsonl"
    if not file.is_file():
        note = "predictions.jsonl is missing, so there is no map, curve, comparison or example."
        return Evaluation(folder.name, folder, metrics, {}, (note,))
    predictions = read_predictions(file)
    notes = [
        f"predictions.jsonl has {len(predictions[name].ids) if name in predictions else 0} rows of "
        f"{name}, but metrics.json counts {figures['count']}."
        for name, figures in models.items()
        if figures.get("count") != len(getattr(predictions.get(name), "ids", ()))
    ]
    chains, judge, stale = _chains(folder)
    return Evaluation(folder.name, folder, metrics, predictions, (*notes, *stale), chains, judge)


def _chains(folder: Path) -> tuple[dict[str, Any], str, list[str]]:
    """Figures of the chains by model, who has judged, and a note if predictions are newer."""
    home = folder / "predictions.cot"
    file = home / FIGURES_FILE
    if not file.is_file():
        return {}, "", []
    if file.stat().st_mtime < (folder / "predictions.jsonl").stat().st_mtime:
        stale = "The predictions are newer than the judgement of their chains; make it again with "
        return {}, "", [f"{stale}geoagent cot-quality."]
    by = read_if_there(file).get("by")
    models = by.get("model") if isinstance(by, dict) else None
    judge = read_if_there(home / SETTINGS_FILE).get("judge", [])
    found = models if isinstance(models, dict) else {}
    return found, str(judge[-1]) if judge else "", []


def read_predictions(file: Path) -> dict[str, Predictions]:
    """Rows of predictions.jsonl by model; UsageError names the line of one that cannot be used."""
    kept: dict[str, list[dict[str, Any]]] = {}
    numbers: dict[str, list[int]] = {}
    for number, line in read_lines(file):
        try:
            row = _row(parse_line(line))
        except ValueError as error:
            raise _broken(file, number, str(error)) from error
        kept.setdefault(row["model"], []).append(row)
        numbers.setdefault(row["model"], []).append(number)
    return {name: _columns(file, rows, numbers[name]) for name, rows in kept.items()}


def _row(row: dict[str, Any]) -> dict[str, Any]:
    """What of a row stays in memory; ValueError if model or id is missing, or its trace is none."""
    for name in ("model", "id"):
        if not isinstance(row.get(name), str):
            raise ValueError(f"{name}: missing, or not a text")
    turns(row)
    texts = {name: row.get(name) for name in _TEXTS}
    short = {name: text[:200] if isinstance(text, str) else "" for name, text in texts.items()}
    places = {name: row[name] for name in _PLACES if name in row}
    return {"model": row["model"], "id": row["id"], **places, **short}


def _columns(file: Path, rows: list[dict[str, Any]], numbers: list[int]) -> Predictions:
    try:
        return columns(rows)
    except ValueError as error:
        message, number = error.args
        raise _broken(file, numbers[number - 1], message) from error


def columns(rows: Sequence[Mapping[str, Any]]) -> Predictions:
    """One model's rows of predictions.jsonl as columns.

    ValueError(message, number of the row from 1) of the first that cannot be used.
    """
    import numpy as np

    bare = [{name: row[name] for name in ("id", *_PLACES) if name in row} for row in rows]
    found, _ = checked.read(bare, (), GEOAGENT)
    return Predictions(
        ids=[row["id"] for row in rows],
        places=np.array([[row[name] for name in _PLACES] for row in rows], dtype=float),
        distance_km=np.where(np.isfinite(found.distance_km), found.distance_km, np.nan),
        country=[row["country"] or "" for row in rows],
        country_code=[row["country_code"] or "" for row in rows],
        answer=[row["answer"] or "" for row in rows],
    )


def _broken(file: Path, number: int, reason: str) -> UsageError:
    return UsageError(f"{file}:{number}: {reason}; evaluate the run again to have it written anew")
