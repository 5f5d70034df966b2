"""The stage judge_data, with a model that says what the test wants."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from geoagent.config import Config, to_yaml
from geoagent.data.judge import to_judge
from geoagent.data.prompt import coordinates_answer, judge_question, question
from geoagent.data.record import read_records
from geoagent.errors import OutageError, UsageError
from geoagent.files import read_jsonl, write_jsonl
from geoagent.run import Run
from geoagent.train.judge_data import make_judge_data

PARIS = (48.85341, 2.3488)
PICTURES = 12


class FakePredictor:
    """Says where a third of the pictures are, and Lima of the others; each draw in other words."""

    calls: list[tuple[list[str], str, dict[str, Any]]]
    die_at: int | None
    right: int

    def __init__(self, candidate: Any, config: Any, max_pixels: int | None) -> None:
        self.name = candidate.name

    def complete(
        self, images: Sequence[Path], question: str, max_new_tokens: int, **options: Any
    ) -> list[str]:
        if len(self.calls) == self.die_at:
            raise KeyboardInterrupt
        names = [image.stem for image in images]
        self.calls.append((names, question, {"max_new_tokens": max_new_tokens, **options}))
        return [self._said(int(name), options["seed"]) for name in names]

    def _said(self, number: int, seed: int) -> str:
        point = PARIS if number % 3 < self.right else (-12.04318, -77.02824)
        return f"<think>{seed}</think><answer>{coordinates_answer(*point)}</answer>"

    def close(self) -> None:
        pass


@pytest.fixture
def predictor(monkeypatch: pytest.MonkeyPatch) -> type[FakePredictor]:
    fresh = type("Fresh", (FakePredictor,), {"calls": [], "die_at": None, "right": 1})
    monkeypatch.setattr("geoagent.evaluate.predict.Predictor", fresh)
    return fresh


def make_run(folder: Path, **judge: Any) -> Run:
    data = folder / "data"
    data.mkdir()
    rows = []
    for number in range(PICTURES + 1):
        Image.new("RGB", (28, 28)).save(data / f"{number}.png")
        place = {"latitude": PARIS[0], "longitude": PARIS[1], "country": "France"}
        split = "train" if number < PICTURES else "heldout"
        rows.append({"id": f"p{number}", "image": f"{number}.png", **place, "split": split})
    write_jsonl(data / "records.jsonl", rows)
    config = Config()
    config.model.kind = "tiny"
    config.data.name, config.data.path, config.data.answer = "test", str(data), "coordinates"
    config.eval.batch_size, config.eval.limit = 4, 1
    config.grpo.temperature, config.grpo.max_completion_length = 0.9, 77
    config.judge.start_from = "base"
    for name, value in judge.items():
        setattr(config.judge, name, value)
    run = Run(folder / "run")
    run.path.mkdir()
    run.config_file.write_text(to_yaml(config))
    return run


def rows_of(run: Run) -> list[dict[str, Any]]:
    return list(read_jsonl(run.stage("judge_data") / "judge.jsonl"))


def test_the_training_pictures_become_rows(tmp_path: Path, predictor: type[FakePredictor]) -> None:
    run = make_run(tmp_path)
    counts = make_judge_data(run)
    asked = Counter(name for names, _, _ in predictor.calls for name in names)
    assert asked == {str(number): 2 for number in range(PICTURES)}  # no held-out picture
    assert {text for _, text, _ in predictor.calls} == {question("coordinates")}
    options = [options for _, _, options in predictor.calls]
    assert {(each["temperature"], each["max_new_tokens"]) for each in options} == {(0.9, 77)}
    assert len({each["seed"] for each in options}) == len(options)
    assert (counts["predictions"], counts["predicted_true"], counts["records"]) == (24, 8, 16)
    assert counts["summary"].startswith("16 rows to judge, half of them true, of 8 true and 16")
    rows = rows_of(run)
    assert Counter(row["label"] for row in rows) == {True: 8, False: 8}
    records, _ = read_records(run.stage("judge_data") / "dataset", "train")
    for row, record in zip(rows, records, strict=True):
        judge = to_judge(record.extra)
        asked_for = judge_question(judge.chain, judge.answer)
        assert row["messages"] == [{"role": "user", "content": f"<image>{asked_for}"}]
        assert row["images"] == [str(tmp_path / "data" / record.image)]
        assert judge.label == (judge.answer == coordinates_answer(*PARIS))


def test_a_limit_asks_no_more_than_it_needs(tmp_path: Path, predictor: type[FakePredictor]) -> None:
    run = make_run(tmp_path, limit=6, draws=9)
    counts = make_judge_data(run)
    assert counts["records"] == 6
    asked = Counter(name for names, _, _ in predictor.calls for name in names)
    assert len(asked) == 6  # pictures: no more than rows
    done = json.loads(run.progress_file("judge_data").read_text())
    assert done["step"] == done["total"]
    true = counts["predicted_true"]
    assert 3 <= true < 3 + 4  # the last batch may bring more than one
    assert sum(asked.values()) < 6 * 9


def test_it_goes_on_after_a_kill(tmp_path: Path, predictor: type[FakePredictor]) -> None:
    run = make_run(tmp_path)
    predictor.die_at = 4
    with pytest.raises(KeyboardInterrupt):
        make_judge_data(run)
    assert not (run.stage("judge_data") / "judge.jsonl").exists()
    predictor.die_at = None
    make_judge_data(run)
    assert len(predictor.calls) == 6
    kept = rows_of(run)
    predictor.calls.clear()
    make_judge_data(run)  # killed before its done.json
    assert not predictor.calls
    assert rows_of(run) == kept


def test_predictions_that_are_all_false_stop_the_run(
    tmp_path: Path, predictor: type[FakePredictor]
) -> None:
    predictor.right = 0
    run = make_run(tmp_path)
    said = r"^all 24 predictions are false at 200 km.*\(judge\.threshold_km, judge\.draws"
    with pytest.raises(UsageError, match=said):
        make_judge_data(run)


def test_without_any_answer_no_threshold_is_named(
    tmp_path: Path, predictor: type[FakePredictor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor, "_said", lambda self, number, seed: f"<think>{seed}")
    said = r"can be judged \(left out: 24 no answer\) \(grpo\.max_completion_length.*judge\.path"
    with pytest.raises(UsageError, match=said) as found:
        make_judge_data(make_run(tmp_path))
    assert "threshold" not in str(found.value)


def test_there_is_nothing_to_make_where_a_folder_is_named(
    tmp_path: Path, predictor: type[FakePredictor]
) -> None:
    run = make_run(tmp_path, path=str(tmp_path / "judge"))
    with pytest.raises(UsageError, match=r"judge\.path: .* is the judge data"):
        make_judge_data(run)
    assert not predictor.calls


def test_an_outage_of_the_geocoder_is_no_label(
    tmp_path: Path, predictor: type[FakePredictor], monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(answer: str) -> None:
        raise OutageError("nominatim is away")

    monkeypatch.setattr("geoagent.train.judge_data.locator", lambda settings: away)
    monkeypatch.setattr(predictor, "_said", lambda self, number, seed: "<answer>Peru; x</answer>")
    run = make_run(tmp_path)
    with pytest.raises(OutageError):
        make_judge_data(run)
    assert not (run.stage("judge_data") / "predictions.jsonl").exists()
    assert sum(len(names) for names, _, _ in predictor.calls) == 24  # kept for the next start


def test_another_threshold_needs_no_prediction(
    tmp_path: Path, predictor: type[FakePredictor], capsys: pytest.CaptureFixture[str]
) -> None:
    from geoagent import cli

    run = make_run(tmp_path)
    make_judge_data(run)
    words = ["data", "make-judge", str(run.path), str(tmp_path / "more"), "--threshold-km", "20000"]
    assert cli.main(words) == 2
    assert "all 24 predictions are true at 20000 km" in capsys.readouterr().err
    assert cli.main([*words[:-1], "50"]) == 0
    assert json.loads(capsys.readouterr().out)["records"] == 16
