"""`geoagent data annotate`: locatability and scene elements, asked of a vision model."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from geoagent.commands.common import command, counted, whole_number
from geoagent.data.record import RECORDS_FILE, reason_kind
from geoagent.errors import OutageError, UsageError

if TYPE_CHECKING:
    from geoagent.agent.endpoint import Endpoint
    from geoagent.annotate.folder import FolderAnnotation, Outcome

_TOLD: Final = 5
"""Images that are told of the same reason."""
_ALIKE: Final = 10
"""So many annotations that are all the same are no chance."""
_BAR: Final = 40
"""Characters of the histogram's longest bar."""


def _annotate(options: argparse.Namespace) -> int:
    from geoagent.annotate.client import AnnotationClient, AnnotationLimits
    from geoagent.annotate.folder import FolderAnnotation

    limits = AnnotationLimits(concurrency=options.parallel, patience_s=options.patience)
    client = AnnotationClient(_endpoint(options.url, options.model), limits, on_wait=_tell)
    work = FolderAnnotation(options.folder, client, options.split, options.limit, redo=options.redo)
    for row in work.rejected:
        place = f"{options.folder / RECORDS_FILE}:{row.line}"
        _tell(f"{place}: {f'{row.id}: ' if row.id else ''}{row.reason}")
    try:
        _run(work)
    except (UsageError, OutageError, KeyboardInterrupt):
        _tell(f"{len(work.outcome.annotations)} of {len(work.records)} images are annotated")
        raise
    finally:
        client.close()
        _tell_problems(work.outcome)
    summary = work.outcome.summary()
    print(json.dumps({**summary, "rejected": len(work.rejected)}, indent=2), flush=True)
    _tell(_histogram(summary["locatability"]))
    bad = work.rejected or work.outcome.failed or work.outcome.unreadable
    return 2 if bad else 0


def _run(work: FolderAnnotation) -> None:
    """With a bar, if somebody is to see it."""
    from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn

    from geoagent.progress import progress_bar

    looks = ("annotating", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with progress_bar(*looks) as progress:
        pending = len(work.pending)
        total = len(work.records)
        task = progress.add_task("annotating", total=total, completed=total - pending)
        work.run(lambda: progress.advance(task))


def _endpoint(url: str, model: str) -> Endpoint:
    """The server; its token comes from the environment, where no process list shows it."""
    import httpx

    from geoagent.agent.endpoint import Endpoint
    from geoagent.annotate.client import TOKEN_VARIABLE

    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise UsageError(f"--url {url[:200]!r} is no address ({error})") from error
    if parsed.userinfo:
        raise UsageError(f"--url: no secrets in it, please; put a token into {TOKEN_VARIABLE}")
    whole = parsed.host and not parsed.query and (parsed.port or 1) in range(1, 65536)
    if parsed.scheme not in ("http", "https") or not whole:
        raise UsageError(f"--url {url[:200]!r} is no address such as http://HOST:8000/v1")
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise UsageError(
            f"the environment variable {TOKEN_VARIABLE} holds no token: odd characters"
        )
    return Endpoint(url=url.rstrip("/"), model=model, token=token)


def _tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def _tell_problems(outcome: Outcome) -> None:
    """Images without an annotation, and why; of the same reason the first few."""
    counts: Counter[str] = Counter()
    for name, reason in (outcome.unreadable | outcome.failed).items():
        kind = reason_kind(reason)
        counts[kind] += 1
        if counts[kind] <= _TOLD:
            _tell(f"{name}: {reason}")
    for kind, number in counts.items():
        if number > _TOLD:
            _tell(f"… and {counted(number - _TOLD, 'more image')}: {kind}")
    given = list(outcome.annotations.values())
    if len(given) >= _ALIKE and all(annotation == given[0] for annotation in given):
        _tell(f"warning: all {len(given)} annotations are the same; does the model see the images?")


def _histogram(scores: Mapping[str, int]) -> str:
    """How many images have which locatability."""
    most = max(scores.values()) or 1
    lines = [
        f"{score:>12}  {'█' * round(_BAR * number / most):<{_BAR}}  {number}"
        for score, number in scores.items()
    ]
    return "\n".join(["locatability", *lines])


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 <= seconds < 1e9:
        raise argparse.ArgumentTypeError(f"{text}: no number of seconds")
    return seconds


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
    annotate.add_argument("--url", required=True, help="of an OpenAI-compatible API; ends in /v1")
    annotate.add_argument("--model", required=True, metavar="NAME", help="as the server names it")
    annotate.add_argument("--split", metavar="NAME", help="only this split")
    annotate.add_argument("--limit", type=whole_number, metavar="N", help="only the first N")
    annotate.add_argument(
        "--parallel",
        type=whole_number,
        default=8,
        metavar="N",
        help="images under way at once (8)",
    )
    annotate.add_argument(
        "--patience",
        type=_seconds,
        default=300.0,
        metavar="S",
        help="wait so many seconds for a server that does not answer, then stop (300)",
    )
    annotate.add_argument(
        "--redo",
        action="store_true",
        help="put the folder's earlier annotations aside and ask anew",
    )
