"""A publisher's row → what a record has: the field table is applied here and nowhere else."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, Final

from geoagent.answer import is_address, parse, split_parts
from geoagent.data.readers.formats import KEY, VALUE
from geoagent.data.readers.sources import Source
from geoagent.data.record import Record
from geoagent.geo.countries import statistics

COMMON: Final[dict[str, tuple[str, ...]]] = {
    "id": ("id", "uid", "sample_id", "image_id", "photo_id", "IMG_ID"),
    "image": (
        *("image", "image_path", "img_path", "images", "img", "file_name", "filename", "file"),
        *("path", "IMG_ID", KEY),
    ),
    "latitude": ("latitude", "lat", "gt_lat", "ground_truth_lat"),
    "longitude": ("longitude", "lon", "lng", "long", "gt_lon", "gt_lng", "ground_truth_lon"),
    "country": ("country", "country_name"),
    "city": ("city", "city_name", "town"),
    "region": ("region", "state", "province", "province_or_state", "admin1"),
    "address": ("address",),
    "country_code": ("country_code", "cc", "iso2"),
    "split": ("split",),
    "think": ("think",),
    "label": ("label",),
    "instructions": ("instructions", "instruction", "question", "prompt"),
    "gt_cot": ("gt_cot",),
    "locatability": ("locatability", "locatability_score"),
    "data_type": ("data_type",),
}
"""Columns that mean the same wherever they are found; they are tried after a dataset's own."""
ANSWER: Final = "answer"
"""What a conversation ends with."""
_RECORD: Final = {item.name for item in dataclasses.fields(Record)}
_NESTED: Final = "metadata"
"""A column whose JSON text is looked into."""
_CONVERSATIONS: Final = ("conversations", "messages")
_MACHINE: Final = ("gpt", "assistant")
_NUMBER: Final = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d{1,17})?(e-?\d{1,3})?")
_NOTHING: Final = ("", "nan", "none", "null", "n/a")
_TEMPLATE: Final = re.compile(r"\{([^{}]+)\}")
_DEGREES: Final = re.compile(r"(latitude|longitude): *(-?\d+(?:\.\d+)?)")


class Fields:
    """The field table of one dataset. `text` says that all columns are texts, as in CSV."""

    def __init__(self, source: Source, text: bool) -> None:
        self._source = source
        self._text = text
        own = {name: _listed(value) for name, value in source.fields.items()}
        self._table = {
            name: (*own.get(name, ()), *COMMON.get(name, ())) for name in {**COMMON, **own}
        }
        self._keep = None if source.keep is None else {_plain(name) for name in source.keep}
        self._drop = {_plain(name) for name in source.drop}

    @property
    def image_columns(self) -> tuple[str, ...]:
        """The columns that may name or hold the image, in the order in which they are tried."""
        return self._table["image"]

    def columns(self, name: str) -> str:
        """How the column of a field may be called, for messages."""
        return ", ".join(self._table[name])

    def read(self, row: Mapping[str, Any], image: str | None = None) -> dict[str, Any]:
        """The keys that a row of records.jsonl has, as far as this row tells, and further columns.

        `image` is the column of the image that is tried first; its value is as it was published.
        Values are not checked. Coordinates swapped in the published table are put right.
        """
        columns = _Columns(row)
        found: dict[str, Any] = {}
        for name, expressions in self._table.items():
            first = (image,) if name == "image" and image else ()
            value = columns.first((*first, *expressions))
            if value is not None:
                found[name] = value
        if self._source.conversation:
            found |= self._said(columns, found)
        if "latitude" not in found and isinstance(row.get(VALUE), list):
            found |= _DEGREES.findall(" ".join(map(str, row[VALUE])))
        _tidy(found)
        return self._extra(columns, found) | found

    def _said(self, columns: _Columns, found: Mapping[str, Any]) -> dict[str, Any]:
        """What a conversation holds: the question, and the chain of thought, the label, or all."""
        turns = columns.first(_CONVERSATIONS)
        if not isinstance(turns, list):
            return {}
        human, machine = _turns(turns)
        said: dict[str, Any] = {"instructions": human} if human else {}
        if self._source.conversation == "label":
            said["label"] = machine
        elif self._source.conversation == "trajectory":
            said |= {"trajectory": turns, ANSWER: _answer(machine)}
        elif "think" not in found:
            said |= {"think": machine, ANSWER: _answer(machine)}
        return {name: value for name, value in said.items() if value}

    def _extra(self, columns: _Columns, found: Mapping[str, Any]) -> dict[str, Any]:
        """Columns that are not used for anything else."""
        extra: dict[str, Any] = {}
        for name, value in columns.unused(self._source.flatten):
            plain = _plain(name)
            if plain in self._drop or not (self._keep is None or plain in self._keep):
                continue
            tidy, known = _tidy_name(name), _known(value)
            if known is None or tidy in found or tidy in _RECORD or _holds_bytes(known):
                continue
            extra[name if tidy in extra else tidy] = _typed(known) if self._text else known
        return extra


