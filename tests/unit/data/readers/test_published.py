"""Each dataset in its publisher's form, from the files to a folder that a run accepts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from geoagent.data.judge import Judge, read_judge, to_judge
from geoagent.data.readers.plan import Request, make_plan
from geoagent.data.readers.prepare import prepare
from geoagent.data.readers.sources import sources
from geoagent.data.record import Record, read_records
from geoagent.geo.gazetteer import gazetteer
from tests.unit.data.readers.publish import (
    LIMA,
    NAIROBI,
    OSV_COLUMNS,
    PARIS,
    chain,
    osv_row,
    picture,
    put,
    write,
    write_csv,
    write_json,
    write_parquet,
)


@pytest.fixture(scope="module", autouse=True)
def places() -> None:
    gazetteer()


def converted(name: str, place: Path, **changes: Any) -> dict[str, Record]:
    """Prepare a dataset and read it as a run does, with its images."""
    folder = place.parent / f"prepared-{name}"
    prepare(make_plan(Request(name, place, **changes)), folder, workers=1)
    records, rejected = read_records(folder)
    assert rejected == []
    return {record.id: record for record in records}


def turns(human: str, machine: str) -> list[dict[str, str]]:
    return [{"from": "human", "value": f"<image>\n{human}"}, {"from": "gpt", "value": machine}]


# --- GeoSeek: the forms that the README and the scripts tell ---------------------------------


def geoseek_columns(folder: Path) -> None:
    put(folder, "images/a.jpg", "images/b.jpg")
    row = {"latitude": PARIS[0], "longitude": PARIS[1], "country": "France", "city": "Paris"}
    row |= {"precise_location": "Montmartre", "cot": json.loads(chain("France", "Paris", "M"))}
    write_json(folder / "GeoSeek_CoT.json", [{**row, "image": f"images/{n}.jpg"} for n in "ab"])


def geoseek_swift(folder: Path) -> None:
    put(folder, "images/a.jpg")
    said = f"<think>{chain('France', 'Paris', 'Montmartre')}</think>"
    said += "<answer>France; Paris; Montmartre</answer>"
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "<image>Where?"},
        {"role": "assistant", "content": said},
    ]
    row = {"messages": messages, "images": ["images/a.jpg"], "lat": PARIS[0], "lon": PARIS[1]}
    write(folder / "geoseek_cot_train.jsonl", json.dumps(row) + "\n")


@pytest.mark.parametrize("form", [geoseek_columns, geoseek_swift])
def test_geoseek_cot(tmp_path: Path, form: Callable[[Path], None]) -> None:
    form(tmp_path / "in")
    record = converted("geoseek-cot", tmp_path / "in")["images/a.jpg"]
    assert record.address == "France; Paris; Montmartre"
    assert (record.country, record.region, record.city) == ("France", "Paris", "Montmartre")
    assert record.country_code == "FR"
    assert record.split == "train"
    assert record.think
    assert set(json.loads(record.think)) == {"ChainOfThought", "FinalAnswer"}


def test_geoseek_loc(tmp_path: Path) -> None:
    put(tmp_path / "in", "a.jpg", "b.jpg")
    place = {"ground_truth_lat": LIMA[0], "ground_truth_lon": LIMA[1]}
    rows: list[dict[str, Any]] = [{"image": "/nfs/somewhere/else/a.jpg", **place}]
    rows.append(
        {"images": ["b.jpg"], **place, "solution": "<answer>Peru；Lima；Miraflores</answer>"}
    )
    write_json(tmp_path / "in" / "GeoSeek_Loc.json", rows)
    records = converted("geoseek-loc", tmp_path / "in")
    first, second = records.values()
    assert first.image == "a.jpg"
    assert (first.country, first.extra["place_from"]) == ("Peru", "reverse")
    assert first.city
    assert second.address == "Peru; Lima; Miraflores"
    assert "place_from" not in second.extra


def test_geoseek_val(tmp_path: Path) -> None:
    put(tmp_path / "in", "images/a.jpg")
    row = {"id": 7, "image": "a.jpg", "lat": PARIS[0], "lng": PARIS[1], "locatability_score": 8}
    row["scene_elements"] = {"buildings": "yes", "sign": "maybe", "mountains_and_rivers": "no"}
    write_json(tmp_path / "in" / "GeoSeek_Val.json", [row])
    record = converted("geoseek-val", tmp_path / "in")["7"]
    assert record.split == "test"
    assert record.extra["locatability"] == 8
    assert record.extra["buildings"] == "yes"
    assert record.extra["mountains_and_rivers"] == "no"


# --- GRE -------------------------------------------------------------------------------------


def test_gre30k_cot(tmp_path: Path) -> None:
    folder = tmp_path / "in" / "gre_cot"
    put(folder, "imgs/x.jpg", "imgs/y.jpg")
    rows = [
        {
            "image": f"images/{name}.jpg",
            "conversations": turns(
                "Think.", "It looks like France. Latitude: 48.9, Longitude: 2.4"
            ),
            "gt_lat": PARIS[0],
            "gt_lon": PARIS[1],
        }
        for name in "xy"
    ]
    write_json(folder / "gre_cot.json", rows)
    record = converted("gre30k-cot", tmp_path / "in")["images/x.jpg"]
    assert record.image == "gre_cot/imgs/x.jpg"
    assert record.think == "It looks like France. Latitude: 48.9, Longitude: 2.4"
    assert record.extra["instructions"] == "Think."
    assert record.country == "France"


def test_gre30k_judge_keeps_two_rows_of_one_image(tmp_path: Path) -> None:
    folder = tmp_path / "in" / "gre_judge"
    put(folder, "imgs/x.jpg")
    row = {"image": "images/x.jpg", "gt_lat": PARIS[0], "gt_lon": PARIS[1]}
    row |= {"predicted_cot": "Signs.", "predicted_answer": "[48.9, 2.4]"}
    rows = [{**row, "conversations": turns("Right?", said)} for said in ("True", "False")]
    write_json(folder / "gre_judge.json", rows)
    records = converted("gre30k-judge", tmp_path / "in")
    assert [record.id for record in records.values()] == ["images/x.jpg", "images/x.jpg#2"]
    assert [record.extra["label"] for record in records.values()] == [True, False]
    record = records["images/x.jpg"]
    assert record.think is None
    assert record.extra["predicted_cot"] == "Signs."
    assert record.extra["predicted_answer"] == "[48.9, 2.4]"
    assert record.extra["instructions"] == "Right?"
    usable, refused = read_judge(tmp_path / "prepared-gre30k-judge")  # as judge.path has it
    judges = [to_judge(row.extra) for row in usable]
    assert judges == [Judge("Signs.", "[48.9, 2.4]", said) for said in (True, False)]
    assert not refused


def test_a_label_that_is_none_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "in", "imgs/x.jpg")
    row = {"image": "images/x.jpg", "gt_lat": PARIS[0], "gt_lon": PARIS[1]}
    rows = [{**row, "conversations": turns("Right?", said)} for said in ("True", "perhaps")]
    write_json(tmp_path / "in" / "gre_judge.json", [*rows, row])
    plan = make_plan(Request("gre30k-judge", tmp_path / "in"))
    summary = prepare(plan, tmp_path / "out", workers=1)
    assert (summary["records"], summary["rejected"]) == (1, 2)
    assert summary["rejected_by_reason"] == {"label: … is not True or False": 2}


def test_gre30k_seed(tmp_path: Path) -> None:
    folder = tmp_path / "in" / "gre_seed"
    put(folder, "imgs/x.jpg")
    row = {"image": "images/x.jpg", "instructions": "Where?", "gt_lat": LIMA[0], "gt_lon": LIMA[1]}
    write(folder / "gre_seed.jsonl", json.dumps(row))
    record = converted("gre30k-seed", folder / "gre_seed.jsonl")["images/x.jpg"]
    assert record.extra["instructions"] == "Where?"
    assert (record.latitude, record.longitude) == LIMA


def test_greval_bench(tmp_path: Path) -> None:
    folder = tmp_path / "in" / "bench_data"
    put(folder, "imgs/5.jpg")
    row = {"sample_id": "s5", "image_path": "imgs/5.jpg", "gt_cot": "1. A sign."}
    write_json(folder / "GREval-Bench.json", [{**row, "gt_lat": LIMA[0], "gt_lon": LIMA[1]}])
    record = converted("greval-bench", tmp_path / "in")["s5"]
    assert record.split == "test"
    assert record.extra["gt_cot"] == "1. A sign."


# --- GeoVista --------------------------------------------------------------------------------


def test_geovista_cold_start(tmp_path: Path) -> None:
    images = [{"bytes": picture(n), "path": None} for n in range(2)]
    said = "<think>I zoom in.</think><answer>Peru; Lima; Miraflores</answer>"
    row = {"id": "t1", "system": "Use tools.", "images": images}
    rows: list[dict[str, Any]] = [{**row, "conversations": turns("Where is it?", said)}]
    rows.append({**row, "id": "t2", "conversations": turns("Where?", "<answer>Nowhere</answer>")})
    write_parquet(tmp_path / "in" / "data" / "train" / "data-00000-of-00001.parquet", rows)
    folder = tmp_path / "out"
    summary = prepare(make_plan(Request("geovista-cold-start", tmp_path / "in")), folder, 1)
    assert summary["rejected_by_reason"] == {"latitude: missing": 1}
    (record,), _ = read_records(folder)
    assert record.extra["images"] == ["images/t1.jpg", "images/t1-1.jpg"]
    assert (folder / "images/t1-1.jpg").read_bytes() == picture(1)
    assert record.extra["trajectory"] == turns("Where is it?", said)
    assert record.extra["system"] == "Use tools."
    assert record.extra["coordinates_from"] == "answer"
    assert record.latitude == pytest.approx(LIMA[0], abs=0.2)
    assert record.address == "Peru; Lima; Miraflores"


METADATA = {
    "uid": "u1",
    "data_type": "panorama",
    "lat": NAIROBI[0],
    "lng": NAIROBI[1],
    "location": {"country": "Kenya", "province_or_state": "Nairobi County", "city": "Nairobi"},
}


def test_geobench_with_images_inside(tmp_path: Path) -> None:
    rows = [{"image": {"bytes": picture(), "path": "1.jpg"}, "metadata": json.dumps(METADATA)}]
    write_parquet(tmp_path / "in" / "data" / "train-00000-of-00004.parquet", rows)
    record = converted("geobench", tmp_path / "in")["u1"]
    assert record.address == "Kenya; Nairobi County; Nairobi"
    assert record.extra["data_type"] == "panorama"
    assert record.image == "images/u1.jpg"


def geovista_bench(folder: Path, **changes: Any) -> None:
    """GeoVistaBench: small previews inside, the images beside."""
    row = {"id": "u1", "raw_image_path": "raw_image/u1/panorama.jpg", "data_type": "panorama"}
    row |= {"preview": {"bytes": picture(9, "PNG"), "path": None}, "prompt": "Where?"}
    row["metadata"] = json.dumps({**METADATA, **changes})
    write_parquet(folder / "data" / "test" / "data-00000-of-00001.parquet", [row])


def test_geobench_with_images_beside(tmp_path: Path) -> None:
    geovista_bench(tmp_path / "in")
    put(tmp_path / "in", "raw_image/u1/panorama.jpg")
    record = converted("geobench", tmp_path / "in")["u1"]
    assert record.image == "raw_image/u1/panorama.jpg"
    assert record.extra["instructions"] == "Where?"
    assert "preview" not in record.extra


def test_geobench_with_previews_only_and_no_names(tmp_path: Path) -> None:
    geovista_bench(tmp_path / "in", location=None)
    record = converted("geobench", tmp_path / "in")["u1"]
    assert record.image == "images/u1.png"
    assert (record.country, record.city) == ("Kenya", "Nairobi")
    assert record.extra["place_from"] == "reverse"


# --- benchmarks and large sets ---------------------------------------------------------------

PLACES365 = (
    "IMG_ID,AUTHOR,LAT,LON,S3_Label,S16_Label,S365_Label,Prob_indoor,Prob_natural,Prob_urban"
)


def test_im2gps3k(tmp_path: Path) -> None:
    name = "1001048550_8e4b47d165_1051_78841376@N00.jpg"
    put(tmp_path / "in", f"im2gps3ktest/{name}")
    row = [name, "78841376@N00", *PARIS, 2, 12, 353, 0.27424151079564574, 0.04, 0.68]
    write_csv(tmp_path / "in" / "im2gps3k_places365.csv", PLACES365, row)
    record = converted("im2gps3k", tmp_path / "in")[name]
    assert record.image == f"im2gps3ktest/{name}"
    assert record.extra["s3_label"] == 2
    assert record.extra["prob_indoor"] == 0.27424151079564574
    assert record.address.startswith("France; ")


def test_im2gps3k_with_its_columns_swapped(tmp_path: Path) -> None:
    """One published version has LON over the latitudes and LAT over the longitudes."""
    sydney = (-33.861328, 151.209039)
    names = [f"{n}.jpg" for n in range(12)]
    put(tmp_path / "in", *names)
    rows = [[name, "x", *(sydney if n % 2 else PARIS)] for n, name in enumerate(names)]
    write_csv(tmp_path / "in" / "im2gps3k_places365.csv", "IMG_ID,AUTHOR,LON,LAT", *rows)
    plan = make_plan(Request("im2gps3k", tmp_path / "in"))
    assert "6 of the first 12 latitudes are beyond ±90°" in plan.notes[0]
    records = converted("im2gps3k", tmp_path / "in")
    assert (records["1.jpg"].latitude, records["1.jpg"].longitude) == sydney
    assert records["1.jpg"].country == "Australia"
    assert (records["0.jpg"].latitude, records["0.jpg"].longitude) == PARIS


def test_im2gps3k_from_info_json(tmp_path: Path) -> None:
    put(tmp_path / "in", "images/a.jpg")
    told = ["title: x", f"latitude: {LIMA[0]}", f"longitude: {LIMA[1]}", "accuracy: 16", "end"]
    write_json(tmp_path / "in" / "info.json", {"a.jpg": told})
    record = converted("im2gps3k", tmp_path / "in")["a.jpg"]
    assert (record.latitude, record.longitude, record.country) == (*LIMA, "Peru")


def test_yfcc4k(tmp_path: Path) -> None:
    put(tmp_path / "in", "yfcc4k/a_b.jpg")
    write_csv(tmp_path / "in" / "yfcc4k_places365.csv", "IMG_ID,LAT,LON", ["a_b.jpg", *LIMA])
    assert converted("yfcc4k", tmp_path / "in")["a_b.jpg"].image == "yfcc4k/a_b.jpg"


def test_yfcc4k_from_info_txt(tmp_path: Path) -> None:
    put(tmp_path / "in", "images/6185218911.jpg")
    cells = ["0", "6185218911", "4e2f", "39019111@N00", "guck", "2012-02-16", "1331840483", "Canon"]
    cells += ['A "title', "text", "a,b", "", str(LIMA[1]), str(LIMA[0]), "12", "http://x"]
    write(tmp_path / "in" / "info.txt", "\t".join(cells) + "\n")
    record = converted("yfcc4k", tmp_path / "in")["6185218911"]
    assert (record.latitude, record.longitude) == LIMA
    assert record.image == "images/6185218911.jpg"
    assert record.extra["accuracy"] == 12


def test_gws15k_with_a_table(tmp_path: Path) -> None:
    put(tmp_path / "in", "images/0001.jpg")
    write_csv(tmp_path / "in" / "gws15k.csv", "filename,Latitude,Longitude", ["0001.jpg", *LIMA])
    assert converted("gws15k", tmp_path / "in")["0001.jpg"].country == "Peru"


def test_gws15k_with_coordinates_in_the_names(tmp_path: Path) -> None:
    put(tmp_path / "in", "x/-12.0464_-77.0428.jpg", "x/48.8566,2.3522_1.jpg")
    records = converted("gws15k", tmp_path / "in")
    assert records["x/-12.0464_-77.0428.jpg"].country == "Peru"
    assert records["x/48.8566,2.3522_1.jpg"].country == "France"


def test_osv5m(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    put(folder, *(f"images/train/{n % 2:02d}/{n}.jpg" for n in (1, 2)), "images/test/00/3.jpg")
    write_csv(folder / "train.csv", OSV_COLUMNS, osv_row(1), osv_row(2, "NA", ""))
    write_csv(folder / "test.csv", OSV_COLUMNS, osv_row(3))
    records = converted("osv5m", folder)
    record = records["1"]
    assert record.image == "images/train/01/1.jpg"
    assert record.address == "New Zealand; Chatham Islands; Waitangi"
    assert record.country_code == "NZ"
    assert record.extra["land_cover"] == 4
    assert record.extra["creator_username"] == "roadroid"
    assert not any("quadtree" in name or "unique" in name for name in record.extra)
    assert records["2"].country == "Namibia", "its code is no missing value"
    assert records["3"].split == "test"


def test_mp16(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    put(folder, "images/mp16/d4_d9_100.jpg")
    columns = "IMG_ID,AUTHOR,LAT,LON,neighbourhood,city,county,state,region,country,country_code"
    row = ["d4/d9/100.jpg", "a@N00", *PARIS, "", "Paris", "", "Île-de-France", "", "France", "fr"]
    write_csv(folder / "metadata" / "MP16_Pro_places365.csv", columns, row)
    record = converted("mp16", folder)["d4/d9/100.jpg"]
    assert record.address == "France; Île-de-France; Paris"
    assert record.image == "images/mp16/d4_d9_100.jpg"


def test_every_dataset_is_tested() -> None:
    text = Path(__file__).read_text()
    for name in sources():
        assert f'"{name}"' in text, name
