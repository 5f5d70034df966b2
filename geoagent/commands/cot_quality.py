"""`geoagent cot-quality`"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoagent.commands.common import (
    Rows,
    add_agent,
    add_rows,
    add_settings,
    command,
    counted,
    judge_client,
    open_truth,
    warn,
)
from geoagent.config import resolve
from geoagent.errors import UsageError

if TYPE_CHECKING:
    from geoagent.evaluate.truth import Truth


def _cot_quality(options: argparse.Namespace) -> int:
    from geoagent.files import claimed

    truth = open_truth(options.truth, options.split)
    rows = _rows(options.file, truth)
    out = _out(options)
    with claimed(out / ".lock") as ours:
        if not ours:
            raise UsageError(f"{out}: another geoagent cot-quality writes there; choose --out")
        result = _assess(options, truth, rows, out)
    print(json.dumps(result, ensure_ascii=True, indent=2))
    return 0


def _assess(
    options: argparse.Namespace, truth: Truth, rows: list[dict[str, Any]], out: Path
) -> dict[str, Any]:
    from geoagent.data.record import image_root
    from geoagent.evaluate.cot.assess import Parts, assess, figures
    from geoagent.evaluate.cot.models import BertScore, RefClipScore, fingerprint
    from geoagent.evaluate.cot.quality import Quality

    images = image_root(options.truth)
    config = resolve([*(str(file) for file in options.config), *options.overrides])
    bert, clip = BertScore(options.bert), RefClipScore(options.clip)
    agent = judge_client(options.agent, config.agent, answers=out)
    parts = Parts(
        out,
        {
            "predictions": str(Path(options.file).resolve()),
            "judge": [agent.settings.backend, agent.settings.model],
            "bert": [fingerprint(options.bert), bert.layer],
            "clip": fingerprint(options.clip),
        },
    )
    scored = assess(rows, truth.records, images, Quality(agent, bert, clip), parts)
    if agent.stats.invalid:
        told = counted(agent.stats.distinct, "question")
        warn(f"the judge gave no usable reply to {agent.stats.invalid} of {told}")
    try:
        result = figures(rows, scored, options.by)
    except ValueError as error:
        raise UsageError(f"--by: {error}") from error
    by_model = ["model"] if all("model" in row for row in rows) else []
    parts.write_figures(figures(rows, scored, by_model))
    return result


def _rows(name: str, truth: Truth) -> list[dict[str, Any]]:
    """The predictions joined with the truth, each once; a split without a chain is refused."""
    from geoagent.evaluate.cot.assess import annotated_chain
    from geoagent.evaluate.predictions import Ids
    from geoagent.rollout.trace import completions

    if not any(map(annotated_chain, truth.records.values())):
        raise UsageError(f"{truth.file}: no record has an annotated chain (think, or gt_cot)")
    rows, ids = Rows(name, strict=True, progress=True), Ids()

    def usable() -> Iterator[dict[str, Any]]:
        for where, row in rows:
            try:
                completions(row)
                ids.add([row])
            except ValueError as error:
                raise UsageError(f"{where}: {error.args[0]}") from error
            yield row

    found = [dict(row) for row in truth.join(usable())]
    if not found:
        raise UsageError(f"{rows.name}: no rows")
    if truth.missing:
        warn(f"{counted(truth.missing, 'sample')} without a prediction: scored 0")
    return found


def _out(options: argparse.Namespace) -> Path:
    if options.out is not None:
        return Path(options.out)
    if options.file == "-":
        raise UsageError("--out: name the folder for the rows; standard input has none beside it")
    file = Path(options.file)
    return file.with_name(f"{file.stem}.cot")


def add(commands: Any) -> None:
    parser = command(
        commands,
        "cot-quality",
        _cot_quality,
        "quality of predictions' chains of thought beside annotated ones (GREval-Bench), with "
        "bootstrap intervals, as JSON",
        """%(prog)s predictions.jsonl --truth data/greval --agent runs/first --bert DIR --clip DIR
        %(prog)s predictions.jsonl --truth data/geoseek --split val --by model \\
            --agent http://HOST:8000/v1 agent.model=Qwen3-32B --bert DIR --clip DIR""",
    )
    add_rows(parser, "file", "id, completion")
    add_settings(parser)
    parser.add_argument(
        "--truth", type=Path, required=True, metavar="FOLDER", help="dataset with annotated chains"
    )
    parser.add_argument("--split", metavar="NAME", help="of --truth: what was predicted")
    add_agent(parser, "--agent", "the judge: a run's agent, or a server", required=True)
    parser.add_argument(
        "--bert", type=Path, required=True, metavar="DIR", help="text encoder, for BERTScore"
    )
    parser.add_argument(
        "--clip", type=Path, required=True, metavar="DIR", help="CLIP model, for RefCLIPScore"
    )
    parser.add_argument(
        "--by", action="append", default=[], metavar="COLUMN", help="also for each of its values"
    )
    parser.add_argument(
        "--out",
        metavar="FOLDER",
        help="keeps the judge's replies and each row's parts, from which a stopped run goes on "
        "(FILE without its ending, and .cot)",
    )
