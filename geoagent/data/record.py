"""One sample, whatever dataset it came from, and the reading of a dataset folder.

A dataset folder holds `records.jsonl` (one JSON object a line) and the images it names, or a
`dataset.json` that says in which other folder these are. An `annotations.jsonl` adds what a vision
model says of the images.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, BinaryIO, Final

from geoagent.data.annotations import columns, joined
from geoagent.errors import UsageError
from geoagent.files import read_json

RECORDS_FILE: Final = "records.jsonl"
DATASET_FILE: Final = "dataset.json"
REJECTED_FILE: Final = "rejected.jsonl"
DEFAULT_SPLIT: Final = "train"
"""Of rows that name none; one that counted for every split would be trained on and tested on."""


@dataclass(frozen=True)
class Record:
    """A sample. Coordinates in degrees (WGS 84); names in English; `image` relative to the
    folder of the dataset's images (`image_root`); `address` is "Country; Region; City" with two
    or three parts."""

    id: str
    image: str
    latitude: float
    longitude: float
    country: str
    region: str
    city: str
    address: str
    split: str
    country_code: str = ""
    think: str | None = None
    """GeoSeek-CoT chain of thought as JSON text, or None."""
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_row(self) -> dict[str, Any]:
        """The record as a line of records.jsonl."""
        row = {name: getattr(self, name) for name in _OWN}
        row.update(self.extra)
        return row


_OWN: Final = tuple(item.name for item in fields(Record) if item.name != "extra")


@dataclass(frozen=True)
class Rejected:
    """A row that was refused: its line in records.jsonl (from 1), its id if it had one, why."""

    line: int
    id: str
    reason: str

    @property
    def kind(self) -> str:
        """The reason without what differs from row to row: values, and details in brackets."""
        return reason_kind(self.reason)


_VALUE: Final = re.compile(r"""'[^']*'|"[^"]*"|-?\d\S*""")


def reason_kind(reason: str) -> str:
    """What reasons of one kind have in common."""
    return _VALUE.sub("…", reason).partition(" (")[0]


_TEXT: Final = ("country", "region", "city", "address", "country_code")
_KNOWN: Final = {item.name for item in fields(Record)}


def image_root(folder: Path) -> Path:
    """The folder that a dataset's images are in, without links: the dataset folder itself, or what
    `images` in its dataset.json names, so that millions of images need not be copied.

    UsageError if that is no absolute path of a folder that is there.
    """
    path = folder / DATASET_FILE
    if not path.is_file():
        return folder.resolve()
    about = read_json(path)
    images = about.get("images") if isinstance(about, dict) else None
    if images is None:
        return folder.resolve()
    if not isinstance(images, str) or not Path(images).is_absolute() or not Path(images).is_dir():
        raise UsageError(
            f"{path}: images: {str(images)[:200]!r} is not the absolute path of a folder; correct "
            "it if the images were moved"
        )
    return Path(images).resolve()


def read_records(
    folder: Path,
    split: str | None = None,
    limit: int | None = None,
    strict: bool = False,
    check_images: bool = True,
) -> tuple[list[Record], list[Rejected]]:
    """Records of a dataset folder, and the rows that were refused with the reason.

    `split` and `limit` choose records; images of others are not opened, and none at all without
    `check_images`. With `strict` the first refused row raises UsageError with file and line; a
    missing records.jsonl always does.

    Columns of annotations.jsonl (locatability, scene) are in `extra`, unless the row has its own.
    """
    records: list[Record] = []
    rejected: list[Rejected] = []
    for row in iter_records(folder, split, limit, strict, check_images):
        if isinstance(row, Record):
            records.append(row)
        else:
            rejected.append(row)
    return records, rejected


def chosen_records(
    folder: Path, split: str | None, limit: int | None
) -> tuple[list[Record], list[Rejected]]:
    """`read_records` without a look at the images; UsageError if there is no record at all."""
    records, rejected = read_records(folder, split, limit, check_images=False)
    if not records:
        chosen = f" in split '{split}'" if split else ""
        raise UsageError(f"{folder}: no usable record{chosen}; see geoagent data check")
    return records, rejected


