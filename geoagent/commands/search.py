"""`geoagent search`"""

from __future__ import annotations

import argparse
import shutil
import sys
import textwrap
from dataclasses import asdict
from typing import Any

from geoagent.commands.common import add_settings, command, line, whole_number
from geoagent.config import resolve


def _search(options: argparse.Namespace) -> int:
    from geoagent.rollout.search import provider

    config = resolve([*(str(file) for file in options.config), *options.overrides])
    results = provider(config.rollout.search).search(options.query, options.limit)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    for number, result in enumerate(results, start=1):
        if options.json:
            print(line(asdict(result)))
            continue
        text = f"{number:2}. {result.title}\n{_wrapped(result.snippet)}\n    {result.url}"
        print(text.encode(encoding, "replace").decode(encoding))
    if not results:
        print("nothing found", file=sys.stderr)
    return 0


def _wrapped(text: str) -> str:
    width = min(shutil.get_terminal_size().columns, 100)
    return textwrap.fill(text, width, initial_indent="    ", subsequent_indent="    ")


def add(commands: Any) -> None:
    parser = command(
        commands,
        "search",
        _search,
        "what a model that calls search_web would be told",
        """%(prog)s 'Avenida Luzuriaga Huaraz'
        %(prog)s 'phone prefix +51' --limit 3 --json
        %(prog)s 'Huaraz' rollout.search.documents=guides/
        GEOAGENT_SEARCH_KEY=… %(prog)s 'Huaraz' rollout.search.provider=tavily""",
    )
    parser.add_argument("query", metavar="QUERY", help="words to search for")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--limit", type=whole_number, default=10, metavar="N", help="results, 1 to 20 (default 10)"
    )
    add_settings(parser)
