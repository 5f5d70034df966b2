"""What is refused and how; and that a preparation that was killed ends as any other."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoagent import cli
from geoagent.data.readers import batches, output
from geoagent.data.readers.batches import Batch
from geoagent.data.readers.images import FileIndex, Workers, hash64
from geoagent.data.readers.output import Output, Seen
from geoagent.data.readers.plan import Plan, Request, make_plan
from geoagent.data.readers.prepare import prepare
from geoagent.data.record import NOT_UTF8, read_records
from geoagent.errors import UsageError
from geoagent.geo.gazetteer import gazetteer
from tests.interrupts import heed_interrupts
from tests.unit.data.readers.publish import (
    LIMA,
    OSV_COLUMNS,
    PARIS,
    osv_row,
    picture,
    put,
    write,
    write_csv,
    write_json,
    write_parquet,
)

GOOD: dict[str, Any] = {"image": "a.jpg", "gt_lat": PARIS[0], "gt_lon": PARIS[1]}
FILES = ("dataset.json", "records.jsonl", "rejected.jsonl", "summary.json")


@pytest.fixture(scope="module", autouse=True)
def places() -> None:
    gazetteer()


@pytest.fixture
def seed(tmp_path: Path) -> Callable[..., Plan]:
    """A plan for GRE30K-Seed of these rows, with images a.jpg, b.jpg and c.jpg."""

    def make(*rows: Any, **changes: Any) -> Plan:
        folder = tmp_path / "in"
        put(folder, "imgs/a.jpg", "imgs/b.jpg", "imgs/c.jpg")
        write_json(folder / "gre_seed.json", list(rows))
        return make_plan(Request("gre30k-seed", folder, **changes))

    return make


def rejected(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rejected.jsonl").read_text().splitlines()]


def content(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


# --- rows ------------------------------------------------------------------------------------

BAD_ROWS = [
    ({**GOOD, "image": "no.jpg"}, "image: 'imgs/no.jpg' does not exist"),
    ({**GOOD, "image": "../../etc/passwd"}, "is outside the dataset folder"),
    ({**GOOD, "image": "cut.jpg"}, "image: 'imgs/cut.jpg' cannot be decoded"),
    ({**GOOD, "image": ""}, "image: missing"),
    ({**GOOD, "image": "a\0.jpg"}, "is not a usable path"),
    ({**GOOD, "gt_lat": 123}, "latitude: 123 is out of range (−90 to 90)"),
    ({**GOOD, "gt_lon": 200.5}, "longitude: 200.5 is out of range (−180 to 180)"),
    ({**GOOD, "gt_lat": "north"}, "latitude: 'north' is not a number"),
    ({**GOOD, "gt_lat": None}, "latitude: missing"),
    ({**GOOD, "gt_lon": float("nan")}, "longitude: missing"),
    ({**GOOD, "gt_lon": float("inf")}, "longitude: 'inf' is not a number"),
    ({**GOOD, "id": ["a"]}, "id: missing, or not a text"),
    ({**GOOD, "id": "first"}, "id 'first' is used by an earlier row"),
    ({**GOOD, "country": {"en": "France"}}, "country: not a text"),
    ([1, 2], "not a JSON object"),
]


@pytest.mark.parametrize(("row", "reason"), BAD_ROWS, ids=[reason for _, reason in BAD_ROWS])
def test_a_bad_row_is_refused_and_the_others_kept(
    seed: Callable[..., Plan], tmp_path: Path, row: Any, reason: str
) -> None:
    write(tmp_path / "in/imgs/cut.jpg", picture()[:300])
    rows = ({**GOOD, "id": "first"}, row, {**GOOD, "id": "last", "image": "b.jpg"})
    summary = prepare(seed(*rows), tmp_path / "out", workers=1)
    records, bad = read_records(tmp_path / "out")
    assert [record.id for record in records] == ["first", "last"]
    assert bad == []
    (line,) = rejected(tmp_path / "out")
    assert (line["file"], line["line"]) == ("gre_seed.json", 2)
    assert reason in line["reason"]
    assert (summary["rows"], summary["records"], summary["rejected"]) == (3, 2, 1)
    assert sum(summary["rejected_by_reason"].values()) == 1


def test_strict_stops_and_leaves_nothing(seed: Callable[..., Plan], tmp_path: Path) -> None:
    plan = seed(GOOD, {**GOOD, "image": "no.jpg"})
    with pytest.raises(UsageError, match=r"gre_seed.json:2: image: 'imgs/no.jpg' does not exist"):
        prepare(plan, tmp_path / "out", workers=1, strict=True)
    assert not (tmp_path / "out").exists()


def test_no_usable_row(seed: Callable[..., Plan], tmp_path: Path) -> None:
    plan = seed({**GOOD, "gt_lat": 95})
    with pytest.raises(UsageError, match=r"no usable row, of 1 rows; the first .*: latitude: 95"):
        prepare(plan, tmp_path / "out", workers=1)
    assert not (tmp_path / "out").exists()


# --- files -----------------------------------------------------------------------------------


def files(tmp_path: Path, *contents: str | bytes) -> Request:
    put(tmp_path / "in", *(f"imgs/{name}.jpg" for name in "abcdef"))
    for number, data in enumerate(contents):
        write(tmp_path / f"in/{number}/gre_seed.json", data)
    return Request("gre30k-seed", tmp_path / "in")


def rows_text(*names: str) -> str:
    return json.dumps([{**GOOD, "image": f"{name}.jpg"} for name in names])


BAD_FILES = [
    ("", "the file is empty"),
    (rows_text("a", "b", "c")[:-30], "not JSON after row 2"),
    (rows_text("a", "b")[:-1], "the file ends without the closing ]"),
    (rows_text("a", "b").replace('}, {"image"', "}} {"), "not JSON after row 1"),
    ('"text"', "neither a JSON array nor an object"),
    ("{not json", "not JSON"),
]


@pytest.mark.parametrize(("data", "reason"), BAD_FILES, ids=[reason for _, reason in BAD_FILES])
def test_a_broken_file_keeps_its_good_rows_and_the_other_files(
    tmp_path: Path, data: str, reason: str
) -> None:
    plan = make_plan(files(tmp_path, data, rows_text("d", "e")))
    prepare(plan, tmp_path / "out", workers=1)
    names = [record.id for record in read_records(tmp_path / "out")[0]]
    assert names[-2:] == ["d.jpg", "e.jpg"]
    (line,) = rejected(tmp_path / "out")
    assert (line["file"], line["line"]) == ("0/gre_seed.json", None)
    assert reason in line["reason"]


def test_a_file_that_gives_nothing_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gre_seed.json: the file is empty"):
        make_plan(files(tmp_path, ""))


def test_a_truncated_parquet(tmp_path: Path) -> None:
    rows = [
        {
            "image": {"bytes": picture(n)},
            "metadata": json.dumps({"uid": str(n), "lat": 1, "lng": n}),
        }
        for n in range(9)
    ]
    whole = write_parquet(tmp_path / "in/data/train-0.parquet", rows)
    cut = write(tmp_path / "in/data/train-1.parquet", whole.read_bytes()[:-9])
    with pytest.raises(UsageError, match=r"not Parquet at all .*; the file is cut or broken"):
        make_plan(Request("geobench", cut))
    prepare(make_plan(Request("geobench", tmp_path / "in")), tmp_path / "out", workers=1)
    assert len(read_records(tmp_path / "out")[0]) == 9
    assert "cut or broken" in rejected(tmp_path / "out")[0]["reason"]


def test_a_parquet_that_is_broken_inside(tmp_path: Path) -> None:
    rows = [{"image": {"bytes": picture(n)}, "lat": 1.0, "lng": n / 7, "id": n} for n in range(200)]
    path = write_parquet(tmp_path / "in/data/train-0.parquet", rows, group=50)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(2000)
    path.write_bytes(data)
    summary = prepare(make_plan(Request("geobench", tmp_path / "in")), tmp_path / "out", workers=1)
    assert 50 <= summary["records"] < 200
    assert summary["rejected"] >= 1


@pytest.mark.parametrize("form", ["lines", "array"])
def test_json_that_is_not_utf8(tmp_path: Path, form: str) -> None:
    put(tmp_path / "in", "imgs/a.jpg")
    rows = [
        json.dumps({**GOOD, "country": name}, ensure_ascii=False) for name in ("Brésil", "Peru")
    ]
    text = "\n".join(rows) if form == "lines" else f"[{', '.join(rows)}]"
    write(tmp_path / "in/gre_seed.json", text.encode("latin1"))
    prepare(make_plan(Request("gre30k-seed", tmp_path / "in")), tmp_path / "out", workers=1)
    assert [row["reason"] for row in rejected(tmp_path / "out")] == [NOT_UTF8]
    assert [record.country for record in read_records(tmp_path / "out")[0]] == ["Peru"]


def test_a_table_that_is_not_utf8(tmp_path: Path) -> None:
    put(tmp_path / "in", "a.jpg", "b.jpg")
    table = "image,latitude,longitude,country\na.jpg,1,2,Peru\nb.jpg,1,2,Brésil\n"
    description = "mine: {title: Mine, files: {train: [train.csv], test: [test.csv]}}\n"
    write(tmp_path / "mine.yaml", description.encode())
    write(tmp_path / "in/test.csv", table.encode("latin1"))
    request = Request(str(tmp_path / "mine.yaml"), tmp_path / "in/test.csv")
    prepare(make_plan(request), tmp_path / "out", workers=1)
    assert [row["reason"] for row in rejected(tmp_path / "out")] == [NOT_UTF8]
    (record,) = read_records(tmp_path / "out")[0]
    assert (record.country, record.split) == ("Peru", "test")  # by the file's name
    write(tmp_path / "in/test.csv", table.encode("utf-16"))
    with pytest.raises(UsageError, match="UTF-16; convert the file"):
        prepare(make_plan(request), tmp_path / "out-16", workers=1)
    (tmp_path / "in/test.csv").rename(tmp_path / "in/other.csv")
    request = Request(str(tmp_path / "mine.yaml"), tmp_path / "in/other.csv")
    with pytest.raises(
        UsageError, match="does not tell its split; say --split train or --split test"
    ):
        make_plan(request)


def test_lines_that_are_no_json(tmp_path: Path) -> None:
    put(tmp_path / "in", "a.jpg")
    lines = ["{cut", json.dumps(GOOD), "", "[]", '{"image": "\ud800"}']
    write(tmp_path / "in/gre_seed.jsonl", "\n".join(lines).encode("utf-8", "surrogatepass"))
    prepare(make_plan(Request("gre30k-seed", tmp_path / "in")), tmp_path / "out", workers=1)
    told = [(row["line"], row["reason"].partition(" (")[0]) for row in rejected(tmp_path / "out")]
    assert told == [(1, "not JSON"), (4, "not a JSON object"), (5, NOT_UTF8)]


def test_a_table_whose_last_row_is_cut(tmp_path: Path) -> None:
    put(tmp_path / "in", "images/train/1.jpg", "images/train/2.jpg")
    path = write_csv(tmp_path / "in/train.csv", OSV_COLUMNS, osv_row(1), osv_row(2))
    write(path, path.read_bytes()[:-40])
    prepare(make_plan(Request("osv5m", tmp_path / "in")), tmp_path / "out", workers=1)
    (line,) = rejected(tmp_path / "out")
    assert line["line"] == 3
    assert line["reason"].endswith("cells, but 26 columns")


# --- folders ---------------------------------------------------------------------------------


def test_a_wrong_folder_says_what_was_expected(tmp_path: Path) -> None:
    write(tmp_path / "in/other.txt", "x")
    with pytest.raises(UsageError) as caught:
        make_plan(Request("osv5m", tmp_path / "in"))
    message = str(caught.value)
    assert "no file of OSV-5M there; expected: train.csv (train); test.csv (test)" in message
    assert "it holds: other.txt" in message


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such file or folder"):
        make_plan(Request("osv5m", tmp_path / "in"))


def test_another_dataset_than_was_said(tmp_path: Path) -> None:
    write_csv(tmp_path / "in/train.csv", "name,price", ["a", "1"])
    with pytest.raises(UsageError, match=r"has coordinates; expected columns: latitude, lat, .*"):
        make_plan(Request("osv5m", tmp_path / "in"))


def test_images_that_are_still_packed(tmp_path: Path) -> None:
    write_csv(tmp_path / "in/train.csv", OSV_COLUMNS, osv_row(1))
    write(tmp_path / "in/images/train/00.zip", b"PK")
    with pytest.raises(UsageError, match=r"such as '1.jpg'; 00.zip is an archive: unpack it"):
        make_plan(Request("osv5m", tmp_path / "in"))


def test_swapped_columns_of_an_unknown_table(tmp_path: Path) -> None:
    put(tmp_path / "in", *(f"{n}.jpg" for n in range(30)))
    rows = [[f"{n}.jpg", 151.2, -33.9] for n in range(30)]
    write_csv(tmp_path / "in/gws15k.csv", "filename,lat,lon", *rows)
    with pytest.raises(UsageError, match="30 of the first 30 latitudes are beyond ±90°"):
        make_plan(Request("gws15k", tmp_path / "in"))


def test_one_name_of_two_images(tmp_path: Path) -> None:
    put(tmp_path / "in", "x/00/1.jpg", "x/01/1.jpg", "x/00/2.jpg")
    write_csv(tmp_path / "in/train.csv", OSV_COLUMNS, osv_row(1), osv_row(2))
    prepare(make_plan(Request("osv5m", tmp_path / "in")), tmp_path / "out", workers=1)
    (line,) = rejected(tmp_path / "out")
    assert line["reason"] == "image: '1.jpg' is the name of 2 files"


def test_a_folder_that_holds_something_else(seed: Callable[..., Plan], tmp_path: Path) -> None:
    kept = write(tmp_path / "out/mine.txt", "mine")
    with pytest.raises(UsageError, match="holds something else already; name a new folder"):
        prepare(seed(GOOD), tmp_path / "out", workers=1)
    assert content(tmp_path / "out") == {"mine.txt": b"mine"}
    with pytest.raises(UsageError, match="is a file"):
        prepare(seed(GOOD), kept, workers=1)


def test_a_folder_inside_the_source(seed: Callable[..., Plan], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is inside .*, which is read; name a folder outside"):
        prepare(seed(GOOD), tmp_path / "in/out", workers=1)


def test_done_already(
    seed: Callable[..., Plan], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = prepare(seed(GOOD), tmp_path / "out", workers=1)
    before = content(tmp_path / "out")
    assert prepare(make_plan(Request("gre30k-seed", tmp_path / "in")), tmp_path / "out", 1) == first
    assert "is prepared already" in capsys.readouterr().err
    with pytest.raises(UsageError, match="was prepared from something else; remove it first"):
        prepare(seed(GOOD, GOOD), tmp_path / "out", workers=1)
    assert content(tmp_path / "out") == before


def test_a_full_disk(
    seed: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Output, name: str, row: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Output, "_write", full)
        with pytest.raises(UsageError, match=r"cannot be written \(No space left on device\)"):
            prepare(seed(GOOD), tmp_path / "out", workers=1)
    assert not (tmp_path / "out/records.jsonl").exists()
    plan = make_plan(Request("gre30k-seed", tmp_path / "in"))
    assert prepare(plan, tmp_path / "out", workers=1)["records"] == 1


def test_a_worker_that_is_killed(
    seed: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(self: Workers, *_: Any) -> None:
        raise BrokenProcessPool

    with monkeypatch.context() as patched:
        patched.setattr(Workers, "look_at", killed)
        with pytest.raises(UsageError, match="start again with fewer --workers"):
            prepare(seed(GOOD), tmp_path / "out", workers=2)


def test_two_at_a_time(seed: Callable[..., Plan], tmp_path: Path) -> None:
    from geoagent.files import claimed

    with (
        claimed(tmp_path / "out/.prepare/lock"),
        pytest.raises(UsageError, match="another process prepares it"),
    ):
        prepare(seed(GOOD), tmp_path / "out", workers=1)


# --- choices ---------------------------------------------------------------------------------


def test_a_limit_counts_usable_rows(seed: Callable[..., Plan], tmp_path: Path) -> None:
    rows = [{**GOOD, "gt_lat": 95 if n % 2 else 5, "id": n} for n in range(9)]
    summary = prepare(seed(*rows, limit=3), tmp_path / "out", workers=1)
    assert (summary["records"], summary["rejected"], summary["rows"]) == (3, 2, 5)


def test_a_split(tmp_path: Path) -> None:
    put(tmp_path / "in", "images/1.jpg", "images/2.jpg")
    write_csv(tmp_path / "in/train.csv", OSV_COLUMNS, osv_row(1))
    write_csv(tmp_path / "in/test.csv", OSV_COLUMNS, osv_row(2))
    summary = prepare(make_plan(Request("osv5m", tmp_path / "in", "test")), tmp_path / "out", 1)
    assert summary["splits"] == {"test": 1}
    with pytest.raises(UsageError, match=r"no usable row in split 'val', of 0 rows"):
        prepare(make_plan(Request("osv5m", tmp_path / "in", "val")), tmp_path / "no", 1)


def test_a_split_that_rows_name(seed: Callable[..., Plan], tmp_path: Path) -> None:
    rows = [{**GOOD, "id": n, "split": "val" if n else "train"} for n in range(3)]
    assert prepare(seed(*rows, split="val"), tmp_path / "out", 1)["splits"] == {"val": 2}


def test_without_images(tmp_path: Path) -> None:
    write_csv(tmp_path / "in/train.csv", OSV_COLUMNS, osv_row(1))
    plan = make_plan(Request("osv5m", tmp_path / "in", check="no"))
    assert prepare(plan, tmp_path / "out", 1)["records"] == 1
    _, bad = read_records(tmp_path / "out")
    assert "does not exist" in bad[0].reason
    assert len(read_records(tmp_path / "out", check_images=False)[0]) == 1


def test_images_that_only_have_to_exist(seed: Callable[..., Plan], tmp_path: Path) -> None:
    write(tmp_path / "in/imgs/text.jpg", "no picture")
    rows = (GOOD, {**GOOD, "image": "text.jpg"}, {**GOOD, "image": "no.jpg"})
    summary = prepare(seed(*rows, check="exists"), tmp_path / "out", workers=1)
    assert summary["rejected_by_reason"] == {"image: … does not exist": 1}


def test_images_elsewhere(tmp_path: Path) -> None:
    put(tmp_path / "pictures", "00/1.jpg")
    write_csv(tmp_path / "in/train.csv", OSV_COLUMNS, osv_row(1))
    plan = make_plan(Request("osv5m", tmp_path / "in", images=tmp_path / "pictures"))
    summary = prepare(plan, tmp_path / "out", workers=1)
    assert summary["images"] == str(tmp_path / "pictures")
    assert read_records(tmp_path / "out")[0][0].image == "00/1.jpg"


def test_links_out_of_the_images_folder_are_not_followed(tmp_path: Path) -> None:
    put(tmp_path, "outside.jpg")
    put(tmp_path / "in", "imgs/a.jpg")
    (tmp_path / "in/imgs/link.jpg").symlink_to(tmp_path / "outside.jpg")
    rows = [GOOD, {**GOOD, "image": "link.jpg"}]
    write_json(tmp_path / "in/gre_seed.json", rows)
    prepare(make_plan(Request("gre30k-seed", tmp_path / "in")), tmp_path / "out", workers=1)
    assert "is outside the dataset folder" in rejected(tmp_path / "out")[0]["reason"]


def test_an_id_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    ids = ["../../x", "/etc/passwd", "a/b", "ü" * 500, "..", "a\0b", "a_b"]
    rows = [{"image": {"bytes": picture()}, "lat": 1.0, "lng": 2.0, "id": name} for name in ids]
    write_parquet(tmp_path / "in/data/x.parquet", rows)
    prepare(make_plan(Request("geobench", tmp_path / "in")), tmp_path / "out", workers=1)
    records, bad = read_records(tmp_path / "out")
    assert [record.id for record in records] == ids
    assert bad == []
    assert len(list((tmp_path / "out/images").iterdir())) == len(ids)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


# --- killed and started again ----------------------------------------------------------------


class KilledError(BaseException):
    pass


def large(tmp_path: Path, count: int) -> Request:
    """Rows of which some are refused and some have images that cannot be decoded."""
    folder = tmp_path / "in"
    put(folder, *(f"imgs/{n}.jpg" for n in range(0, count, 3)))
    write(folder / "imgs/1.jpg", b"no picture")
    rows = [
        {**GOOD, "image": f"{n % 31}.jpg", "gt_lat": 91 if n % 17 == 5 else n % 90}
        for n in range(count)
    ]
    half = count // 2
    write_json(folder / "0/gre_seed.json", rows[:half])
    write(folder / "1/gre_seed.json", json.dumps(rows[half:])[:-30])
    return Request("gre30k-seed", folder)


@pytest.mark.parametrize("moment", range(1, 10, 2))
def test_killed_at_any_moment_it_ends_with_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    request = large(tmp_path, 60)
    monkeypatch.setattr(output, "_SAVED_EVERY_S", 0.0)
    monkeypatch.setattr(
        "geoagent.data.readers.prepare.batches",
        lambda *rest: batches.batches(*rest, size=7),
    )
    summary = prepare(make_plan(request), tmp_path / "whole", workers=1)
    assert summary["records"]
    assert summary["rejected"]
    calls = iter(range(1000))
    saved = Output.save

    def save_or_die(self: Output) -> None:
        if next(calls) == moment:
            for file in self._files.values():
                file.flush()  # written, but not noted
            raise KilledError
        saved(self)

    monkeypatch.setattr(Output, "save", save_or_die)
    with pytest.raises(KilledError):
        prepare(make_plan(request), tmp_path / "out", workers=1)
    assert not (tmp_path / "out/records.jsonl").exists()
    monkeypatch.setattr(Output, "save", saved)
    prepare(make_plan(request), tmp_path / "out", workers=1)
    whole, again = content(tmp_path / "whole"), content(tmp_path / "out")
    assert again == whole
    assert sorted(whole) == list(FILES)


def test_a_part_that_was_lost_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = large(tmp_path, 60)
    with monkeypatch.context() as patched:
        patched.setattr(output, "_SAVED_EVERY_S", 0.0)
        patched.setattr(
            "geoagent.data.readers.prepare.batches",
            lambda *rest: interrupted_after(3, batches.batches(*rest, size=7)),
        )
        with pytest.raises(KilledError):
            prepare(make_plan(request), tmp_path / "out", workers=1)
    (tmp_path / "out/.prepare/records.jsonl").unlink()
    with pytest.raises(UsageError, match=r"records.jsonl: is shorter than it was; remove .*/out"):
        prepare(make_plan(request), tmp_path / "out", workers=1)


def interrupted_after(count: int, items: Iterator[Batch]) -> Iterator[Batch]:
    for number, item in enumerate(items):
        if number == count + 2:  # some are under way
            raise KilledError
        yield item


def test_other_settings_do_not_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = large(tmp_path, 60)

    def die(self: Output, target: Path) -> None:
        raise KilledError

    with monkeypatch.context() as patched:
        patched.setattr(Output, "move", die)
        with pytest.raises(KilledError):
            prepare(make_plan(request), tmp_path / "out", workers=1)
    before = content(tmp_path / "out")
    other = Request("gre30k-seed", request.place, limit=3)
    with pytest.raises(UsageError, match="holds an unfinished preparation of other files or with"):
        prepare(make_plan(other), tmp_path / "out", workers=1)
    assert content(tmp_path / "out") == before
    assert prepare(make_plan(request), tmp_path / "out", workers=1)["records"]


def test_the_command_is_stopped_then_killed_and_ends_well(tmp_path: Path) -> None:
    """The real command with two workers: Ctrl-C while it decodes, then SIGKILL, then nothing."""
    rows = 2000
    put(tmp_path / "in", *(f"imgs/{n}.jpg" for n in range(40)))
    named = {**GOOD, "country": "FR", "region": "Here", "city": "There"}  # nothing to be looked up
    data = [{**named, "image": f"{n % 40}.jpg", "id": n} for n in range(rows)]
    write_json(tmp_path / "in/gre_seed.json", data)
    words = ["data", "prepare", "gre30k-seed", str(tmp_path / "in"), "--workers", "2"]
    command = [sys.executable, "-m", "geoagent.cli", *words]
    whole = subprocess.run([*command, str(tmp_path / "whole")], capture_output=True, check=False)
    assert whole.returncode == 0, whole.stderr
    command.append(str(tmp_path / "out"))
    part = tmp_path / "out/.prepare/records.jsonl"
    assert _interrupted(command, part, signal.SIGINT) == (130, b"stopped\n")
    code, said = _interrupted(command, part, signal.SIGKILL)
    assert code == -signal.SIGKILL, said
    again = subprocess.run(command, capture_output=True, check=False)
    assert again.returncode == 0, again.stderr
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def _interrupted(command: list[str], part: Path, number: signal.Signals) -> tuple[int, bytes]:
    """Start a command and give it a signal once it has written something (Ctrl-C goes to its
    workers as well): its exit code and what it said. No process of it may be left."""
    before = part.stat().st_size if part.exists() else 0
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=heed_interrupts,
    )
    until = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < until:
        if part.exists() and part.stat().st_size not in (0, before):
            (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
            break
        time.sleep(0.005)
    _, said = process.communicate(timeout=60)
    while time.monotonic() < until and _group_lives(process.pid):
        time.sleep(0.05)
    assert not _group_lives(process.pid), "workers outlive the process"
    return process.returncode, said


def _group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


# --- parts -----------------------------------------------------------------------------------


@given(st.lists(st.lists(st.integers(0, 40), max_size=9), max_size=12))
@settings(max_examples=100)
def test_seen_is_a_set(groups: list[list[int]]) -> None:
    seen, truth = Seen(np.array([], dtype=np.uint64)), set()
    for group in groups:
        found = seen.has(np.array(group, dtype=np.uint64)).tolist()
        assert found == [number in truth for number in group]
        seen.add(np.array(sorted(set(group) - truth), dtype=np.uint64))
        truth |= set(group)


def test_the_index_of_files(tmp_path: Path) -> None:
    put(tmp_path, "1.jpg", "x/2.jpg", "x/y/3.jpg", "x/y/d4_d9_4.jpg")
    index = FileIndex(tmp_path)
    assert len(index) == 4
    names = ("1.jpg", "2.jpg", "a/b/3.jpg", "d4/d9/4.jpg", "5.jpg")
    assert [index.path(name) for name in names] == [
        *("1.jpg", "x/2.jpg", "x/y/3.jpg", "x/y/d4_d9_4.jpg", "5.jpg"),
    ]


def test_hashes_do_not_change() -> None:
    """They are kept in unfinished preparations."""
    assert hash64("") == 16476032584258269876
    assert 0 <= hash64("\ud800") < 2**64


# --- the command -----------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = cli.main(["data", "prepare", *words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_command(
    seed: Callable[..., Plan], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed(GOOD, {**GOOD, "image": "no.jpg"})
    source, target = str(tmp_path / "in"), str(tmp_path / "out")
    code, out, err = run(capsys, "gre30k-seed", source, target, "--workers", "1")
    assert code == 2, "a row was refused"
    assert json.loads(out)["countries"] == {"train": 1}
    assert "refused: 1 row: image: … does not exist" in err
    assert f"all of them: {target}/rejected.jsonl" in err
    assert cli.main(["data", "check", target]) == 0


def test_a_dry_run(
    seed: Callable[..., Plan], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seed(GOOD, {**GOOD, "gt_lat": 95}, {**GOOD, "image": "b.jpg"}, GOOD)
    code, out, err = run(capsys, "gre30k-seed", str(tmp_path / "in"), "out", "--dry-run")
    assert code == 2
    assert [json.loads(line)["id"] for line in out.splitlines()] == ["a.jpg", "b.jpg"]
    assert "refused: gre_seed.json:2: latitude: 95 is out of range" in err
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_a_dry_run_writes_no_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    row = {"image": {"bytes": picture()}, "lat": 1.0, "lng": 2.0, "id": "a"}
    write_parquet(tmp_path / "in/data/x.parquet", [row])
    code, out, _ = run(capsys, "geobench", str(tmp_path / "in"), "out", "--dry-run")
    assert code == 0
    assert json.loads(out)["image"] == "images/a.jpg"
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["data", "prepare", "--list"])
    assert ended.value.code == 0
    assert "osv5m                OSV-5M" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["osv", "x", "y"], "osv: no known dataset; did you mean osv5m? There are: "),
        (["osv5m", "x", "y"], "x: there is no such file or folder"),
        (["no.yaml", "x", "y"], "no.yaml: cannot be read"),
        (["osv5m", "x", "y", "--limit", "0"], "0: 1 or more"),
        (["osv5m", "x", "y", "--limit", "ten"], "ten: a whole number, 1 or more"),
    ],
)
def test_wrong_words(capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    put(tmp_path / "in", "pics/1.jpg")
    write(
        tmp_path / "in/list.tsv", "photo\twhere_y\twhere_x\tkind\tjunk\n1\t48.85\t2.35\ttown\tx\n"
    )
    table = write(
        tmp_path / "mine.yaml",
        "mine:\n  title: My pictures\n  files: {train: ['*.tsv']}\n  images: [pics]\n"
        "  fields: {id: photo, image: '{photo}.jpg', latitude: where_y, longitude: where_x}\n"
        "  drop: [junk]\n",
    )
    prepare(make_plan(Request(str(table), tmp_path / "in")), tmp_path / "out", workers=1)
    (record,), _ = read_records(tmp_path / "out")
    assert (record.id, record.image, record.country) == ("1", "pics/1.jpg", "France")
    assert record.extra == {"kind": "town", "place_from": "reverse"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("mine: {title: x}", "missing required field `files`"),
        ("mine: {title: x, files: {train: [a]}, feilds: {}}", "unknown field `feilds`"),
        ("mine: {title: x, files: {train: [a]}, name_pattern: '('}", "does not describe a dataset"),
        ("a: [", "does not describe a dataset"),
        ("!!python/object/apply:os.system ['x']", "does not describe a dataset"),
        ("{}", "describes 0 datasets"),
    ],
)
def test_a_wrong_table(tmp_path: Path, text: str, reason: str) -> None:
    table = write(tmp_path / "mine.yaml", text)
    with pytest.raises(UsageError, match=r"mine.yaml: ") as caught:
        make_plan(Request(str(table), tmp_path))
    assert reason in str(caught.value)


def test_points_without_names_are_given_some(seed: Callable[..., Plan], tmp_path: Path) -> None:
    rows = [
        {**GOOD, "id": "named", "country": "France", "region": "Here", "city": "There"},
        {**GOOD, "id": "partly", "country": "France"},
        {**GOOD, "id": "elsewhere", "country": "Peru"},
        {**GOOD, "id": "sea", "gt_lat": -40.0, "gt_lon": -120.0},
        {**GOOD, "id": "remote", "gt_lat": 24.5, "gt_lon": 3.0},
        {**GOOD, "id": "bare", "gt_lat": LIMA[0], "gt_lon": LIMA[1]},
    ]
    summary = prepare(seed(*rows), tmp_path / "out", workers=1)
    records = {record.id: record for record in read_records(tmp_path / "out")[0]}
    assert records["named"].address == "France; Here; There"
    assert records["partly"].extra["place_from"] == "publisher, reverse"
    assert records["partly"].region
    assert (records["elsewhere"].country_code, records["elsewhere"].city) == ("PE", "")
    assert (records["sea"].address, records["sea"].country) == ("", "")
    assert records["remote"].country == "Algeria"
    assert records["remote"].city == "", "the nearest city is more than 50 km away"
    assert records["bare"].extra["place_from"] == "reverse"
    assert summary["place_from"] == {
        "publisher": 2,
        "reverse": 2,
        "(none)": 1,
        "publisher, reverse": 1,
    }
