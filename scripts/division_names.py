#!/usr/bin/env python3
"""Makes geoagent/geo/data/divisions.tsv: English names of first-level divisions.

    .venv/bin/python scripts/division_names.py CLDR

CLDR is the unpacked npm package cldr-subdivisions-full (Unicode licence v3):

    npm pack cldr-subdivisions-full@48.2.0 && mkdir CLDR && tar -xzf cldr-*.tgz -C CLDR

The other packages have some divisions in English and others as they are called at home. The
countries of the United Kingdom, which people write as if they were countries, come in all
languages that CLDR has.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from geoagent.errors import UsageError, exit_code  # noqa: E402
from geoagent.files import write_atomic  # noqa: E402
from geoagent.geo.build import DIVISIONS, NATIONS  # noqa: E402

_CODES_MEAN_OTHERS_NOW: Final = ("IR", "MA")
"""CLDR keeps the codes that Iran had before 2020 and Morocco before 2015."""
_NOT_IN_USE: Final = ("NZ-MBH", "SO-BY", "UA-05", "UA-14", "UA-26")
"""'Marl', 'Bay, Somalia', 'Prykarpattia': not what anybody writes."""

_HEAD: Final = """\
# Made by scripts/division_names.py; change that, not this.
# CLDR {version}, by cldr-subdivisions-full, Unicode licence v3. Of a code the first is English.
code\tname
"""


def main() -> int:
    """Write the table; returns the exit code."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("cldr", type=Path, metavar="CLDR", help="the unpacked npm package")
    folder = parser.parse_args().cldr
    files = [folder, folder / "package"]
    roots = [path / "subdivisions" for path in files if (path / "subdivisions").is_dir()]
    if not roots:
        raise UsageError(f"{folder}: no folder subdivisions in it: not cldr-subdivisions-full")
    package = json.loads((roots[0].parent / "package.json").read_text(encoding="utf-8"))
    lines = [f"{code}\t{name}\n" for code, name in _rows(roots[0])]
    write_atomic(DIVISIONS, _HEAD.format(version=package["version"]) + "".join(lines))
    print(f"{len(lines)} names → {DIVISIONS}")
    return 0


def _rows(folder: Path) -> Iterator[tuple[str, str]]:
    english = _names(folder / "en" / "en.json")
    yield from sorted(english.items())
    others = {
        (code, name)
        for path in sorted(folder.glob("*/*.json"))
        for code, name in _names(path).items()
        if code in NATIONS and name != english[code]
    }
    yield from sorted(others)


def _names(path: Path) -> Mapping[str, str]:
    """ISO 3166-2 code → name; CLDR writes 'debw' for DE-BW."""
    content = json.loads(path.read_text(encoding="utf-8"))
    names = content["subdivisions"]["localeDisplayNames"]["subdivisions"]
    return {
        f"{code[:2]}-{code[2:]}".upper(): name.rstrip("¹²³⁴")  # marks of footnotes
        for code, name in names.items()
        if re.fullmatch(r"[a-z]{2}[a-z0-9]{1,3}", code) and _in_use(code.upper())
    }


def _in_use(code: str) -> bool:
    return code[:2] not in _CODES_MEAN_OTHERS_NOW and f"{code[:2]}-{code[2:]}" not in _NOT_IN_USE


if __name__ == "__main__":
    raise SystemExit(exit_code(main))
