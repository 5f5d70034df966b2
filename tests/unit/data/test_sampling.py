"""`geoagent data sample`: dataset folders in, a dataset folder out."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from geoagent import cli
from geoagent.data import sampling
from geoagent.data.annotations import ELEMENTS
from geoagent.data.pool import _EXAMPLES, named, read_pool
from geoagent.data.record import NOT_UTF8, read_records, reason_kind
from geoagent.data.sampling import Source, sample
from geoagent.data.trajectory import trajectory_row
from geoagent.errors import UsageError
from geoagent.files import write_json, write_jsonl
from geoagent.geo.cells import COLUMNS, ROWS, cell_of, populations
from geoagent.geo.countries import countries

pytestmark = pytest.mark.unit

PLACES = {
    "Peru": [(-12.05, -77.04), (-9.53, -77.53), (-13.53, -71.97), (-3.75, -73.25)],
    "France": [(48.85, 2.35), (43.30, 5.37), (45.76, 4.84), (47.22, -1.55)],
    "Liechtenstein": [(47.14, 9.52)],
}
CODES = [*countries()]


def rows(each: int = 10) -> list[dict[str, object]]:
    """Rows whose country is told by name only."""
    found = []
    for country, points in PLACES.items():
        for number in range(each * len(points)):
            latitude, longitude = points[number % len(points)]
            name = f"{country.lower()}-{number}"
            found.append(
                {
                    "id": name,
                    "image": f"images/{country}/{name}.png",
                    "latitude": latitude,
                    "longitude": longitude,
                    "country": country,
                    "locatability": number % 10,
                }
            )
    return found


def dataset(folder: Path, lines: list[dict[str, object]]) -> Path:
    folder.mkdir(parents=True)
    write_jsonl(folder / "records.jsonl", lines)
    for row in lines:
        image = folder / str(row["image"])
        image.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), str(row.get("color", "red"))).save(image)
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return dataset(tmp_path / "world", rows())


def written(folder: Path) -> list[dict[str, object]]:
    lines = (folder / "records.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def contents(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_a_sample_is_a_dataset_folder_of_its_own(source: Path, tmp_path: Path) -> None:
    draws = sample([Source(source, 30)], tmp_path / "out")
    shutil.move(source, tmp_path / "elsewhere")
    records, rejected = read_records(tmp_path / "out")
    assert (len(records), rejected) == (30, [])
    before = {row["id"]: row for row in rows()}
    for row in written(tmp_path / "out"):
        assert row == before[row["id"]]
    ids = [row["id"] for row in written(tmp_path / "out")]
    assert ids == [name for name in before if name in ids], "not in the order of the source"
    by_country = [sum(record.country == country for record in records) for country in PLACES]
    taken = dict(zip(CODES, draws["world"].taken.tolist(), strict=True))
    assert by_country == [taken["PE"], taken["FR"], taken["LI"]]
    assert taken["FR"] > taken["PE"] > 5 * taken["LI"]


def test_splits_are_not_mixed_without_a_word(tmp_path: Path) -> None:
    lines = [{**row, "split": "test" if n % 3 else "train"} for n, row in enumerate(rows())]
    source = dataset(tmp_path / "both", lines)
    with pytest.raises(UsageError, match=r"has the splits test \(\d+\), train \(\d+\); .* --split"):
        sample([Source(source, 9)], tmp_path / "out")
    sample([Source(source, 9)], tmp_path / "out", split="train")
    assert {row["split"] for row in written(tmp_path / "out")} == {"train"}


def test_trajectories_come_with_their_crops(tmp_path: Path) -> None:
    turns = [
        {"role": "user", "content": "<image>Where? <image>"},
        {"role": "assistant", "content": "<think>So.</think><answer>Peru</answer>"},
    ]
    sources = []
    for name, color in (("one", "red"), ("two", "blue")):
        crops = [{"image": f"crops/{n}.png", "color": color} for n in range(40)]
        lines = [
            {**row, "trajectory": turns, "images": [row["image"], crops[n]["image"]]}
            for n, row in enumerate(rows(4)[:30])
        ]
        folder = dataset(tmp_path / name, [*lines, *crops])
        write_jsonl(folder / "records.jsonl", [*lines, {**lines[0], "id": "lost", "images": lines}])
        sources.append(Source(folder, 5))
    sample(sources, tmp_path / "out")
    records, _ = read_records(tmp_path / "out", strict=True)
    assert len(records) == 10
    for record in records:
        row = trajectory_row(record, tmp_path / "out")
        with Image.open(row["images"][1]) as crop:
            red = crop.convert("RGB").getpixel((0, 0)) == (255, 0, 0)
        assert red == record.id.startswith("one-")
    sample(sources[:1], tmp_path / "single")
    assert trajectory_row(read_records(tmp_path / "single")[0][0], tmp_path / "single")


def test_annotations_come_with_their_images(source: Path, tmp_path: Path) -> None:
    scene = dict.fromkeys(ELEMENTS, "no")
    said = {"locatability": 10, "scene": scene, "model": "m", "prompt": 1}
    lines = [{"id": str(row["id"]), **said} for row in rows()]
    write_jsonl(source / "annotations.jsonl", lines)
    sample([Source(source, 20)], tmp_path / "sample", seed=0)
    records, _ = read_records(tmp_path / "sample")
    assert {record.extra["scene"]["sign"] for record in records} == {"no"}
    assert 10 not in {record.extra["locatability"] for record in records}  # a row's own counts


def test_what_is_written_beside_it_tells_how_it_was_made(source: Path, tmp_path: Path) -> None:
    sample([Source(source, 30)], tmp_path / "out", seed=3)
    made = json.loads((tmp_path / "out" / "sample.json").read_text())
    assert (made["seed"], made["split"]) == (3, None)
    assert made["images"] == {"linked": 30, "copied": 0}
    (one,) = made["sources"]
    assert one["folder"] == str(source)
    assert (one["count"], one["rows"], one["usable"]) == (30, 90, 90)
    with (tmp_path / "out" / "sample.tsv").open() as file:
        table = list(csv.DictReader(file, delimiter="\t"))
    for column in ("rows", "quota", "taken", "lacking"):
        by_country = {row["country_code"]: int(row[column]) for row in table}
        assert by_country == {code: line[column] for code, line in one["countries"].items()}
    assert sum(int(row["quota"]) for row in table) == 30
    # Countries that have no rows in this source had quotas.
    assert one["lacking"] == sum(int(row["lacking"]) for row in table) > 0
    assert sum(float(row["taken_share"]) for row in table) == pytest.approx(1, abs=1e-4)
    with Image.open(tmp_path / "out" / "sample.png") as image:
        assert image.width == 1200


def test_the_same_again_is_the_same_to_the_byte(source: Path, tmp_path: Path) -> None:
    for name, seed in (("one", 0), ("again", 0), ("other", 1)):
        sample([Source(source, 20)], tmp_path / name, seed)
    assert contents(tmp_path / "one") == contents(tmp_path / "again")
    assert written(tmp_path / "one") != written(tmp_path / "other")


def test_several_sources_in_one_sample(source: Path, tmp_path: Path) -> None:
    other = dataset(tmp_path / "more", [{**row, "color": "blue"} for row in rows(2)])
    sample([Source(source, 20), Source(other, 10)], tmp_path / "out")
    records, rejected = read_records(tmp_path / "out")
    assert rejected == []
    assert [record.id.partition("-")[0] for record in records] == ["world"] * 20 + ["more"] * 10
    assert Counter(record.extra["source"] for record in records) == {"world": 20, "more": 10}
    with Image.open(tmp_path / "out" / records[-1].image) as image:
        assert image.getpixel((0, 0)) == (0, 0, 255)


def test_images_are_copied_where_they_cannot_be_linked(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other_file_system(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", other_file_system)
    sample([Source(source, 5)], tmp_path / "out")
    assert len(read_records(tmp_path / "out", strict=True)[0]) == 5
    made = json.loads((tmp_path / "out" / "sample.json").read_text())
    assert made["images"] == {"linked": 0, "copied": 5}


def test_rows_may_share_an_image_and_keep_it_anywhere_in_the_folder(tmp_path: Path) -> None:
    lines = [{**row, "image": "a/../one.png"} for row in rows(1)]
    (tmp_path / "set" / "a").mkdir(parents=True)
    write_jsonl(tmp_path / "set" / "records.jsonl", lines)
    Image.new("RGB", (4, 4)).save(tmp_path / "set" / "one.png")
    sample([Source(tmp_path / "set", 3)], tmp_path / "out")
    records, _ = read_records(tmp_path / "out", strict=True)
    assert {record.image for record in records} == {"one.png"}


def test_the_files_of_a_sample_are_not_its_images(source: Path, tmp_path: Path) -> None:
    sample([Source(source, 30)], tmp_path / "first")
    lines = written(tmp_path / "first")
    for row, name in zip(lines, ("records.jsonl", "sample.png"), strict=False):
        row["image"] = name
    write_jsonl(tmp_path / "first" / "records.jsonl", lines)
    with pytest.raises(UsageError, match="at most 28 rows can be used"):
        sample([Source(tmp_path / "first", 29)], tmp_path / "second")
    sample([Source(tmp_path / "first", 28)], tmp_path / "second")
    assert len(read_records(tmp_path / "second", strict=True)[0]) == 28


def test_images_outside_the_folder_stay_there(source: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"mine")
    lines = rows()
    lines[0]["image"] = "../secret.png"
    lines[1]["image"] = "images/link.png"
    (source / "images" / "link.png").symlink_to(tmp_path / "secret.png")
    write_jsonl(source / "records.jsonl", lines)
    draws = sample([Source(source, 88)], tmp_path / "out")
    assert draws["world"].pool.refusals.counts == {"image: … is outside the dataset folder": 2}
    assert b"mine" not in contents(tmp_path / "out").values()


def test_images_of_a_source_may_be_elsewhere(source: Path, tmp_path: Path) -> None:
    prepared = tmp_path / "prepared"
    prepared.mkdir()
    write_jsonl(prepared / "records.jsonl", rows())
    write_json(prepared / "dataset.json", {"images": str(source)})
    sample([Source(prepared, 20)], tmp_path / "out")
    shutil.rmtree(source)
    assert len(read_records(tmp_path / "out", strict=True)[0]) == 20


def test_rows_without_their_image_are_replaced(source: Path, tmp_path: Path) -> None:
    gone = [row for row in rows() if row["id"].endswith(("1", "2", "3", "4"))]
    for row in gone:
        (source / str(row["image"])).unlink()
    draws = sample([Source(source, 40)], tmp_path / "out")
    assert len(read_records(tmp_path / "out", strict=True)[0]) == 40
    refusals = draws["world"].pool.refusals
    (kind,) = refusals.counts
    assert kind == "image: … does not exist"
    assert 0 < refusals.counts[kind] <= len(gone)
    lines = [row["id"] for row in rows()]
    assert all(lines[example.line - 1] == example.id for example in refusals.examples)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ({"latitude": 91}, "latitude: … is out of range"),
        ({"longitude": None}, "longitude: missing"),
        ({"image": ""}, "image: missing"),
        ({"id": None}, "id: missing, or not a text"),
        ({"id": "peru-0"}, "id … is used by an earlier row"),
        ({"country": 7}, "country: not a text"),
    ],
)
def test_bad_rows_are_told_and_never_drawn(
    tmp_path: Path, bad: dict[str, object], reason: str
) -> None:
    lines = rows(1)
    folder = dataset(tmp_path / "set", lines)
    worse = [{**lines[0], "id": f"bad-{number}", **bad} for number in range(_EXAMPLES + 2)]
    write_jsonl(folder / "records.jsonl", [*lines, *worse])
    draws = sample([Source(folder, len(lines))], None)
    refusals = draws["set"].pool.refusals
    assert refusals.counts == {reason: _EXAMPLES + 2}
    assert [example.line for example in refusals.examples] == [
        len(lines) + number for number in range(1, _EXAMPLES + 1)
    ]


def test_lines_that_are_no_rows_are_told(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "set", rows(1))
    with (folder / "records.jsonl").open("ab") as file:
        file.write(b'\n{"id": \xff\n[1]\n' + b"[" * 100_000 + b"\n")
    pool = read_pool(folder, 0)
    assert len(pool.marks) == 9
    assert pool.rows == 12
    expected = {"not JSON", reason_kind(NOT_UTF8), "not a JSON object"}
    assert set(pool.refusals.counts) == expected


def test_a_country_is_known_by_code_or_name_or_place_and_the_sea_is_none(tmp_path: Path) -> None:
    base = {"latitude": -12.05, "longitude": -77.04}
    lines = [
        {**base, "country_code": "fr", "country": "Peru"},
        {**base, "country_code": "??", "country": "Frankreich"},
        {**base, "country_code": "FRA"},
        {**base, "country": "Nowhere at all"},
        base,
        {"latitude": 0, "longitude": -30, "country": "Atlantis"},
    ]
    (tmp_path / "set").mkdir()
    texts = [{"id": number, "image": "a.png", **line} for number, line in enumerate(lines)]
    write_jsonl(tmp_path / "set" / "records.jsonl", texts)
    pool = read_pool(tmp_path / "set", 0)
    assert [CODES[number] for number in pool.countries] == ["FR", "FR", "FR", "PE", "PE"]
    assert pool.at_sea == 1
    assert named("", "") == -1


def test_only_rows_of_the_split_are_drawn(source: Path, tmp_path: Path) -> None:
    lines = [{**row, "split": "test" if k % 3 else ""} for k, row in enumerate(rows())]
    write_jsonl(source / "records.jsonl", lines)
    sample([Source(source, 10)], tmp_path / "out", split="test")
    assert {row["split"] for row in written(tmp_path / "out")} == {"test"}
    assert read_pool(source, 0, "test").rows == 60
    assert read_pool(source, 0, "train").rows == 30


def test_what_is_there_is_not_replaced(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        sample([Source(source, 5)], tmp_path / "out")
    assert contents(tmp_path / "out") == {"mine.txt": b"mine"}


def test_when_it_fails_nothing_is_left(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    monkeypatch.setattr(os, "link", full)
    with pytest.raises(UsageError, match=r"out: cannot be written .No space left"):
        sample([Source(source, 5)], tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["world"]


def test_a_file_that_changes_meanwhile_is_noticed(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changing(*arguments: object) -> object:
        pool = read_pool(*arguments)
        write_jsonl(source / "records.jsonl", rows()[::-1])
        return pool

    monkeypatch.setattr(sampling, "read_pool", changing)
    with pytest.raises(UsageError, match=r"records\.jsonl: was changed"):
        sample([Source(source, 20)], tmp_path / "out")


def test_a_row_with_half_a_surrogate_pair_is_written_as_it_was(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "set", [{**rows(1)[0], "note": "x"}])
    text = (folder / "records.jsonl").read_text().replace('"x"', '"\\ud800"')
    (folder / "records.jsonl").write_text(text)
    sample([Source(folder, 1)], tmp_path / "out")
    assert written(tmp_path / "out")[0]["note"] == "\ud800"


# --- the command -----------------------------------------------------------------------------


def run(*words: object) -> int:
    return cli.main(["data", "sample", *map(str, words)])


def test_the_command_prints_the_table_and_the_file(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(source, tmp_path / "out", "--count", 30) == 0
    output = capsys.readouterr()
    assert output.out.splitlines()[-1] == str(tmp_path / "out" / "records.jsonl")
    assert "France" in output.out
    assert "world: countries with fewer rows than their quota: " in output.err


def test_a_dry_run_writes_nothing_and_prints_the_same_table(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(source, tmp_path / "out", "--count", 30, "--dry-run") == 0
    dry = capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["world"]
    run(source, tmp_path / "out", "--count", 30)
    assert capsys.readouterr().out.startswith(dry)


def test_counts_may_follow_the_folders(source: Path, tmp_path: Path) -> None:
    dataset(tmp_path / "more", rows(2))
    dataset(tmp_path / "set:7", rows(2))
    words = (f"{source}:12", tmp_path / "more", tmp_path / "set:7", tmp_path / "out")
    assert run(*words, "--count", 3) == 0
    counts = Counter(row["source"] for row in written(tmp_path / "out"))
    assert counts == {"world": 12, "more": 3, "set:7": 3}


def test_all_that_can_be_used_may_be_taken(source: Path, tmp_path: Path) -> None:
    with (source / "records.jsonl").open("a") as file:
        file.write("{}\n")
    next((source / "images").rglob("*.png")).unlink()
    dataset(tmp_path / "more", rows(2))
    words = (f"{source}:all", f"{tmp_path}/more:3", tmp_path / "out")
    assert run(*words) == 2
    counts = Counter(row["source"] for row in written(tmp_path / "out"))
    assert counts == {"world": 89, "more": 3}
    about = json.loads((tmp_path / "out" / "sample.json").read_text())["sources"][0]
    assert (about["count"], about["lacking"]) == (None, 0)


@pytest.mark.parametrize("seed", [-1, 10**100])
def test_any_whole_number_is_a_seed(source: Path, tmp_path: Path, seed: int) -> None:
    assert run(source, tmp_path / "out", "--count", 3, f"--seed={seed}") == 0


def test_refused_rows_make_the_exit_code_2_and_the_sample_is_there(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (source / "records.jsonl").open("a") as file:
        file.write("{}\n" * 8)
    assert run(source, tmp_path / "out", "--count", 5) == 2
    error = capsys.readouterr().err
    assert f"error: {source}/records.jsonl:91: id: missing, or not a text" in error
    assert "… and 3 more rows: id: missing, or not a text" in error
    assert len(written(tmp_path / "out")) == 5


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("{world}", "--count", "5"), "arguments are required: DST"),
        (("{world}", "{out}"), "how many? give --count M, or name it"),
        (("{world}", "{out}", "--count", "0"), "0 rows asked for"),
        (("{world}", "{out}", "--count", "91"), "90 rows can be used, fewer than the 91 asked for"),
        (("{world}", "{world}", "--count", "5"), "exists already"),
        (("{world}", ".", "--count", "5"), "exists already"),
        (("{world}", "{world}/records.jsonl/x", "--count", "5"), "x: cannot be written"),
        (("{world}:5", "{world}:5", "{out}"), "two sources are called world"),
        (("{out}/none", "{out}", "--count", "5"), "there is no such folder"),
        (("{world}/images", "{out}", "--count", "5"), "a dataset folder needs this file"),
        (("{world}", "{out}", "--count", "5", "--split", "x"), "0 rows can be used"),
        (("{world}:all", "{out}", "--split", "x"), "0 rows can be used"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line(
    source: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    message: str,
) -> None:
    names = {"world": source, "out": tmp_path / "out"}
    assert run(*(word.format(**names) for word in words)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert message in error
    assert not (tmp_path / "out").exists()


# --- cells -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("latitude", "longitude", "cell"),
    [
        (-90, -180, 0),
        (-89.5, -178.5, 1),
        (-90, 179.999, COLUMNS - 1),
        (-90, 180, 0),
        (-89, -180, COLUMNS),
        (90, 179.5, ROWS * COLUMNS - 1),
        (-0.001, -0.001, 89 * COLUMNS + 179),
        (0, 0, 90 * COLUMNS + 180),
    ],
)
def test_cells_are_numbered_from_the_south_west(
    latitude: float, longitude: float, cell: int
) -> None:
    assert cell_of(latitude, longitude) == cell


def test_people_live_in_cities_and_not_at_sea() -> None:
    people = populations()
    assert people.sum() > 4e9
    assert people[cell_of(35.69, 139.69)] > 8_000_000  # Tokyo
    assert people[cell_of(0.5, -30.5)] == 0
