"""What is to be read, decided from the first rows of each file before anything is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

from geoagent.data.readers.fields import Fields
from geoagent.data.readers.formats import TEXT_SUFFIXES, Position, UnreadableError, read_rows
from geoagent.data.readers.images import FileIndex, Rule, choose_rule, rules
from geoagent.data.readers.places import locate_answer
from geoagent.data.readers.sources import Published, Source, find_files, source
from geoagent.errors import UsageError

CHECKS: Final = ("decode", "exists", "no")
_FIRST: Final = 2000
"""Rows of a table that are looked at first."""
_FIRST_OTHERS: Final = 32
"""And of other files, whose rows may hold images."""
_FIRST_BYTES: Final = 32 << 20
_TRIED: Final = 50
"""Images that rules for their paths are tried on."""


@dataclass(frozen=True)
class Request:
    """What a person asks for. `images` is the folder of the images if it is not `place`."""

    name: str
    place: Path
    split: str | None = None
    limit: int | None = None
    images: Path | None = None
    check: str = "decode"


@dataclass(frozen=True)
class PlannedFile:
    """A file, how its rows are read, and how their images are found."""

    published: Published
    fields: Fields
    image_column: str | None = None
    rule: Rule | FileIndex | None = None
    swapped: bool = False

    def image_path(self, name: str) -> str:
        """Path of an image below the images' folder; ValueError if it is not known which."""
        return self.rule.path(name) if self.rule else name


@dataclass
class Plan:
    """The files of a dataset and the folder of its images; None: rows hold them themselves."""

    name: str
    source: Source
    request: Request
    files: list[PlannedFile] = field(default_factory=list)
    root: Path | None = None
    notes: list[str] = field(default_factory=list)

    def short(self, file: PlannedFile) -> str:
        """A file's name for messages: below the source, if it is there."""
        path, place = file.published.path, self.request.place
        return (
            str(path.relative_to(place))
            if path.is_relative_to(place) and path != place
            else (path.name)
        )


def make_plan(request: Request) -> Plan:
    """Look at the first rows of all files. UsageError if the files, the columns or the images that
    the dataset should have are not there."""
    name, entry = source(request.name)
    plan = Plan(name, entry, request)
    published = find_files(entry, request.place, request.split)
    base = request.place if request.place.is_dir() else request.place.parent
    root = (request.images or base).resolve()
    if not root.is_dir():
        raise UsageError(f"{root}: there is no such folder of images")
    looks = [_Look(plan, file, root) for file in published]
    if len(looks) == 1 and looks[0].broken:
        raise UsageError(f"{published[0].path}: {looks[0].broken}")
    _check_columns(plan, looks)
    index: list[FileIndex] = []
    plan.files = [look.planned(index) for look in looks]
    plan.root = None if any(look.embedded for look in looks) else root
    return plan


def _check_columns(plan: Plan, looks: Sequence[_Look]) -> None:
    """A dataset without any coordinate is another one than was said."""
    if any(look.has_coordinates for look in looks) or not any(look.rows for look in looks):
        return
    look = next(look for look in looks if look.rows)
    raise UsageError(
        f"{look.file.path}: no row among the first {len(look.rows)} has coordinates; expected "
        f"columns: {look.fields.columns('latitude')}; and {look.fields.columns('longitude')}; "
        f"there are: {', '.join(map(str, look.rows[0]))[:300]}"
    )


