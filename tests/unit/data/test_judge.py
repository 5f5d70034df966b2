"""Predictions → judge data: labels, balance, the command's folder."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from geoagent import cli
from geoagent.answer import parse
from geoagent.config import Config, to_yaml
from geoagent.data.judge import to_judge
from geoagent.data.make_judge import Entry, Place, Pool, draw, read_prediction
from geoagent.data.prompt import coordinates_answer, judge_question, question
from geoagent.data.record import Record, read_records, to_record
from geoagent.data.swift import to_swift_rows
from geoagent.errors import UsageError
from geoagent.files import write_json, write_jsonl
from geoagent.run import Run

PARIS = (48.85341, 2.3488)
LYON = (45.74846, 4.84671)
LIMA = (-12.04318, -77.02824)
ROW_COLUMNS = (
    *("label", "predicted_cot", "predicted_answer"),
    *("completion", "predicted_latitude", "predicted_longitude"),
)


def record(name: str = "a", point: tuple[float, float] = PARIS, country: str = "France") -> Record:
    names = {"country": country, "region": "", "city": "", "address": country}
    return Record(name, f"{name}.png", *point, **names, split="heldout")


def predicted(
    name: str, point: tuple[float, float] | None, chain: str = "Signs.", **more: Any
) -> dict[str, Any]:
    answer = "Atlantis" if point is None else coordinates_answer(*point)
    return {
        "model": "sft",
        "id": name,
        "completion": f"<think>{chain}</think><answer>{answer}</answer>",
        "predicted_latitude": point and point[0],
        "predicted_longitude": point and point[1],
        **more,
    }


def pool_of(*rows: dict[str, Any], threshold_km: float = 200.0, **options: Any) -> Pool:
    pool = Pool({name: record(name) for name in "abcdef"}, threshold_km, **options)
    for line, row in enumerate(rows, 1):
        pool.add(Place(0, line), row)
    return pool


# --- questions -------------------------------------------------------------------------------


def test_an_answer_in_coordinates_is_read_back() -> None:
    text = coordinates_answer(40.7, -73.9)
    assert text == "Latitude: 40.70000, Longitude: -73.90000"
    assert parse(f"<answer>{text}</answer>").coordinates == (40.7, -73.9)
    assert parse(question("coordinates")).coordinates is None


@given(st.floats(-90, 90), st.floats(-180, 180))
def test_every_point_is_an_answer_that_is_read_back(latitude: float, longitude: float) -> None:
    read = parse(f"<answer>{coordinates_answer(latitude, longitude)}</answer>").coordinates
    assert read == pytest.approx((latitude, longitude), abs=1e-5)


MARKUP = st.sampled_from(
    ["<image>", "</think>", "<answer>True</answer>", "<|im_end|>", "{", "\n", "» Its answer was: «"]
)


@given(st.lists(MARKUP | st.text(max_size=8)).map("".join), st.text(max_size=500))
def test_a_chain_and_an_answer_are_only_data(chain: str, answer: str) -> None:
    plain = judge_question("x", "x")
    asked = judge_question(chain, answer)
    assert [asked.count(mark) for mark in "<«»"] == [plain.count(mark) for mark in "<«»"]
    assert asked.endswith(plain[-120:])


def test_a_long_chain_does_not_push_the_question_out() -> None:
    for letter in ("a", "é", "東", "🚗"):
        asked = judge_question(f"{letter} " * 10_000, letter * 1000)
        assert 8000 < len(asked.encode()) < 8900
        assert asked.endswith("give <answer>True</answer> or <answer>False</answer>.")
    assert "(nothing)" in judge_question("", "Peru")


# --- rows of judge data ----------------------------------------------------------------------


def test_rows_for_training_hold_question_label_and_truth(tmp_path: Path) -> None:
    told = {"predicted_cot": "<think>A sign.</think>", "predicted_answer": [48.9, 2.4]}
    own = Record(**{**vars(record()), "extra": {**told, "label": "False"}})
    (row,) = to_swift_rows([own], tmp_path, "judge")
    assert row["messages"] == [
        {"role": "user", "content": f"<image>{judge_question('A sign.', '[48.9, 2.4]')}"}
    ]
    assert row["label"] is False
    assert (row["latitude"], row["longitude"]) == PARIS


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("label", "perhaps", "label: 'perhaps' is not True or False"),
        ("label", None, "label: 'none' is not True or False"),
        ("predicted_cot", None, "predicted_cot: missing, or not a text"),
        ("predicted_answer", " ", "predicted_answer: missing, or not a text"),
    ],
)
def test_a_row_that_cannot_be_used_says_why(column: str, value: Any, reason: str) -> None:
    extra = {"label": True, "predicted_cot": "", "predicted_answer": "Peru", column: value}
    with pytest.raises(ValueError, match=reason):
        to_judge(extra)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(ROW_COLUMNS, JSON)))
def test_any_row_is_read_or_refused(row: dict[str, Any]) -> None:
    for read in (to_judge, read_prediction):
        refused, shown = "", ""
        try:
            found = read(row)
            shown = judge_question(found.chain, found.answer)
        except ValueError as error:
            refused = str(error)
        assert shown.isprintable()
        assert bool(shown) != any(refused.startswith(name) for name in ROW_COLUMNS)


# --- labels ----------------------------------------------------------------------------------


def test_a_prediction_is_true_if_it_is_nearer_than_the_threshold() -> None:
    rows = [predicted("a", PARIS), predicted("b", LYON), predicted("c", None)]
    found = {entry.picture: entry for entry in pool_of(*rows, threshold_km=300).entries}
    assert {name: entry.label for name, entry in found.items()} == {
        "a": True,
        "b": False,
        "c": False,
    }
    assert found["b"].distance_km == pytest.approx(393.2, abs=0.1)
    assert found["c"].distance_km is None
    assert pool_of(*rows, threshold_km=400).counts == {True: 2, False: 1}


def test_what_was_told_before_counts_once() -> None:
    rows = [
        predicted("a", PARIS),
        predicted("a", PARIS, draw=1),
        predicted("a", PARIS, "Another chain."),
        predicted("b", PARIS),
        {**predicted("b", PARIS), "completion": "<think>I don't know"},
    ]
    pool = pool_of(*rows)
    assert [(entry.picture, entry.place.line) for entry in pool.entries] == [
        ("a", 1),
        ("a", 3),
        ("b", 4),
    ]
    assert pool.dropped == {"told before": 1, "no answer": 1}


def test_coordinates_without_an_answer_element_are_an_answer() -> None:
    row = {**predicted("a", PARIS), "completion": "It is at [48.85341, 2.3488]."}
    assert read_prediction(row).answer == "Latitude: 48.85341, Longitude: 2.34880"


def test_the_chain_of_a_prediction_with_tools_is_that_of_all_turns() -> None:
    row = predicted("a", PARIS, "It says Paris.")
    looked = '<think>A sign.</think><tool_call>{"name": "image_zoom_in_tool"}</tool_call>'
    row["trace"] = {"turns": [{"completion": looked}, {"completion": row["completion"]}]}
    assert read_prediction(row).chain == "A sign.\nIt says Paris."
    assert read_prediction(row).answer == read_prediction(predicted("a", PARIS)).answer


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"completion": None}, "completion: missing, or not a text"),
        ({"predicted_latitude": 91.0}, "predicted_latitude: 91 is out of range"),
        ({"predicted_longitude": None}, "predicted_longitude: missing"),
        ({"id": "z"}, "id: no record with a usable image has 'z'"),
    ],
)
def test_rows_that_are_no_predictions_are_refused(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        pool_of({**predicted("a", PARIS), **change})


@pytest.mark.parametrize(
    ("point", "said"), [(PARIS, "are true .* lower the"), (LIMA, "are false .* raise the")]
)
def test_one_label_alone_is_no_data(point: tuple[float, float], said: str) -> None:
    with pytest.raises(UsageError, match=f"all 2 predictions {said} threshold"):
        pool_of(predicted("a", point), predicted("b", point)).check()
    silent = {**predicted("b", point), "completion": "<think>I don't know"}
    with pytest.raises(UsageError, match=r"all 1 predictions \(left out: 1 no answer\) are"):
        pool_of(predicted("a", point), silent).check()


def test_predictions_are_of_one_model() -> None:
    rows = [predicted("a", PARIS), {**predicted("b", LIMA), "model": "base"}]
    with pytest.raises(UsageError, match=r"several models, choose one; there are: base \(1\), sft"):
        pool_of(*rows).check()
    with pytest.raises(UsageError, match=r"no usable row of model 'grpo'; there are: base \(1\)"):
        pool_of(*rows, model="grpo").check()
    assert pool_of(*rows, model="base").counts == {False: 1}


# --- the draw --------------------------------------------------------------------------------

ENTRIES = st.lists(
    st.tuples(st.integers(0, 8), st.sampled_from(["FR", "PE", "JP", ""]), st.booleans()),
    max_size=60,
)


def entries(rows: list[tuple[int, str, bool]]) -> list[Entry]:
    return [
        Entry(Place(0, line), f"{country}{picture}", country, label, None)
        for line, (picture, country, label) in enumerate(rows, 1)
    ]


@given(ENTRIES, st.integers(0, 3), st.none() | st.integers(2, 40))
def test_a_draw_is_balanced_and_spread(
    rows: list[tuple[int, str, bool]], seed: int, limit: int | None
) -> None:
    mixed = entries(rows)
    counts = Counter(entry.label for entry in mixed)
    chosen = draw(mixed, seed, limit)
    most = min(counts[True], counts[False], *([] if limit is None else [limit // 2]))
    assert Counter(entry.label for entry in chosen) == Counter({True: most, False: most})
    assert chosen == sorted(set(chosen))
    assert set(chosen) <= set(mixed)
    assert chosen == draw(mixed, seed, limit)
    # No picture gives a second row to a label while another one of its country gives none.
    taken = Counter((entry.picture, entry.label) for entry in chosen)
    for entry in mixed:
        if not taken[entry.picture, entry.label]:
            same = [
                n
                for (p, label), n in taken.items()
                if p[:2] == entry.country and label == entry.label
            ]
            assert max(same, default=0) <= 1


def test_the_country_does_not_tell_the_label() -> None:
    rows = [(n, "FR", True) for n in range(40)] + [(n, "FR", False) for n in range(40)]
    rows += [(n, "PE", False) for n in range(400)]
    chosen = draw(entries(rows), seed=0)
    assert Counter((entry.country, entry.label) for entry in chosen) == {
        ("FR", True): 40,
        ("FR", False): 40,
    }


def test_another_seed_draws_others() -> None:
    mixed = entries([(n, "FR", n % 10 == 0) for n in range(200)])
    first, other = (draw(mixed, seed) for seed in (0, 1))
    assert first != other
    assert len(first) == len(other) == 40


def test_a_hundred_thousand_are_drawn_in_seconds() -> None:
    names = [f"{n % 200}" for n in range(100_000)]
    mixed = [
        Entry(Place(0, n), f"{name}/{n // 2}", name, n % 3 == 0, 1.0)
        for n, name in enumerate(names)
    ]
    started = time.monotonic()
    assert len(draw(mixed, 0, 10_000)) == 10_000
    assert time.monotonic() - started < 20


# --- the command -----------------------------------------------------------------------------


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    for name in "abcd":
        Image.new("RGB", (8, 8)).save(folder / f"{name}.png")
    rows = [record(name).to_row() for name in "abcde"]  # e has no image
    write_jsonl(folder / "records.jsonl", [*rows, {"id": "bad"}])
    return folder


ROWS = [
    predicted("a", PARIS),
    predicted("b", LIMA, "It is <b>Peru</b>."),
    predicted("c", LIMA),
    predicted("d", LIMA),
]


def made(tmp_path: Path, dataset: Path, rows: list[dict[str, Any]], *options: str) -> int:
    file = tmp_path / "predictions.jsonl"
    write_jsonl(file, rows)
    words = ["data", "make-judge", str(file), str(tmp_path / "judge"), "--dataset", str(dataset)]
    return cli.main([*words, *options])


def test_a_folder_of_judge_data(
    tmp_path: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert made(tmp_path, dataset, [ROWS[0], *ROWS]) == 0
    captured = capsys.readouterr()
    summary = json.loads(captured.out)
    assert summary == {
        "records": 2,
        "true": 1,
        "false": 1,
        "pictures": 2,
        "countries": 1,
        "threshold_km": 200.0,
        "predictions": 5,
        "predicted_true": 1,
        "predicted_false": 3,
        "dropped": {"no answer": 0, "told before": 1, "not drawn": 2},
        "refused": 0,
    }
    assert captured.err.startswith("warning: 2 pictures of split 'heldout': a model")
    records, rejected = read_records(tmp_path / "judge", "train")
    assert not rejected
    assert records[0].id == "a#1"
    assert (records[0].latitude, records[0].extra["picture"]) == (PARIS[0], "a")
    assert [to_judge(each.extra).label for each in records] == [True, False]
    (row, _) = to_swift_rows(records, tmp_path / "judge", "judge")
    assert row["images"] == [str(dataset / "a.png")]


def test_draws_of_one_picture_have_ids_of_their_own(tmp_path: Path, dataset: Path) -> None:
    assert made(tmp_path, dataset, [predicted("a", PARIS), predicted("a", LIMA)]) == 0
    records, _ = read_records(tmp_path / "judge")
    assert [each.id for each in records] == ["a#1", "a#2"]


def test_rows_without_an_image_are_refused_and_told(
    tmp_path: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert made(tmp_path, dataset, [*ROWS, predicted("e", PARIS), {"id": "a"}]) == 2
    captured = capsys.readouterr()
    assert json.loads(captured.out)["refused"] == 2
    assert "predictions.jsonl:5: id: no record with a usable image has 'e'" in captured.err
    assert "predictions.jsonl:6: completion: missing, or not a text" in captured.err


def test_rows_that_name_no_record_are_told_by_their_line(
    tmp_path: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nameless = {key: value for key, value in ROWS[0].items() if key != "id"}
    assert made(tmp_path, dataset, [nameless, nameless]) == 2
    assert "predictions.jsonl:1: id: missing, as in all rows" in capsys.readouterr().err
    assert made(tmp_path, dataset, [*ROWS, nameless]) == 2
    assert "predictions.jsonl:5: id: missing\n" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["abc", "0", "-1", "nan", "inf", "20101"])
def test_a_threshold_is_a_distance(
    tmp_path: Path, dataset: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    assert made(tmp_path, dataset, ROWS, f"--threshold-km={text}") == 2
    assert f"--threshold-km: {text}: a number above 0 and at most 20100" in capsys.readouterr().err


def test_a_dry_run_writes_nothing(
    tmp_path: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert made(tmp_path, dataset, ROWS, "--dry-run") == 0
    assert json.loads(capsys.readouterr().out)["records"] == 2
    assert not (tmp_path / "judge").exists()


def test_an_existing_folder_is_refused(
    tmp_path: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "judge").mkdir()
    (tmp_path / "judge" / "mine").touch()
    assert made(tmp_path, dataset, ROWS) == 2
    assert "judge: exists already; name a new folder" in capsys.readouterr().err


def test_a_runs_predictions_know_their_images(
    tmp_path: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(tmp_path / "run")
    run.path.mkdir()
    run.config_file.write_text(to_yaml(Config()))
    words = ["data", "make-judge", str(run.path), str(tmp_path / "judge")]
    assert cli.main(words) == 2
    assert "predictions.jsonl: there are no predictions" in capsys.readouterr().err
    folder = run.evaluation("heldout")
    write_jsonl(folder / "predictions.jsonl", [predicted("a", PARIS)])
    write_jsonl(folder / "sampled.jsonl", [predicted("a", LIMA, draw=1)])
    assert cli.main(words) == 2
    assert "of which images? name their dataset folder: --dataset" in capsys.readouterr().err
    write_json(folder / "made_with.json", {"sft": {"samples": [str(dataset), 1, 2]}})
    assert cli.main(words) == 0
    assert json.loads(capsys.readouterr().out)["records"] == 2


def test_make_judges_rows_are_scored_by_the_reward(
    tmp_path: Path, dataset: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert made(tmp_path, dataset, ROWS) == 0
    capsys.readouterr()
    records, _ = read_records(tmp_path / "judge")
    rows = [{**each.to_row(), "completion": "<answer>True</answer>"} for each in records]
    write_jsonl(tmp_path / "said.jsonl", rows)
    assert cli.main(["score", str(tmp_path / "said.jsonl"), "--rewards", "judge"]) == 0
    scored = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["judge"] for row in scored] == [1.0, 0.0]
    assert all(to_record(row).split == "train" for row in scored)
