"""`geoagent data make-judge`: a model's own predictions as rows that a model learns to judge on."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoagent.commands.common import (
    FARTHEST_KM,
    Rows,
    command,
    counted,
    number,
    warn,
    whole_number,
)
from geoagent.errors import UsageError
from geoagent.files import read_if_there, require_new
from geoagent.run import Run

if TYPE_CHECKING:
    from geoagent.data.make_judge import Pool


def _make_judge(options: argparse.Namespace) -> int:
    from geoagent.data.make_judge import draw, summarised, write_judge

    if not options.dry_run:
        require_new(options.target)
    files = _files(options.predictions)
    folder = options.dataset or _dataset(files[0])
    pool, refused = _pool(files, folder, options)
    pool.check()
    chosen = draw(pool.entries, options.seed, options.limit)
    if options.dry_run:
        summary = summarised(pool, chosen)
    else:
        summary = write_judge(
            options.target, files, folder, pool, chosen, _made_with(options, files, folder)
        )
    print(json.dumps({**summary, "refused": refused}, ensure_ascii=False, indent=2))
    _warn_of_splits(pool, {entry.picture for entry in chosen})
    return 2 if refused else 0


def _files(place: Path) -> list[Path]:
    """The predictions that are meant: a file, or a run's, of the stage judge_data or else of the
    evaluation."""
    if place.is_dir():
        run = Run.open(place)
        own = run.stage("judge_data") / "predictions.jsonl"
        if own.is_file():
            return [own]
        folder = run.evaluation(run.config().eval.benchmark)
        named = [folder / "predictions.jsonl", folder / "sampled.jsonl"]
        files = [file for file in named if file.is_file()]
        if not files:
            raise UsageError(f"{named[0]}: there are no predictions; evaluate the run first")
        return files
    if not place.is_file():
        raise UsageError(f"{place}: there is no such file or run")
    return [place]


def _dataset(file: Path) -> Path:
    """The dataset folder that predictions are of, as the evaluation has noted beside them."""
    notes = read_if_there(file.with_name("made_with.json"))
    for made_with in notes.values():
        samples = made_with.get("samples") if isinstance(made_with, dict) else None
        if isinstance(samples, list) and samples and isinstance(samples[0], str):
            return Path(samples[0])
    raise UsageError(f"{file}: of which images? name their dataset folder: --dataset FOLDER")


def _pool(files: list[Path], folder: Path, options: argparse.Namespace) -> tuple[Pool, int]:
    """What can be judged, and how many rows were refused, which are told on standard error."""
    from geoagent.data.make_judge import Place, Pool, predicted_records

    records = predicted_records(folder, files)
    pool = Pool(records, options.threshold_km, options.model)
    refused = 0
    for place, file in enumerate(files):
        rows = Rows(str(file), progress=True)
        for where, row in rows:
            try:
                pool.add(Place(place, rows.line), row)
            except ValueError as error:
                rows.refuse(where, str(error))
        refused += rows.refused
    return pool, refused


def _made_with(options: argparse.Namespace, files: list[Path], folder: Path) -> dict[str, Any]:
    return {
        "predictions": [str(file.resolve()) for file in files],
        "dataset": str(folder.resolve()),
        "model": options.model,
        "threshold_km": options.threshold_km,
        "seed": options.seed,
        "limit": options.limit,
    }


def _warn_of_splits(pool: Pool, pictures: set[str]) -> None:
    """Whoever trains on what another model is tested on has to know it."""
    from geoagent.data.record import DEFAULT_SPLIT

    splits = {pool.records[picture].split for picture in pictures}
    for split in sorted(splits - {DEFAULT_SPLIT}):
        count = sum(pool.records[picture].split == split for picture in pictures)
        warn(
            f"{counted(count, 'picture')} of split '{split}': a model that is trained on these "
            "rows has seen them and should not be evaluated on them"
        )


def add(kinds: Any) -> None:
    parser = command(
        kinds,
        "make-judge",
        _make_judge,
        "make judge data (GRE's RL-I) of predictions, which are true nearer than a threshold",
        """%(prog)s runs/first data/judge --model sft --dry-run
        %(prog)s runs/first data/judge --model sft --threshold-km 25
        %(prog)s predictions.jsonl data/judge --dataset data/gre30k-seed --limit 10000""",
    )
    parser.add_argument(
        "predictions",
        type=Path,
        metavar="FILE|RUN",
        help="predictions.jsonl, or a run that has one",
    )
    parser.add_argument("target", type=Path, metavar="DST", help="the folder to make")
    parser.add_argument(
        "--threshold-km",
        type=number(0, FARTHEST_KM, open_below=True),
        default=200.0,
        metavar="KM",
        help="a prediction is true if it is nearer (200)",
    )
    parser.add_argument("--model", metavar="NAME", help="only this model's predictions")
    parser.add_argument(
        "--dataset", type=Path, metavar="FOLDER", help="of the images; known for an evaluation's"
    )
    parser.add_argument(
        "--limit", type=whole_number, metavar="N", help="rows at most, half of them true"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="K", help="of the draw (0)")
    parser.add_argument("--dry-run", action="store_true", help="print the counts, write nothing")
