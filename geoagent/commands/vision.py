"""What the commands share that ask a vision model about a dataset's pictures."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from geoagent.commands.common import counted, number, whole_number
from geoagent.data.record import RECORDS_FILE, Rejected, reason_kind
from geoagent.errors import UsageError
from geoagent.keys import token

if TYPE_CHECKING:
    from geoagent.agent.endpoint import Endpoint
    from geoagent.agent.vision import VisionLimits

_TOLD: Final = 5
"""Pictures that are told of the same reason."""


def add_vision(parser: Any) -> None:
    """The server, which records, and how many at once."""
    parser.add_argument("--url", required=True, help="of an OpenAI-compatible API; ends in /v1")
    parser.add_argument("--model", required=True, metavar="NAME", help="as the server names it")
    parser.add_argument("--split", metavar="NAME", help="only this split")
    parser.add_argument("--limit", type=whole_number, metavar="N", help="only the first N")
    parser.add_argument(
        "--parallel",
        type=whole_number,
        default=8,
        metavar="N",
        help="images under way at once (8)",
    )
    parser.add_argument(
        "--patience",
        type=number(0, 1e9),
        default=300.0,
        metavar="S",
        help="wait so many seconds for a server that does not answer, then stop (300)",
    )


def vision_limits(options: argparse.Namespace) -> VisionLimits:
    from geoagent.agent.vision import VisionLimits

    return VisionLimits(concurrency=options.parallel, patience_s=options.patience)


def vision_endpoint(options: argparse.Namespace) -> Endpoint:
    """The server; its token comes from the environment, where no process list shows it."""
    import httpx

    from geoagent.agent.endpoint import Endpoint
    from geoagent.agent.vision import TOKEN_VARIABLE

    url: str = options.url
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise UsageError(f"--url {url[:200]!r} is no address ({error})") from error
    if parsed.userinfo:
        raise UsageError(f"--url: no secrets in it, please; put a token into {TOKEN_VARIABLE}")
    whole = parsed.host and not parsed.query and (parsed.port or 1) in range(1, 65536)
    if parsed.scheme not in ("http", "https") or not whole:
        raise UsageError(f"--url {url[:200]!r} is no address such as http://HOST:8000/v1")
    return Endpoint(url=url.rstrip("/"), model=options.model, token=token(TOKEN_VARIABLE))


def tell(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def tell_rejected(folder: Path, rejected: Sequence[Rejected]) -> None:
    """Rows of a dataset folder that are no records, and why."""
    for row in rejected:
        place = f"{folder / RECORDS_FILE}:{row.line}"
        tell(f"{place}: {f'{row.id}: ' if row.id else ''}{row.reason}")


def tell_reasons(reasons: Mapping[str, str]) -> None:
    """Pictures that nothing came of, and why; of the same reason the first few."""
    counts: Counter[str] = Counter()
    for name, reason in reasons.items():
        kind = reason_kind(reason)
        counts[kind] += 1
        if counts[kind] <= _TOLD:
            tell(f"{name}: {reason}")
    for kind, count in counts.items():
        if count > _TOLD:
            tell(f"… and {counted(count - _TOLD, 'more image')}: {kind}")


def with_bar(doing: str, total: int, pending: int, run: Callable[[Callable[[], None]], Any]) -> Any:
    """`run` with what it calls after each picture that was pending: a bar moves on, if somebody is
    to see it."""
    from rich.progress import BarColumn, MofNCompleteColumn, TimeRemainingColumn

    from geoagent.progress import progress_bar

    looks = (doing, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with progress_bar(*looks) as progress:
        task = progress.add_task(doing, total=total, completed=total - pending)
        return run(lambda: progress.advance(task))
