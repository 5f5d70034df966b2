"""`geoagent metrics`"""

from __future__ import annotations

import argparse
import json
from typing import Any

from geoagent.commands.common import Rows, add_rows, command
from geoagent.errors import UsageError


def _metrics(options: argparse.Namespace) -> int:
    from geoagent.evaluate.metrics import metrics

    rows = Rows(options.file, strict=True)
    places, kept = [], []
    for where, row in rows:
        places.append(where)
        kept.append(row)
    if not kept:
        raise UsageError(f"{rows.name}: no rows")
    try:
        result = metrics(kept, options.by)
    except ValueError as error:
        message, number = error.args
        raise UsageError(f"{places[number - 1]}: {message}") from error
    print(json.dumps(result, ensure_ascii=True, indent=2))
    return 0


def add(commands: Any) -> None:
    parser = command(
        commands,
        "metrics",
        _metrics,
        "accuracy at 1, 25, 200, 750 and 2500 km, GeoScore and median of predictions, as JSON",
        """%(prog)s predictions.jsonl
        %(prog)s predictions.jsonl --by model --by country""",
    )
    columns = "latitude, longitude, predicted_latitude, predicted_longitude (null: a miss)"
    add_rows(parser, "file", columns)
    parser.add_argument(
        "--by", action="append", default=[], metavar="COLUMN", help="also for each of its values"
    )
