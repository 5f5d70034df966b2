"""Files of published datasets → rows, one after another: JSON lines, JSON, CSV and other tables of
text, Parquet, folders of images. None is held in memory as a whole, but for small JSON objects."""

from __future__ import annotations

import codecs
import csv
import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from geoagent.data.record import BAD_BYTES, NOT_UTF8, as_text, parse_line

Row = dict[str, Any]
Item = tuple[int, Row | str]
"""The line of a text file or the row of any other, from 1; and its row, or why there is none."""

KEY: Final = "(key)"
VALUE: Final = "(value)"
"""Columns of a JSON object's members, where a file is one large object."""
TEXT_SUFFIXES: Final = (".csv", ".tsv", ".txt")
IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")
_CHUNK: Final = 1 << 20
_MOST: Final = 64 << 20
"""Characters of one row of JSON, and of one cell of a table."""
_PARQUET_BYTES: Final = 8 << 20
"""Read at a time, about: rows that hold panoramas have 5 MB each, others 200 bytes."""
_PARQUET_ROWS: Final = 1024
_SPACE: Final = re.compile(r"[\s,]*")


class UnreadableError(Exception):
    """A file, or what is left of it, that no row can be had from; says why."""


@dataclass
class Position:
    """How far a file has been read, in bytes of it."""

    done: float = 0.0


def read_rows(
    path: Path,
    position: Position,
    skip: int = 0,
    header: Sequence[str] | None = None,
    name_pattern: str | None = None,
) -> Iterator[Item]:
    """Rows of a published file after the first `skip`, in order.

    `header` names the columns of a table that has no line for that; `name_pattern` has groups that
    are read off the names of a folder of images. UnreadableError if the file is empty, cut or
    broken, after the rows before that place.
    """
    try:
        if path.is_dir():
            yield from _after(skip, _image_folder(path, name_pattern))
        elif path.stat().st_size == 0:
            raise UnreadableError("the file is empty")
        elif path.suffix == ".parquet":
            yield from _parquet(path, position, skip)
        elif _is_utf16(path):
            raise UnreadableError("UTF-16; convert the file with: iconv -f utf-16 -t utf-8")
        elif path.suffix in TEXT_SUFFIXES:
            yield from _after(skip, _table(path, position, header))
        else:
            yield from _after(skip, _json(path, position))
    except OSError as error:
        raise UnreadableError(f"cannot be read ({error.strerror or error})") from error


