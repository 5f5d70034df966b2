"""The stage judge_data: a model predicts the training pictures, and its predictions become the rows
on which it then learns to judge (GRE's RL-I)."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from geoagent.data.make_judge import Place, Pool, draw, predicted_records, write_judge
from geoagent.data.record import DATASET_FILE, RECORDS_FILE, image_root, read_records
from geoagent.data.swift import write_swift_jsonl
from geoagent.errors import UsageError
from geoagent.evaluate.models import choose
from geoagent.evaluate.predicting import Benchmark, Predictions, predict_missing
from geoagent.evaluate.rows import prediction
from geoagent.files import new_folder, read_if_there, read_jsonl, write_json, write_jsonl
from geoagent.geo.services import check, locator
from geoagent.stages import rows_of
from geoagent.train.prepare import dataset_folder

if TYPE_CHECKING:
    from geoagent.config import Config
    from geoagent.run import Run

STAGE: Final = "judge_data"


def make_judge_data(run: Run) -> dict[str, Any]:
    """Predict with the model that the stage judge starts from, and write its rows; returns counts
    for done.json.

    Each picture has judge.draws completions at grpo.temperature. With judge.limit, as many pictures
    are predicted as it says rows, and only until there are rows enough. Made again after a kill, it
    goes on after the last whole batch. UsageError if all predictions are true, or all false;
    OutageError if an online geocoder is away: predictions are kept.
    """
    config = run.config()
    if config.judge.path is not None:
        raise UsageError(f"judge.path: {config.judge.path} is the judge data; {STAGE} has no part")
    check(config.rewards.geocoder)
    candidate = choose(config, run, config.judge.start_from)
    pictures = _pictures(config, run)
    benchmark = Benchmark(
        STAGE, pictures, config.data.train_split, config.judge.draws, False, run.stage(STAGE)
    )
    settings = _settings(config)
    predictions = Predictions(settings, run, benchmark, [candidate])
    told = _Told(config, predictions)
    predict_missing(settings, [candidate], [predictions], run.progress_file(STAGE), told.enough)
    file = run.stage(STAGE) / "predictions.jsonl"
    write_jsonl(file, told.rows())
    write_json(file.with_name("made_with.json"), predictions.made_with)
    counts = _write_rows(config, run, pictures, file)
    return {"summary": _summary(candidate.name, counts), "model": candidate.name, **counts}


def _settings(config: Config) -> Config:
    """Those of an evaluation without tools, of completions as long as in training."""
    length = config.grpo.max_completion_length
    return replace(
        config,
        eval=replace(config.eval, max_new_tokens=length, limit=None),
        rollout=replace(config.rollout, eval=False),
    )


def _pictures(config: Config, run: Run) -> Path:
    """A dataset folder of the training pictures that may be predicted, in an order drawn with the
    seed: no more than there are to be rows, however few of the predictions are true."""
    source, split, most = dataset_folder(config), config.data.train_split, config.judge.limit
    there = (source / RECORDS_FILE).stat()
    made_with = {
        "dataset": [str(source), there.st_size, there.st_mtime_ns],
        "split": split,
        "limits": [config.data.limit, most],
        "seed": config.seed,
    }
    folder = run.stage(STAGE) / "pictures"
    if read_if_there(folder / DATASET_FILE).get("made_with") == made_with:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    records, _ = read_records(source, split, config.data.limit, check_images=False)
    chosen = random.Random(config.seed).sample(records, min(len(records), most or len(records)))
    with new_folder(folder) as part:
        rows = (replace(record, think=None, extra={}).to_row() for record in chosen)
        write_jsonl(part / RECORDS_FILE, rows)
        about = {"images": str(image_root(source)), "made_with": made_with}
        write_json(part / DATASET_FILE, about)
    return folder


class _Told:
    """The completions so far as rows of predictions, and whether judge.limit needs no more."""

    def __init__(self, config: Config, predictions: Predictions) -> None:
        self._said = predictions.said
        self._records = {record.id: record for record in predictions.records}
        self._locate = locator(config.rewards.geocoder)
        self._limit = config.judge.limit
        self._pool = Pool(self._records, config.judge.threshold_km)
        self._counted = 0

    def enough(self) -> bool:
        """Whether more predictions could not make more rows."""
        if self._limit is None:
            return False
        for row in self._from(self._counted):
            self._counted += 1
            self._pool.add(Place(0, self._counted), row)
        needed = max(1, self._limit // 2)
        return min(self._pool.counts[label] for label in (True, False)) >= needed

    def rows(self) -> Iterator[dict[str, Any]]:
        """A row a completion; OutageError if a geocoder is away."""
        return self._from(0)

    def _from(self, first: int) -> Iterator[dict[str, Any]]:
        for (model, number, name), text in islice(self._said.texts.items(), first, None):
            row = prediction(model, self._records[name], text, self._locate)
            yield {**row, "draw": number}


def _write_rows(config: Config, run: Run, pictures: Path, file: Path) -> dict[str, Any]:
    """The drawn predictions as a dataset folder, and as rows for training; returns counts."""
    judge = config.judge
    pool = Pool(predicted_records(pictures, [file]), judge.threshold_km)
    for line, row in enumerate(read_jsonl(file), 1):
        pool.add(Place(0, line), row)
    try:
        pool.check()
    except UsageError as error:
        raise UsageError(f"{error} ({_ways_on(bool(pool.entries))})") from error
    chosen = draw(pool.entries, config.seed, judge.limit)
    folder = run.stage(STAGE) / "dataset"
    shutil.rmtree(folder, ignore_errors=True)
    made_with = {"predictions": [str(file)], "seed": config.seed, "limit": judge.limit}
    counts = write_judge(folder, [file], pictures, pool, chosen, made_with)
    records, _ = read_records(folder, check_images=False)
    write_swift_jsonl(records, folder, "judge", rows_of(config, run, "judge"))
    return counts


def _ways_on(answered: bool) -> str:
    """What a run may have otherwise from here on; without any answer no threshold helps."""
    if answered:
        return "judge.threshold_km, judge.draws, judge.start_from, or judge.path of data elsewhere"
    return (
        "grpo.max_completion_length, if they are cut; judge.path of data elsewhere; "
        "grpo.start_from=sft, without judge; or another run whose sft learns longer"
    )


def _summary(model: str, counts: Mapping[str, Any]) -> str:
    """One line for whoever watches."""
    true, false = counts["predicted_true"], counts["predicted_false"]
    return (
        f"{counts['records']} rows to judge, half of them true, of {true} true and {false} false "
        f"predictions at {counts['threshold_km']:g} km by {model}"
    )
