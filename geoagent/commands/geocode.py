"""`geoagent geocode`"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from geoagent.commands.common import Rows, add_rows, command, line
from geoagent.errors import UsageError

if TYPE_CHECKING:
    from geoagent.geo.geocoder import Place


def _geocode(options: argparse.Namespace) -> int:
    from geoagent.geo.geocoder import geocode

    if bool(options.text) == (options.jsonl is not None):
        raise UsageError("geocode: give either TEXT or --jsonl FILE")
    if len(options.text) > 1:
        raise UsageError(f"geocode: put the address in quotes: '{' '.join(options.text)}'")
    for text in options.text:
        place = geocode(text)
        print(line(_place(text, place)), flush=True)
        if place is None:
            print(_nothing_found(text), file=sys.stderr)
        return 0
    rows = Rows(options.jsonl)
    for where, row in rows:
        query = row.get("query")
        if not isinstance(query, str):
            rows.refuse(where, "query: missing, or not a text")
            continue
        print(line({**row, **_place(query, geocode(query))}))
    return rows.exit_code


def _place(query: str, place: Place | None) -> dict[str, Any]:
    """A line of `geocode`; nulls where nothing was found, and `misspelt` only where it holds."""
    keys = ("latitude", "longitude", "level", "country_code", "matched")
    row = {"query": query, **{key: getattr(place, key, None) for key in keys}}
    return {**row, "misspelt": True} if place and place.misspelt else row


def _nothing_found(text: str) -> str:
    from geoagent.answer import split_parts

    form = "; addresses are 'Country; Region; Place'" if len(split_parts(text)) < 2 else ""
    return f"nothing found for {text!r}{form}"


def add(commands: Any) -> None:
    parser = command(
        commands,
        "geocode",
        _geocode,
        "coordinates of addresses, without a network; one JSON object a line",
        """%(prog)s 'China; Hong Kong; Kowloon'
        %(prog)s --jsonl queries.jsonl
        echo '{"query": "Peru; Ancash; Huaraz"}' | %(prog)s --jsonl -""",
    )
    parser.add_argument("text", nargs="*", metavar="TEXT", help="'Country; Region; Place'")
    add_rows(parser, "--jsonl", "a key query")
