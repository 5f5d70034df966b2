"""What prepare writes for training, beside what the sample's tests see."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from geoagent.config import Config, to_yaml
from geoagent.data.needs import check_judge
from geoagent.data.prompt import question
from geoagent.errors import UsageError
from geoagent.files import read_jsonl, write_jsonl
from geoagent.run import Run
from geoagent.stages import rows_of
from geoagent.train.prepare import prepare
from jobs.plan import make_plan

ROW = {"image": "a.png", "latitude": 48.9, "longitude": 2.4, "country": "France", "city": "Paris"}
JUDGE = {**ROW, "label": True, "predicted_cot": "Signs.", "predicted_answer": "France; Paris"}
THINK = json.dumps({"FinalAnswer": "France; Paris"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("data", "judge"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (28, 28)).save(tmp_path / name / "a.png")
    rows = [{**ROW, "id": "a", "think": THINK}, {**ROW, "id": "h", "split": "heldout"}]
    write_jsonl(tmp_path / "data" / "records.jsonl", rows)
    rows = [{**JUDGE, "id": "a"}, {**JUDGE, "id": "z", "label": False}]
    write_jsonl(tmp_path / "judge" / "records.jsonl", rows)
    return tmp_path


def run_of(folder: Path) -> Run:
    config = Config()
    config.data.name, config.data.path = "test", str(folder / "data")
    config.data.answer = "coordinates"
    config.judge.path = str(folder / "judge")
    run = Run(folder / "run")
    run.path.mkdir()
    run.config_file.write_text(to_yaml(config))
    return run


def test_a_model_is_asked_for_coordinates(folder: Path) -> None:
    run = run_of(folder)
    prepare(run, ["sft", "grpo"])
    (row,) = read_jsonl(run.dataset("sft"))
    asked = {"role": "user", "content": f"<image>{question('coordinates')}"}
    said = f"<think>{THINK}</think><answer>Latitude: 48.90000, Longitude: 2.40000</answer>"
    assert row["messages"] == [asked, {"role": "assistant", "content": said}]
    (row,) = read_jsonl(run.dataset("grpo"))
    assert row["messages"] == [asked]
    assert row["solution"] == "<answer>France; Paris</answer>"


def test_judge_data_of_a_folder(folder: Path) -> None:
    bad = [{**JUDGE, "id": "b", "label": "perhaps"}, {**JUDGE, "id": "c", "latitude": 99}]
    good = [{**JUDGE, "id": "a"}, {**JUDGE, "id": "z", "label": False}]
    rows = [*good, *bad, {**JUDGE, "id": "d", "split": "test"}]
    write_jsonl(folder / "judge" / "records.jsonl", rows)
    run = run_of(folder)
    done = prepare(run, ["sft", "judge", "grpo"])
    row, _ = read_jsonl(run.dataset("judge"))
    assert (row["id"], row["label"], row["latitude"]) == ("a", True, 48.9)
    assert (done["judge"], done["judge_rejected"]) == (2, 2)
    assert "judge data: 2 (2 refused, the first b: label: 'perhaps' is not" in done["summary"]


def test_judge_data_is_there_for_whoever_asks_later(folder: Path) -> None:
    run = run_of(folder)
    prepare(run, ["sft", "grpo", "eval"])
    (stage,) = make_plan(run.config(), ["judge"], ["prepare", "sft"]).stages
    assert stage.name == "judge"
    assert rows_of(run.config(), run, "judge").is_file()


def test_trajectories_that_are_all_refused_teach_nothing(folder: Path) -> None:
    cut = {**ROW, "id": "t", "trajectory": [{"role": "user", "content": "<image>Where?"}]}
    heldout = {**ROW, "id": "h", "split": "heldout"}
    write_jsonl(folder / "data" / "records.jsonl", [cut, heldout])
    run = run_of(folder)
    config = run.config()
    config.data.answer, config.rollout.train = "address", True
    run.config_file.write_text(to_yaml(config))
    with pytest.raises(UsageError, match=r"usable trajectory, which SFT .* does not end with"):
        prepare(run, ["sft", "grpo"])
    assert prepare(run, ["grpo"])["learnt_by_sft"] == 0


def test_a_cold_start_without_trajectories_says_what_it_will_not_teach(folder: Path) -> None:
    run = run_of(folder)
    config = run.config()
    config.data.answer, config.rollout.train = "address", True
    run.config_file.write_text(to_yaml(config))
    assert "; no row has a trajectory: SFT will teach no" in prepare(run, ["sft"])["summary"]
    assert "trajectory" not in prepare(run, ["grpo"])["summary"]


def test_judge_data_without_a_label_is_refused(folder: Path) -> None:
    write_jsonl(folder / "judge" / "records.jsonl", [{**ROW, "id": "a"}])
    with pytest.raises(UsageError, match=r"no row of judge data in split 'train' \(predicted_cot"):
        prepare(run_of(folder), ["judge"])


def test_judge_data_of_one_label_teaches_to_say_that(folder: Path) -> None:
    rows = [{**JUDGE, "id": "a"}, {**JUDGE, "id": "b"}, {**JUDGE, "id": "c", "split": "test"}]
    rows[-1]["label"] = False
    write_jsonl(folder / "judge" / "records.jsonl", rows)
    with pytest.raises(UsageError, match=r"judge: all 2 rows of judge data have the label true"):
        prepare(run_of(folder), ["judge"])
    check_judge(folder / "judge", most_lines=1)  # there are more


def test_the_tiny_model_is_shown_how_a_judgement_is_written(folder: Path) -> None:
    rows = [
        {**ROW, "id": f"{name}{number}", "think": THINK, "country": country}
        for number in range(4)
        for name, country in (("a", "France"), ("b", "Peru"), ("c", "Peru"))
    ]
    write_jsonl(folder / "data" / "records.jsonl", rows)
    run = run_of(folder)
    config = run.config()
    config.model.kind, config.model.tiny.vocabulary = "tiny", 512
    run.config_file.write_text(to_yaml(config))
    done = prepare(run, ["sft"])
    judged = [row for row in read_jsonl(run.dataset("sft")) if row["id"].endswith("#judged")]
    assert (done["learnt_by_sft"], len(judged)) == (12, 3)
    said = [row["messages"][1]["content"] for row in judged]
    assert [text.partition("<answer>")[2] for text in said] == [
        "True</answer>",
        "False</answer>",
        "True</answer>",
    ]
    assert all("Is this answer near the place" in row["messages"][0]["content"] for row in judged)
    assert said[1].startswith(
        "<think>This is Paris, Peru.</think>"
    )  # its own place, not the answer's


def test_a_pretrained_model_is_not(folder: Path) -> None:
    run = run_of(folder)
    prepare(run, ["sft"])
    assert [row["id"] for row in read_jsonl(run.dataset("sft"))] == ["a"]