class _Look:
    """The first rows of a file and what they tell."""

    def __init__(self, plan: Plan, file: Published, root: Path) -> None:
        self.plan = plan
        self.file = file
        self.root = root
        text = file.path.suffix in TEXT_SUFFIXES
        self.fields = Fields(plan.source, text)
        self.rows: list[Mapping[str, Any]] = []
        self.broken = ""
        weight = 0
        try:
            for row in islice(self._rows(), _FIRST if text else _FIRST_OTHERS):
                self.rows.append(row)
                weight += bytes_held(row)
                if weight > _FIRST_BYTES:
                    break
        except UnreadableError as error:
            self.broken = "" if self.rows else str(error)
        self.embedded = False
        self._column, self._names = self._image_column()

    def _rows(self) -> Iterator[Mapping[str, Any]]:
        entry = self.plan.source
        rows = read_rows(self.file.path, Position(), 0, entry.header, entry.name_pattern)
        return (row for _, row in rows if isinstance(row, dict))

    @property
    def has_coordinates(self) -> bool:
        return any(_coordinates(self.fields, row) for row in self.rows)

    def planned(self, index: list[FileIndex]) -> PlannedFile:
        """`index` keeps the index of all files once it was made."""
        rule = None if self.embedded or not self.rows else self._rule(index)
        return PlannedFile(self.file, self.fields, self._column, rule, self._swapped())

    def _image_column(self) -> tuple[str | None, list[str]]:
        """The first column whose images are there, and the first names in it; else the first column
        that names any. Columns may be listed that only some downloads have the images of."""
        named: tuple[str | None, list[str]] = (None, [])
        for column in self.fields.image_columns:
            found = [self.fields.read(row, column).get("image") for row in self.rows[:_TRIED]]
            values = [value for value in found if value is not None]
            if any(held(value) for value in values):
                self.embedded = True
                return column, []
            names = [name for value in values if (name := image_name(value))]
            if names and choose_rule(self.root, names, self._rules()):
                return column, names
            if names and not named[1]:
                named = column, names
        return named

    def _rules(self) -> list[Rule]:
        path = self.file.path if self.file.path.is_dir() else self.file.path.parent
        return rules(self.root, path.resolve(), self.file.split, self.plan.source.images)

    def _rule(self, index: list[FileIndex]) -> Rule | FileIndex:
        found = choose_rule(self.root, self._names, self._rules())
        if found or not self._names:
            return found or Rule()
        if not index:
            index.append(FileIndex(self.root))
        if any(self._indexed(index[0], name) for name in self._names):
            return index[0]
        if self.plan.request.check == "no":
            return Rule(self.plan.source.images[0] if self.plan.source.images else "")
        raise UsageError(self._missing())

    def _indexed(self, index: FileIndex, name: str) -> bool:
        try:
            return (self.root / index.path(name)).is_file()
        except (ValueError, OSError):
            return False

    def _missing(self) -> str:
        archives = (".zip", ".tar", ".tar.gz", ".tgz")
        packed = [path for path in self.root.rglob("*") if path.name.endswith(archives)][:1]
        hint = f"; {packed[0].name} is an archive: unpack it first" if packed else ""
        return (
            f"{self.root}: none of the first {len(self._names)} images that {self.file.path.name} "
            f"names is there, such as {self._names[0][:80]!r}{hint}; where they are is said by "
            "--images DIR, and --check-images no goes on without them"
        )

    def _swapped(self) -> bool:
        """Whether latitudes and longitudes stand under each other's names, as in one published
        version of im2gps3k_places365.csv: many latitudes are none, and could be longitudes."""
        pairs = [_coordinates(self.fields, row) for row in self.rows]
        known = [pair for pair in pairs if pair]
        beyond = sum(90 < abs(first) <= 180 for first, _ in known)
        others = sum(abs(second) > 90 for _, second in known)
        if others or beyond < (5 if self.plan.source.swapped else 20) or beyond < len(known) / 20:
            return False
        where = f"{self.file.path}: {beyond} of the first {len(known)} latitudes are beyond ±90°"
        if not self.plan.source.swapped:
            raise UsageError(
                f"{where}, no longitude is: the two columns are swapped; rename them in the file"
            )
        self.plan.notes.append(f"{where}: the two columns are swapped, which was put right")
        return True


def _coordinates(fields: Fields, row: Mapping[str, Any]) -> tuple[float, float] | None:
    read = fields.read(row)
    locate_answer(read)
    try:
        return float(read["latitude"]), float(read["longitude"])
    except (KeyError, TypeError, ValueError):
        return None


def held(value: Any) -> tuple[bytes, ...]:
    """The images that a value holds: bytes, a struct with bytes as Hugging Face's, or a list."""
    if isinstance(value, bytes):
        return (value,)
    if isinstance(value, dict):
        return held(value.get("bytes"))
    if isinstance(value, list):
        return tuple(data for item in value for data in held(item))
    return ()


def bytes_held(row: Mapping[str, Any]) -> int:
    """How many bytes the images in a row have."""
    return sum(len(data) for value in row.values() for data in held(value))


def image_name(value: Any) -> str:
    """The file's name that a value gives; the first of a list."""
    if isinstance(value, list):
        return image_name(value[0]) if value else ""
    if isinstance(value, dict):
        return image_name(value.get("path"))
    return value if isinstance(value, str) else ""