def iter_records(
    folder: Path,
    split: str | None = None,
    limit: int | None = None,
    strict: bool = False,
    check_images: bool = True,
) -> Iterator[Record | Rejected]:
    """`read_records` one row after another; no more than the ids and the
    annotations are held in memory."""
    seen: set[str] = set()
    root = image_root(folder) if check_images else None
    annotations = columns(folder)
    for number, line in read_lines(folder / RECORDS_FILE):
        if limit is not None and len(seen) >= limit:
            break
        row_id = ""
        try:
            row = parse_line(line)
            row_id = str(row.get("id", ""))[:200]
            if split is not None and (row.get("split") or DEFAULT_SPLIT) != split:
                continue
            record = to_record(row)
            if root is not None:
                check_image(root, record.image)
            if record.id in seen:
                raise ValueError(f"id '{record.id}' is used by an earlier row")
        except ValueError as error:
            if strict:
                raise UsageError(f"{folder / RECORDS_FILE}:{number}: {error}") from error
            yield Rejected(number, row_id, str(error))
            continue
        seen.add(record.id)
        if record.id in annotations:
            record = replace(record, extra=joined(record.extra, annotations[record.id]))
        yield record


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of a file that are not empty, with their numbers from 1; UsageError without it."""
    for number, _, raw in read_bytes(path):
        if raw.strip():
            yield number, as_text(raw)


def read_bytes(path: Path) -> Iterator[tuple[int, int, bytes]]:
    """All lines of a file with their numbers from 1 and where they begin, in bytes; UsageError
    without it."""
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent}: there is no such folder")
    try:
        with path.open("rb") as file:
            offset = 0
            for number, raw in enumerate(file, start=1):
                yield number, offset, raw
                offset += len(raw)
    except OSError as error:
        whole = path if path.parent.name else path.absolute()  # of ".": which folder that is
        raise UsageError(
            f"{whole}: cannot be read ({error.strerror}); a dataset folder needs this file"
        ) from error


BAD_BYTES: Final = re.compile("[\udc80-\udcff]")
"""What `as_text` makes of bytes that are not UTF-8."""
NOT_UTF8: Final = "not UTF-8; convert the file, such as with: iconv -f latin1 -t utf-8"


def as_text(raw: bytes) -> str:
    """A line as text; `parse_line` refuses it if it is not UTF-8."""
    return raw.decode("utf-8", errors="surrogateescape")


def parse_line(line: str) -> dict[str, Any]:
    """The JSON object of a line; ValueError if it is none."""
    if BAD_BYTES.search(line):
        raise ValueError(NOT_UTF8)
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON ({error})") from error
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    return row


def to_record(row: Mapping[str, Any]) -> Record:
    """The record of a row; ValueError says what is wrong with it. The image is not looked at."""
    if not isinstance(row.get("id"), str | int) or isinstance(row.get("id"), bool):
        raise ValueError("id: missing, or not a text")
    latitude = coordinate(row, "latitude", 90.0)
    longitude = coordinate(row, "longitude", 180.0)
    texts = {name: _text(row, name) for name in _TEXT}
    think = row.get("think")
    if think is not None and not isinstance(think, str):
        raise ValueError("think: not a text")
    if not texts["address"]:
        parts = (texts["country"], texts["region"], texts["city"])
        texts["address"] = "; ".join(part for part in parts if part)
    image = row.get("image")
    if not isinstance(image, str) or not image:
        raise ValueError("image: missing")
    return Record(
        id=str(row["id"]),
        image=image,
        latitude=latitude,
        longitude=longitude,
        split=str(row.get("split") or DEFAULT_SPLIT),
        think=think,
        extra={name: value for name, value in row.items() if name not in _KNOWN},
        **texts,
    )


def coordinate(row: Mapping[str, Any], name: str, limit: float) -> float:
    """A number of degrees within ±limit; ValueError otherwise."""
    value = row.get(name)
    if value is None:
        raise ValueError(f"{name}: missing")
    number = as_number(value)
    if not math.isfinite(number):
        raise ValueError(f"{name}: {str(value)[:40]!r} is not a number")
    return within(number, name, limit)


def as_number(value: Any) -> float:
    """A number, or a text that is one, as in a CSV; NaN for everything else."""
    try:
        return math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def within(number: float, name: str, limit: float) -> float:
    """The number, if it is within ±limit; ValueError otherwise."""
    if abs(number) > limit:
        raise ValueError(f"{name}: {number:g} is out of range (−{limit:g} to {limit:g})")
    return number


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{name}: not a text")
    return value


def check_image(root: Path, name: str) -> None:
    """The image is inside the folder and can be decoded; ValueError otherwise."""
    decode_image(find_image(root, name), name)


def find_image(root: Path, name: str) -> Path:
    """The file of an image; ValueError unless it is there and inside the folder."""
    try:
        root = root.resolve()
        path = (root / name).resolve()
        inside = path.is_relative_to(root)
        exists = inside and path.is_file()
    except (OSError, ValueError) as error:  # a NUL byte, a name too long, a loop of links
        raise ValueError(f"image: {name[:80]!r} is not a usable path ({error})") from error
    if not inside:
        raise ValueError(f"image: {name[:80]!r} is outside the dataset folder")
    if not exists:
        raise ValueError(f"image: {name[:80]!r} does not exist")
    return path


def decode_image(source: Path | BinaryIO, name: str) -> str:
    """Decode a whole image, since a header says nothing about a file that is cut short; returns
    its format (JPEG, PNG, …). ValueError with the name if it cannot be decoded.

    A JPEG is read to its end but drawn small, which takes less than half the time.
    """
    from PIL import Image

    try:
        with Image.open(source) as image:
            image.draft(None, (1, 1))
            image.load()
            return image.format or ""
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        # A file object's name has its address in memory, which is another in each run.
        reason = re.sub(r" <_io\S+ object at \S+>", "", str(error))
        raise ValueError(f"image: {name[:80]!r} cannot be decoded ({reason})") from error
