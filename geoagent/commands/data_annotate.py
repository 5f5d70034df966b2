"""`geoagent data annotate`: locatability and scene elements, asked of a vision model."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from geoagent.commands.common import command
from geoagent.commands.vision import (
    add_vision,
    tell,
    tell_reasons,
    tell_rejected,
    vision_endpoint,
    vision_limits,
    with_bar,
)
from geoagent.errors import OutageError, UsageError

if TYPE_CHECKING:
    from geoagent.annotate.folder import Outcome

_ALIKE: Final = 10
"""So many annotations that are all the same are no chance."""
_BAR: Final = 40
"""Characters of the histogram's longest bar."""


def _annotate(options: argparse.Namespace) -> int:
    from geoagent.annotate.client import AnnotationClient
    from geoagent.annotate.folder import FolderAnnotation

    client = AnnotationClient(vision_endpoint(options), vision_limits(options), on_wait=tell)
    work = FolderAnnotation(options.folder, client, options.split, options.limit, redo=options.redo)
    tell_rejected(options.folder, work.rejected)
    try:
        with_bar("annotating", len(work.records), len(work.pending), work.run)
    except (UsageError, OutageError, KeyboardInterrupt):
        tell(f"{len(work.outcome.annotations)} of {len(work.records)} images are annotated")
        raise
    finally:
        client.close()
        _tell_problems(work.outcome)
    summary = work.outcome.summary()
    print(json.dumps({**summary, "rejected": len(work.rejected)}, indent=2), flush=True)
    tell(_histogram(summary["locatability"]))
    bad = work.rejected or work.outcome.failed or work.outcome.unreadable
    return 2 if bad else 0


def _tell_problems(outcome: Outcome) -> None:
    """Images without an annotation, and what is odd about all annotations together."""
    tell_reasons(outcome.unreadable | outcome.failed)
    given = list(outcome.annotations.values())
    if len(given) >= _ALIKE and all(annotation == given[0] for annotation in given):
        tell(f"warning: all {len(given)} annotations are the same; does the model see the images?")


def _histogram(scores: Mapping[str, int]) -> str:
    """How many images have which locatability."""
    most = max(scores.values()) or 1
    lines = [
        f"{score:>12}  {'█' * round(_BAR * number / most):<{_BAR}}  {number}"
        for score, number in scores.items()
    ]
    return "\n".join(["locatability", *lines])


def add(kinds: Any) -> None:
    annotate = command(
        kinds,
        "annotate",
        _annotate,
        "ask a vision model for the locatability and the scene elements of a dataset's images",
        """%(prog)s data/val --url http://gpu07:8000/v1 --model Qwen/Qwen2.5-VL-7B-Instruct
        %(prog)s data/val --url http://gpu07:8000/v1 --model Qwen/Qwen2.5-VL-7B-Instruct --limit 20
        GEOAGENT_VISION_TOKEN=$(cat token) %(prog)s data/val --url https://HOST/v1 --model NAME""",
    )
    annotate.add_argument("folder", type=Path, metavar="FOLDER", help="of a dataset")
    add_vision(annotate)
    annotate.add_argument(
        "--redo",
        action="store_true",
        help="put the folder's earlier annotations aside and ask anew",
    )