def _is_utf16(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def _after(skip: int, items: Iterator[Item]) -> Iterator[Item]:
    for count, item in enumerate(items):
        if count >= skip:
            yield item


# --- JSON ------------------------------------------------------------------------------------


def _json(path: Path, position: Position) -> Iterator[Item]:
    """JSON lines, an array of objects, or one object; told apart by how the file begins."""
    with path.open("rb") as file:
        start = file.read(_CHUNK)
        file.seek(0)
        first = start.removeprefix(codecs.BOM_UTF8).lstrip()
        if first.startswith(b"["):
            yield from _array(file, position)
        elif path.suffix != ".json" or _is_object(first.partition(b"\n")[0]):
            yield from _lines(file, position)
        else:
            yield from _members(file)


def _is_object(line: bytes) -> bool:
    try:
        parse_line(line.decode("utf-8", errors="replace"))
    except ValueError:
        return False
    return True


def _lines(file: IO[bytes], position: Position) -> Iterator[Item]:
    for number, raw in enumerate(file, start=1):
        position.done = file.tell()
        if raw.strip():
            bom = codecs.BOM_UTF8 if number == 1 else b""
            yield number, _object(as_text(raw.removeprefix(bom)))


def _object(line: str) -> Row | str:
    try:
        return parse_line(line)
    except ValueError as error:
        return str(error)


def _array(file: IO[bytes], position: Position) -> Iterator[Item]:
    """The elements of an array, of which no more than one and a bit are in memory."""
    decoder = json.JSONDecoder()
    text = codecs.getincrementaldecoder("utf-8-sig")(errors="surrogateescape")
    buffer, place, number, chunk = "", 0, 0, _CHUNK
    begun = ended = False
    while True:
        data = file.read(chunk)
        ended = not data
        buffer, place = buffer[place:] + text.decode(data, final=ended), 0
        position.done = file.tell()
        if not begun:
            buffer, begun = buffer.lstrip().removeprefix("["), True
        try:
            while True:
                place = _SPACE.match(buffer, place).end()  # type: ignore[union-attr]
                if buffer.startswith("]", place):
                    if (buffer[place + 1 :] + file.read(_CHUNK).decode("utf-8", "replace")).strip():
                        raise UnreadableError(f"there is more after the closing ] of {number} rows")
                    return
                value, end = decoder.raw_decode(buffer, place)
                if end == len(buffer) and not ended:
                    break  # a number may go on
                bad = BAD_BYTES.search(buffer, place, end)
                place, number, chunk = end, number + 1, _CHUNK
                if bad:
                    yield number, NOT_UTF8
                else:
                    yield number, value if isinstance(value, dict) else "not a JSON object"
        except (ValueError, RecursionError) as error:
            if ended or len(buffer) - place > _MOST:
                raise UnreadableError(_broken(number, place == len(buffer), error)) from error
        chunk = min(2 * chunk, _MOST)  # a large element; reading it piece by piece stays linear


def _broken(number: int, cut: bool, error: Exception) -> str:
    reason = "the file ends without the closing ]" if cut else str(error).partition(": line ")[0]
    return f"not JSON after row {number} ({reason}); the file is cut or broken there"


def _members(file: IO[bytes]) -> Iterator[Item]:
    """Rows of one object: those of the only list it has, else its members."""
    try:
        document = json.loads(file.read(_MOST + 1).decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UnreadableError(NOT_UTF8) from error
    except (ValueError, RecursionError) as error:
        raise UnreadableError(f"not JSON ({error})") from error
    if not isinstance(document, dict):
        raise UnreadableError("neither a JSON array nor an object")
    lists = [value for value in document.values() if isinstance(value, list)]
    if len(lists) == 1 and all(isinstance(value, dict) for value in lists[0]):
        yield from enumerate(lists[0], start=1)
        return
    for number, (key, value) in enumerate(document.items(), start=1):
        yield number, {KEY: key, **value} if isinstance(value, dict) else {KEY: key, VALUE: value}


# --- tables ----------------------------------------------------------------------------------


def _table(path: Path, position: Position, header: Sequence[str] | None) -> Iterator[Item]:
    """CSV, or columns between tabs, where quotation marks mean nothing."""
    csv.field_size_limit(_MOST)
    tabs = path.suffix != ".csv"
    with path.open("rb") as file:
        lines = _decoded(file, position)
        reader = (
            csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE) if tabs else csv.reader(lines)
        )
        names = list(header) if header and tabs else None
        exact = names is None
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield reader.line_num, f"not CSV ({error})"
                continue
            if not cells:
                continue
            if names is None:
                names = [cell.strip() for cell in cells]
            elif any(map(BAD_BYTES.search, cells)):
                yield reader.line_num, NOT_UTF8
            elif len(cells) < len(names) or (exact and len(cells) > len(names)):
                yield reader.line_num, f"{len(cells)} cells, but {len(names)} columns"
            else:
                yield reader.line_num, dict(zip(names, cells, strict=False))


def _decoded(file: IO[bytes], position: Position) -> Iterator[str]:
    for number, raw in enumerate(file):
        position.done += len(raw)
        text = raw.decode("utf-8" if number else "utf-8-sig", errors="surrogateescape")
        yield text.replace("\0", "")


# --- Parquet ---------------------------------------------------------------------------------


def _parquet(path: Path, position: Position, skip: int) -> Iterator[Item]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    size, number = path.stat().st_size, 0
    try:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=_CHUNK) as file:
            total = max(1, file.metadata.num_rows)
            for group in range(file.num_row_groups):
                about = file.metadata.row_group(group)
                if number + about.num_rows <= skip:
                    number += about.num_rows
                    continue
                at_once = _PARQUET_BYTES * about.num_rows // max(1, about.total_byte_size)
                size_of_batch = min(max(1, at_once), _PARQUET_ROWS)
                for batch in file.iter_batches(size_of_batch, row_groups=[group]):
                    if number + len(batch) <= skip:
                        number += len(batch)
                        continue
                    for row in batch.to_pylist():
                        number += 1
                        if number > skip:
                            yield number, row
                    position.done = size * number / total
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")[:200]
        where = f"after row {number}" if number else "at all"
        raise UnreadableError(
            f"not Parquet {where} ({reason}); the file is cut or broken"
        ) from error


# --- folders of images -----------------------------------------------------------------------


def _image_folder(folder: Path, name_pattern: str | None) -> Iterator[Item]:
    """A row an image, by name; `image` is the path below the folder."""
    pattern = re.compile(name_pattern) if name_pattern else None
    number = 0
    for root, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if not name.lower().endswith(IMAGE_SUFFIXES):
                continue
            number += 1
            image = os.path.relpath(Path(root) / name, folder)
            found = pattern.search(name) if pattern else None
            yield number, {"image": image, **(found.groupdict() if found else {})}
