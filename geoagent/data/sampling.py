"""Bias-reducing samples of dataset folders, as dataset folders.

`geoagent.data.draw` says which rows are drawn. The sample holds its own images: hard links, or
copies where the file system does not allow links.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from geoagent.data.annotations import columns as annotated
from geoagent.data.annotations import joined
from geoagent.data.balance import as_map, as_tsv
from geoagent.data.draw import Draw, draw
from geoagent.data.pool import Pool, read_pool
from geoagent.data.quotas import WEIGHTS, unknown_figures
from geoagent.data.record import DATASET_FILE, RECORDS_FILE, find_image, image_root
from geoagent.data.trajectory import IMAGES, TRAJECTORY
from geoagent.errors import UsageError
from geoagent.files import (
    link_or_copy,
    new_folder,
    require_new,
    write_atomic,
    write_json,
    write_jsonl,
)
from geoagent.geo.build import version
from geoagent.geo.cells import populations
from geoagent.geo.countries import countries
from geoagent.progress import progress_bar

if TYPE_CHECKING:
    from rich.progress import Progress

METHOD: Final = 1
"""Raise it when the same rows and seed give another sample."""
_IMAGES: Final = "images"
_TABLE, _MAP, _SETTINGS = "sample.tsv", "sample.png", "sample.json"
_OWN: Final = (RECORDS_FILE, DATASET_FILE, _TABLE, _MAP, _SETTINGS)


@dataclass(frozen=True)
class Source:
    """A dataset folder, and how many of its rows are wanted; None: all that can be used."""

    folder: Path
    count: int | None

    @property
    def name(self) -> str:
        return self.folder.resolve().name


def sample(
    sources: Sequence[Source],
    folder: Path | None,
    seed: int = 0,
    split: str | None = None,
) -> dict[str, Draw]:
    """Draw from each source and write a new dataset folder; without one, only draw.

    Returns the draws by the sources' names. Rows are as they were, but `image` is where links led
    to. Of several sources, `source` is the source's name, and it is put in front of the id, and of
    the image's path. UsageError: a source has too few usable rows, or the folder exists already.
    """
    _check(sources, folder)
    with progress_bar() as bar:
        draws = {source.name: _drawn(source, seed, split, bar) for source in sources}
        if folder is None:
            return draws
        with new_folder(folder) as part:
            placed = _write(part, draws, bar)
            write_atomic(part / _TABLE, as_tsv(draws))
            write_atomic(part / _MAP, _png(draws))
            write_json(part / _SETTINGS, _settings(sources, draws, seed, split, placed))
    return draws


def _check(sources: Sequence[Source], folder: Path | None) -> None:
    """What can be known to fail before anything is read."""
    for source in sources:
        if source.count is not None and source.count < 1:
            raise UsageError(
                f"{source.folder}: {source.count} rows asked for; 1 or more are needed"
            )
    names = [source.name for source in sources]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"two sources are called {twice}; their names tell their rows apart")
    if folder is not None:
        require_new(folder)


def _drawn(source: Source, seed: int, split: str | None, bar: Progress) -> Draw:
    root = image_root(source.folder)
    pool = read_pool(source.folder, seed, split, bar)
    with pool.file.open("rb") as file:
        return draw(
            pool, populations(), source.count, lambda places: _lost(pool, root, places, file)
        )


def _lost(pool: Pool, root: Path, places: Sequence[int], file: BinaryIO) -> list[int]:
    """Rows whose image isn't there. Only rows that were drawn are looked at: to look at millions
    of files takes longer than all the rest."""
    lost = []
    for place in places:
        row = pool.read(place, file)
        try:
            for image in _files(row, root):
                if _name(image, root, "") in _OWN:
                    raise ValueError(f"image: {image.name!r} is no image")
        except ValueError as error:
            pool.refuse(place, str(row["id"])[:200], str(error), file)
            lost.append(place)
    return lost


def _write(part: Path, draws: Mapping[str, Draw], bar: Progress) -> dict[str, int]:
    """records.jsonl and the images; returns how many images were linked and copied."""
    placed = {"linked": 0, "copied": 0}
    task = bar.add_task("writing", total=sum(len(drawn.chosen) for drawn in draws.values()))

    def rows() -> Iterator[dict[str, Any]]:
        for name, drawn in draws.items():
            prefix = name if len(draws) > 1 else ""
            root = image_root(drawn.pool.folder)
            for row in _chosen(drawn, prefix):
                try:
                    images = _files(row, root)
                except ValueError as error:  # it was there a moment ago
                    raise UsageError(f"{drawn.pool.file}: {row['id']}: {error}") from error
                names = [_name(image, root, prefix) for image in images]
                for image, called in zip(images, names, strict=True):
                    if how := link_or_copy(image, part / called):  # rows may share one
                        placed[how] += 1
                row["image"] = names[0]
                if _has_crops(row):
                    row[IMAGES] = names
                yield row
                bar.advance(task)

    write_jsonl(part / RECORDS_FILE, rows())
    return placed


def _chosen(drawn: Draw, prefix: str) -> Iterator[dict[str, Any]]:
    """The chosen rows in the file's order, with what was annotated; their ids are unique among
    several sources."""
    said = annotated(drawn.pool.folder)
    with drawn.pool.file.open("rb") as file:
        for place in drawn.chosen.tolist():
            row = drawn.pool.read(place, file)
            row = joined(row, said.get(str(row["id"]), {}))
            yield {**row, "id": f"{prefix}-{row['id']}", "source": prefix} if prefix else row


def _files(row: Mapping[str, Any], root: Path) -> list[Path]:
    """The files of a row: its image, which is the first also of a trajectory's, and its crops.
    ValueError if one is not there or is outside the folder."""
    names = [row["image"], *(row[IMAGES][1:] if _has_crops(row) else ())]
    return [find_image(root, str(name)) for name in names]


def _has_crops(row: Mapping[str, Any]) -> bool:
    return TRAJECTORY in row and isinstance(row.get(IMAGES), list)


def _name(image: Path, root: Path, prefix: str) -> str:
    """What an image is called in the sample: as it was; of several sources, each has a folder."""
    inside = image.relative_to(root)
    return (Path(_IMAGES, prefix, inside) if prefix else inside).as_posix()


def _png(draws: Mapping[str, Draw]) -> bytes:
    from geoagent.figures.style import to_png

    return to_png(as_map(draws))


def _settings(
    sources: Sequence[Source],
    draws: Mapping[str, Draw],
    seed: int,
    split: str | None,
    placed: Mapping[str, int],
) -> dict[str, Any]:
    """All that the sample depends on, and what came of it."""
    return {
        "method": METHOD,
        "seed": seed,
        "split": split,
        "weights": dict(WEIGHTS),
        "gazetteer": version(),
        "images": dict(placed),
        "sources": [
            {
                "name": source.name,
                "folder": str(source.folder.resolve()),
                "count": source.count,
                **_outcome(draws[source.name]),
            }
            for source in sources
        ],
    }


def _outcome(drawn: Draw) -> dict[str, Any]:
    pool = drawn.pool
    columns = [getattr(drawn, name).tolist() for name in ("rows", "quota", "taken", "lacking")]
    lines = dict(zip(countries(), zip(*columns, strict=True), strict=True))
    return {
        "records_sha256": pool.sha256,
        "rows": pool.rows,
        "usable": int(drawn.rows.sum()),
        "at_sea": pool.at_sea,
        "rejected_by_reason": dict(pool.refusals.counts.most_common()),
        "lacking": int(drawn.lacking.sum()),
        "unknown_figures": unknown_of(drawn),
        "countries": {
            code: dict(zip(("rows", "quota", "taken", "lacking"), line, strict=True))
            for code, line in lines.items()
            if line[0] or line[1]
        },
    }


def unknown_of(drawn: Draw) -> dict[str, list[str]]:
    """The figures that count as 0 for want of a source, with the countries in the pool that they
    are of."""
    has = dict(zip(countries(), drawn.rows.tolist(), strict=True))
    found = {
        name: [code for code in codes if has[code]] for name, codes in unknown_figures().items()
    }
    return {name: codes for name, codes in found.items() if codes}
