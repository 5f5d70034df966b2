"""`geoagent metrics`"""

from __future__ import annotations

import argparse
import json
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import replace
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
from geoagent.config import RULE_NAMES, resolve
from geoagent.errors import UsageError

if TYPE_CHECKING:
    from geoagent.evaluate.truth import Truth
    from geoagent.evaluate.verifier import Verifier


def _metrics(options: argparse.Namespace) -> int:
    from geoagent.evaluate.metrics import metrics
    from geoagent.evaluate.rules import RULES

    truth, verifier = _truth(options), _verifier(options)
    rules = RULES[options.rules]
    if verifier is not None:
        rules = replace(rules, verify=verifier.judge)
    rows = Rows(options.file, strict=True, progress=True, decode=_decode)
    lines, models = array("q"), set()

    def usable() -> Iterator[Mapping[str, Any]]:
        plain = (row for _, row in rows)
        for row in truth.join(plain) if truth else plain:
            lines.append(rows.line)
            models.add(str(row.get("model")))
            yield row

    try:
        result = metrics(usable(), options.by, rules)
    except ValueError as error:
        message, number = error.args
        raise UsageError(f"{rows.name}:{lines[number - 1]}: {message}") from error
    if not lines:
        raise UsageError(f"{rows.name}: no rows")
    if truth and truth.missing:
        warn(f"{counted(truth.missing, 'sample')} without a prediction: counted as failures")
    if len(models) > 1 and "model" not in options.by:
        warn(f"figures of {len(models)} models together; --by model tells them apart")
    if verifier is not None:
        result["verifier"] = {"judged": verifier.judged, "unjudged": verifier.unjudged}
        if verifier.unjudged:
            told = counted(verifier.unjudged, "row")
            warn(f"the verifier gave no usable reply for {told}: not in the accuracies of names")
    print(json.dumps(result, ensure_ascii=True, indent=2))
    return 0


def _truth(options: argparse.Namespace) -> Truth | None:
    if options.truth is None:
        if options.split is not None:
            raise UsageError("--split: belongs to --truth")
        return None
    return open_truth(options.truth, options.split)


def _verifier(options: argparse.Namespace) -> Verifier | None:
    from geoagent.evaluate.verifier import Verifier

    if options.verifier is None:
        if options.overrides or options.config:
            raise UsageError("settings: belong to --verifier")
        return None
    config = resolve([*(str(file) for file in options.config), *options.overrides])
    return Verifier(judge_client(options.verifier, config.agent))


def _decode(line: bytes) -> Any:
    """As json.loads, six times as fast; what is no strict JSON (NaN) is left to that."""
    import msgspec

    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, RecursionError):
        return json.loads(line)


def add(commands: Any) -> None:
    parser = command(
        commands,
        "metrics",
        _metrics,
        "accuracy at 1, 25, 200, 750 and 2500 km and of names, GeoScore and median of predictions, "
        "with bootstrap intervals, as JSON",
        """%(prog)s predictions.jsonl
        %(prog)s predictions.jsonl --by model --by country --by continent
        %(prog)s predictions.jsonl --truth data/geoseek --split val --by locatability --by scene
        %(prog)s predictions.jsonl --by data_type --rules geovista
        %(prog)s predictions.jsonl --verifier http://HOST:8000/v1 agent.model=Qwen3-32B""",
    )
    columns = "latitude, longitude, predicted_latitude, predicted_longitude (null: a miss)"
    add_rows(parser, "file", columns)
    add_settings(parser)
    parser.add_argument(
        "--by",
        action="append",
        default=[],
        metavar="COLUMN",
        help="also for each of its values; locatability makes bands, scene has a group for each "
        "element, continent is computed",
    )
    parser.add_argument(
        "--truth",
        type=Path,
        metavar="FOLDER",
        help="dataset that has the truth of the rows' ids; samples without a row are failures",
    )
    parser.add_argument("--split", metavar="NAME", help="of --truth: what was predicted")
    parser.add_argument(
        "--rules",
        choices=RULE_NAMES,
        default=RULE_NAMES[0],
        help="which answers are right: our rules (geoagent), or GeoVista's for GeoBench",
    )
    add_agent(
        parser,
        "--verifier",
        "who judges the names instead of the rules: a run's agent, or a server",
    )