class _Columns:
    """A row's columns by their plain names; notes which were used."""

    def __init__(self, row: Mapping[str, Any]) -> None:
        self._published = row
        self._row = {_plain(name): row[name] for name in reversed([*row])}
        self._deep = dict(_deep(self._row))
        self._used: set[str] = set()

    def first(self, expressions: Iterable[str]) -> Any:
        """The value of the first expression that gives one and was not used for another field."""
        for expression in expressions:
            template = "{" in expression
            value = self._filled(expression) if template else self._one(_plain(expression))
            if value is not None:
                return value
        return None

    def _one(self, name: str) -> Any:
        if name.startswith("*."):
            ending = name[1:]
            names = [path for path in self._deep if path.endswith(ending)]
        else:
            names = [name]
        for path in names:
            value = _known(self._row.get(path, self._deep.get(path)))
            if value is not None and (path not in self._used or path in _SHARED):
                self._used.add(path)
                return value
        return None

    def _filled(self, template: str) -> str | None:
        values = {name: _known(self._row.get(_plain(name))) for name in _TEMPLATE.findall(template)}
        if None in values.values():
            return None
        return _TEMPLATE.sub(lambda found: str(values[found[1]]), template)

    def unused(self, flatten: Iterable[str]) -> Iterable[tuple[str, Any]]:
        """Columns that no field took, by their published names."""
        flat = {_plain(name) for name in flatten}
        for name, value in self._published.items():
            plain = _plain(name)
            if plain in flat and isinstance(value, dict):
                yield from ((str(key), item) for key, item in value.items())
            elif plain not in self._used and plain not in _FOR_CONVERSATIONS:
                yield name, value


def _deep(row: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """Columns inside columns, by dotted names; those of a column `metadata` also if it is text."""
    for name, value in row.items():
        if name == _NESTED and isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                continue
        if isinstance(value, dict):
            yield from _members(name, value, depth=4)


def _members(prefix: str, value: Mapping[Any, Any], depth: int) -> Iterable[tuple[str, Any]]:
    for key, item in value.items():
        name = f"{prefix}.{_plain(str(key))}"
        yield name, item
        if isinstance(item, dict) and depth:
            yield from _members(name, item, depth - 1)


@lru_cache(maxsize=10_000)
def _plain(name: str) -> str:
    """A column's name without what differs in spelling: capitals, spaces, - and _."""
    return re.sub(r"[\s_-]", "", name.lower())


_SHARED: Final = ("imgid",)
"""What names the image and is the row's id."""
_FOR_CONVERSATIONS: Final = frozenset(_plain(name) for name in (*_CONVERSATIONS, VALUE))


@lru_cache(maxsize=10_000)
def _tidy_name(name: str) -> str:
    return re.sub(r"\W+", "_", name.strip().lower()).strip("_") or "column"


def _listed(value: str | list[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _known(value: Any) -> Any:
    """None for what stands for nothing in tables: an empty text, nan, an empty list."""
    if isinstance(value, str):
        bare = value.strip()
        return None if len(bare) < 5 and bare.lower() in _NOTHING else value
    nothing = value == [] or value == {} or (isinstance(value, float) and math.isnan(value))
    return None if nothing else value


def _typed(value: Any) -> Any:
    """A number that a table of texts holds; 007, 1e3 and the like stay texts."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return float(value) if "." in value or "e" in value else int(value)
    return value


def _holds_bytes(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_bytes, value.values()))
    if isinstance(value, list):
        return any(map(_holds_bytes, value))
    return isinstance(value, bytes)


def _turns(turns: list[Any]) -> tuple[str, str]:
    """The first thing the person says and the last thing the model does, without `<image>`."""
    human = machine = ""
    for turn in turns:
        if not isinstance(turn, dict):
            continue
        speaker = turn.get("from") or turn.get("role")
        text = _text(turn.get("value") or turn.get("content"))
        if speaker in _MACHINE:
            machine = text
        elif speaker != "system" and not human:
            human = text.replace("<image>", "").strip()
    return human, machine.strip()


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _tidy(found: dict[str, Any]) -> None:
    """Bring values into the forms that records have."""
    for name in ("country", "region", "city", "address", "country_code", "split"):
        if isinstance(found.get(name), str | int | float):
            found[name] = str(found[name]).strip()
    if "think" in found:
        found["think"] = _chain(found["think"])
    _places(found)


def _chain(value: Any) -> str:
    """A chain of thought without its tags; JSON as text."""
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    text = str(value)
    inner = parse(text).think
    return (inner if inner is not None else text.partition("<answer>")[0]).strip()


def _answer(text: str) -> str:
    """The final answer of a completion, wherever it stands; the whole text if it has no form."""
    said = parse(text if "<think>" in text else f"<think>{text}</think>")
    return said.answer or said.final_answer or text


def _places(found: dict[str, Any]) -> None:
    """Country, region and city out of an address, or else out of a conversation's answer, and a
    country's name out of its code."""
    if not isinstance(found.get("address"), str) and "country" not in found:
        found["address"] = found.get(ANSWER, "")
        found["place_from"] = ANSWER
    if isinstance(found.get("address"), str):
        tagged = parse(found["address"]).answer
        parts = split_parts(tagged if tagged is not None else found["address"])
        found["address"] = "; ".join(parts)
        if not is_address(parts):
            del found["address"]
            found.pop("place_from", None)
        elif "country" not in found:
            found |= dict(zip(("country", "region", "city"), parts, strict=False))
    country = found.get("country", "")
    if isinstance(country, str) and len(country) == 2 and statistics(country):
        found["country_code"] = country.upper()
        del found["country"]
    code = found.get("country_code")
    if "country" not in found and isinstance(code, str) and (known := statistics(code)):
        found["country"], found["country_code"] = known.name, known.country_code
