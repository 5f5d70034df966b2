"""`geoagent metrics`"""

from __future__ import annotations

import argparse
import json
import sys
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoagent.commands.common import Rows, add_rows, command, counted
from geoagent.config import RULE_NAMES
from geoagent.errors import UsageError

if TYPE_CHECKING:
    from geoagent.evaluate.truth import Truth


def _metrics(options: argparse.Namespace) -> int:
    from geoagent.evaluate.metrics import metrics
    from geoagent.evaluate.rules import RULES

    truth = _truth(options)
    rows = Rows(options.file, strict=True, progress=True, decode=_decode)
    lines, models = array("q"), set()

    def usable() -> Iterator[Mapping[str, Any]]:
        plain = (row for _, row in rows)
        for row in truth.join(plain) if truth else plain:
            lines.append(rows.line)
            models.add(str(row.get("model")))
            yield row

    try:
        result = metrics(usable(), options.by, RULES[options.rules])
    except ValueError as error:
        message, number = error.args
        raise UsageError(f"{rows.name}:{lines[number - 1]}: {message}") from error
    if not lines:
        raise UsageError(f"{rows.name}: no rows")
    if truth and truth.missing:
        _warn(f"{counted(truth.missing, 'sample')} without a prediction: counted as failures")
    if len(models) > 1 and "model" not in options.by:
        _warn(f"figures of {len(models)} models together; --by model tells them apart")
    print(json.dumps(result, ensure_ascii=True, indent=2))
    return 0


def _truth(options: argparse.Namespace) -> Truth | None:
    from geoagent.evaluate.truth import Truth

    if options.truth is None:
        if options.split is not None:
            raise UsageError("--split: belongs to --truth")
        return None
    truth = Truth(options.truth, options.split)
    if truth.rejected:
        told = counted(len(truth.rejected), "record")
        _warn(f"{truth.file}: {told} cannot be used; `geoagent data check` tells why")
    return truth


def _warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)


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
        %(prog)s predictions.jsonl --by data_type --rules geovista""",
    )
    columns = "latitude, longitude, predicted_latitude, predicted_longitude (null: a miss)"
    add_rows(parser, "file", columns)
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
