"""The evaluation stage with a predictor that needs no model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from geoagent.agent.client import AgentStats, Judgement
from geoagent.config import Config, to_yaml
from geoagent.errors import OutageError, UsageError
from geoagent.evaluate import __main__ as program
from geoagent.evaluate import benchmark
from geoagent.evaluate.benchmark import evaluate, made_with, predict
from geoagent.evaluate.completions import Shard
from geoagent.evaluate.models import candidates, choose, from_folder, trained_pixels
from geoagent.evaluate.scoring import gain
from geoagent.evaluate.table import table
from geoagent.files import claimed, read_jsonl, write_json, write_jsonl
from geoagent.run import Run
from geoagent.train.checkpoints import seal

PLACES = {
    "a": ("Peru; Ancash; Huaraz", -9.52614, -77.52869),
    "b": ("France; Ile-de-France; Paris", 48.85341, 2.3488),
    "c": ("Norway; Oslo; Oslo", 59.91273, 10.74609),
    "d": ("Japan; Tokyo; Tokyo", 35.6895, 139.69171),
    "e": ("Peru; Ancash; Huaraz", -9.52614, -77.52869),
}


def answer(place: str) -> str:
    return f"<think>{{}}</think><answer>{place}</answer>"


class FakePredictor:
    """Says Huaraz for every photo if it is the SFT model, nonsense if it is the base."""

    loads: list[str]
    closed: list[str]
    calls: list[tuple[list[str], dict[str, Any]]]
    die_at: int | None

    def __init__(self, candidate: Any, config: Any, max_pixels: int | None) -> None:
        self.loads.append(candidate.name)
        self.name = candidate.name

    def complete(
        self, images: Sequence[Path], question: str, max_new_tokens: int, **options: Any
    ) -> list[str]:
        if len(self.calls) == self.die_at:
            raise KeyboardInterrupt
        self.calls.append(([image.stem for image in images], options))
        said = answer("Peru; Ancash; Huaraz") if self.name == "sft" else "???"
        return [said for _ in images]

    def close(self) -> None:
        self.closed.append(self.name)


@pytest.fixture
def predictor(monkeypatch: pytest.MonkeyPatch) -> type[FakePredictor]:
    fields: dict[str, Any] = {"loads": [], "closed": [], "calls": [], "die_at": None}
    fresh = type("Fresh", (FakePredictor,), fields)
    monkeypatch.setattr("geoagent.evaluate.predict.Predictor", fresh)
    return fresh


def write_dataset(folder: Path, split: str = "heldout") -> None:
    rows = []
    for name, (address, latitude, longitude) in PLACES.items():
        country, region, city = address.split("; ")
        (folder / "images").mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (28, 28)).save(folder / "images" / f"{name}.jpg")
        rows.append(
            {
                "id": name,
                "image": f"images/{name}.jpg",
                "latitude": latitude,
                "longitude": longitude,
                "country": country,
                "region": region,
                "city": city,
                "split": split,
            }
        )
    rows.append({**rows[0], "id": "t", "split": "train"})
    rows.append({**rows[0], "id": "bad", "latitude": 123})
    write_jsonl(folder / "records.jsonl", rows)


@pytest.fixture
def make_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    monkeypatch.chdir(tmp_path)
    write_dataset(tmp_path / "dataset")

    def make(report: bool = False, **changes: Any) -> Run:
        if not report:  # it takes seconds
            monkeypatch.setattr("geoagent.report.page.make_report", lambda runs, out: out)
        config = Config()
        config.model.kind = "tiny"
        config.data.name, config.data.path = "test", str(tmp_path / "dataset")
        weigh(config, format=1.0, spatial=1.5)
        config.eval.batch_size = 2
        for key, value in changes.items():
            setattr(config.eval, key, value)
        run = Run(tmp_path / "run")
        checkpoint(run.model)
        checkpoint(run.checkpoints("sft") / "checkpoint-5")
        run.config_file.write_text(to_yaml(config))
        return run

    return make


def weigh(config: Config, **weights: float) -> None:
    """Only these rewards; a weight of 0 switches the others off."""
    config.rewards.weights = dict.fromkeys(config.rewards.weights, 0.0) | weights


def checkpoint(folder: Path) -> None:
    if not folder.is_dir():
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(b"weights")
        seal(folder)


def result_of(run: Run, benchmark: str = "heldout") -> Any:
    return json.loads((run.evaluation(benchmark) / "metrics.json").read_text())


def kept(run: Run, shard: str = "0-of-1") -> Path:
    return run.evaluation("heldout") / "completions" / f"{shard}.jsonl"


def test_figures_rows_and_curves(
    make_run: Callable[..., Run],
    predictor: type[FakePredictor],
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = make_run()
    assert program.main(["--run", str(run.path)]) == 0
    result = result_of(run)
    assert list(result["models"]) == ["base", "sft"]
    assert result["last"] == "sft"
    assert result["rejected"] == 1
    base, sft = result["models"]["base"], result["models"]["sft"]
    assert (base["count"], base["parse_rate"], base["geocoded_rate"]) == (5, 0.0, 0.0)
    assert base["mean_reward"] == 0.0
    assert (sft["parse_rate"], sft["accuracy_1km"]) == (1.0, 0.4)
    assert sft["rewards"]["format"] == 1.0
    # Two of five are exactly right, the others thousands of km off.
    assert sft["rewards"]["spatial"] == pytest.approx(0.4, abs=1e-4)
    assert sft["mean_reward"] == pytest.approx(1.0 + 1.5 * 0.4, abs=1e-3)
    assert result["uniform"]["accuracy_25km"] == 0.4  # the training split knows only Huaraz
    assert "agent" not in result
    rows = list(read_jsonl(run.evaluation("heldout") / "predictions.jsonl"))
    assert [(row["model"], row["id"]) for row in rows[4:6]] == [("base", "e"), ("sft", "a")]
    assert rows[0]["predicted_latitude"] is None
    assert rows[0]["distance_km"] is None
    assert rows[5]["level"] == "city"
    assert rows[5]["distance_km"] == pytest.approx(0.0, abs=0.01)
    assert rows[5]["rewards"]["spatial"] == pytest.approx(1.0, abs=1e-4)
    printed = capsys.readouterr().out
    assert "uniform guess" in printed
    assert "SFT" in printed
    assert json.loads(run.done_file("eval").read_text())["models"] == ["base", "sft"]
    progress = json.loads(run.progress_file("eval").read_text())
    assert (progress["step"], progress["total"], progress["message"]) == (10, 10, "done")
    assert scalar(run, "sft", "eval/accuracy_1km") == pytest.approx(0.4)
    assert scalar(run, "sft", "eval/reward_format") == 1.0


def test_figures_are_broken_down_by_what_the_records_have(
    make_run: Callable[..., Run],
    predictor: type[FakePredictor],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    run = make_run(rewards=False)
    records = tmp_path / "dataset" / "records.jsonl"
    rows = [
        {**row, "locatability": number, "data_type": "photo", "scene": {"sign": "often"}}
        for number, row in enumerate(read_jsonl(records))
    ]
    write_jsonl(records, rows)
    assert program.main(["--run", str(run.path)]) == 0
    sft = result_of(run)["models"]["sft"]
    assert set(sft["by"]) == {"data_type", "locatability", "continent", "country"}
    assert sft["by"]["country"]["Peru"]["accuracy_1km"] == 1.0
    assert sft["by"]["continent"]["Europe"]["count"] == 2
    assert sft["by"]["locatability"]["0-2"]["count"] == 2
    assert sft["country_accuracy"] == sft["city_accuracy"] == 0.4
    assert sft["failures"]["no_answer"] == 0
    low, high = sft["intervals"]["geoscore"]
    printed = capsys.readouterr()
    assert f"± {(high - low) / 2:.0f}" in printed.out
    assert 'no break-down by scene: sign: "often" is none of yes, no, maybe' in printed.err
    row = next(read_jsonl(run.evaluation("heldout") / "predictions.jsonl"))
    assert (row["locatability"], row["data_type"]) == (0, "photo")


def test_the_rules_are_chosen_in_the_configuration(
    make_run: Callable[..., Run], predictor: type[FakePredictor]
) -> None:
    run = make_run(rules="geovista", rewards=False)
    program.main(["--run", str(run.path)])
    base = result_of(run)["models"]["base"]
    assert (base["rules"], base["failures"]["no_answer"]) == ("geovista", 5)
    assert base["median_km"] > 2500  # from Honiara


def test_rewards_have_intervals(
    make_run: Callable[..., Run], predictor: type[FakePredictor]
) -> None:
    run = make_run()
    program.main(["--run", str(run.path)])
    sft = result_of(run)["models"]["sft"]
    low, high = sft["intervals"]["mean_reward"]
    assert low < sft["mean_reward"] < high
    assert sft["intervals"]["reward_format"] == [1.0, 1.0]


def scalar(run: Run, model: str, tag: str) -> float:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.evaluation("heldout") / "tensorboard" / model))
    events.Reload()
    return float(events.Scalars(tag)[0].value)


def test_goes_on_after_a_kill(make_run: Callable[..., Run], predictor: type[FakePredictor]) -> None:
    run = make_run()
    predictor.die_at = 4  # base has 3 batches; sft is killed in its second
    with pytest.raises(KeyboardInterrupt):
        evaluate(run.config(), run, None)
    path = kept(run)
    assert len(list(read_jsonl(path))) == 7
    with path.open("a") as file:
        file.write('{"model": "sft", "id": "c", "comple')
    predictor.die_at = None
    predictor.calls.clear()
    predictor.loads.clear()
    evaluate(run.config(), run, None)
    assert predictor.loads == ["sft"]
    assert [images for images, _ in predictor.calls] == [["c", "d"], ["e"]]
    assert len(list(read_jsonl(path))) == 10
    assert len(list(read_jsonl(run.evaluation("heldout") / "predictions.jsonl"))) == 10


def test_a_batch_that_is_there_in_part_is_made_again_whole(
    make_run: Callable[..., Run], predictor: type[FakePredictor]
) -> None:
    run = make_run()
    evaluate(run.config(), run, None)
    path = kept(run)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if '"sft", "id": "d"' not in line))
    predictor.calls.clear()
    evaluate(run.config(), run, None)
    assert [images for images, _ in predictor.calls] == [["c", "d"]]
    assert len(list(read_jsonl(path))) == 10


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_shards_give_what_one_process_gives(
    make_run: Callable[..., Run], predictor: type[FakePredictor], order: tuple[int, ...]
) -> None:
    run = make_run(reward_samples=1)
    whole = evaluate(run.config(), run, None)
    output = run.evaluation("heldout")
    files = [output / name for name in ("predictions.jsonl", "sampled.jsonl", "metrics.json")]
    before = [file.read_bytes() for file in files]
    calls = sorted(map(str, predictor.calls))
    shutil.rmtree(run.stage("eval"))
    predictor.calls.clear()
    missing = []
    for index in order:
        assert program.main(["--run", str(run.path), "--shard", f"{index}/3"]) == 0
        done = json.loads(run.done_file(f"eval/shards/{index}-of-3").read_text())
        missing.append(done["missing"])
    assert missing[-1] == 0
    assert 0 not in missing[:-1]
    assert not files[0].exists()
    assert sorted(map(str, predictor.calls)) == calls  # no batch twice, none left out
    predictor.calls.clear()
    assert evaluate(run.config(), run, None) == whole
    assert predictor.calls == []
    assert [file.read_bytes() for file in files] == before
    assert program.main(["--run", str(run.path)]) == 0
    assert json.loads(run.done_file("eval").read_text())["made_with"] == done["made_with"]


def test_a_shard_is_predicted_by_one_process(
    make_run: Callable[..., Run],
    predictor: type[FakePredictor],
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = make_run()
    with claimed(run.evaluation("heldout") / "completions" / "1-of-3.lock"):
        assert program.main(["--run", str(run.path), "--shard", "1/3"]) == 2
        assert "another process predicts shard 1-of-3" in capsys.readouterr().err
        assert program.main(["--run", str(run.path), "--shard", "0/3"]) == 0
    assert program.main(["--run", str(run.path), "--shard", "3/3"]) == 2
    assert "not a shard such as 0/4" in capsys.readouterr().err


def test_new_weights_are_predicted_again(
    make_run: Callable[..., Run], predictor: type[FakePredictor]
) -> None:
    run = make_run()
    evaluate(run.config(), run, None)
    assert predictor.closed == predictor.loads == ["base", "sft"]
    predictor.loads.clear()
    evaluate(run.config(), run, None)
    assert predictor.loads == []
    checkpoint(run.checkpoints("sft") / "checkpoint-6")
    evaluate(run.config(), run, None)
    assert predictor.loads == ["sft"]


def test_another_engine_predicts_again(
    make_run: Callable[..., Run],
    predictor: type[FakePredictor],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class FakeVllm(predictor):  # type: ignore[misc, valid-type]
        def __init__(self, candidate: Any, config: Any, *sizes: Any) -> None:
            super().__init__(candidate, config, sizes[0])
            bounds = (Config().model.max_pixels, Config().eval.max_new_tokens, 2)
            assert sizes == (*bounds, None)  # without tools

    monkeypatch.setattr("geoagent.evaluate.vllm.VllmPredictor", FakeVllm)
    run = make_run()
    evaluate(run.config(), run, None)
    run = make_run(engine="vllm")
    evaluate(run.config(), run, None)
    assert predictor.loads == ["base", "sft"] * 2
    evaluate(run.config(), run, None)
    assert len(predictor.loads) == 4


def test_fewer_samples_give_figures_of_fewer(
    make_run: Callable[..., Run], predictor: type[FakePredictor]
) -> None:
    run = make_run()
    evaluate(run.config(), run, None)
    run = make_run(limit=2)
    assert evaluate(run.config(), run, None)["heldout"]["models"]["sft"]["count"] == 2


def test_samples_have_the_same_seeds_for_all_models(
    make_run: Callable[..., Run], predictor: type[FakePredictor]
) -> None:
    run = make_run(reward_samples=2)
    result = evaluate(run.config(), run, None)["heldout"]
    calls = [(tuple(images), tuple(sorted(options.items()))) for images, options in predictor.calls]
    assert len(calls) == 2 * 3 * 3
    assert calls[:9] == calls[9:]
    seeds = {options["seed"] for _, options in predictor.calls}
    assert len(seeds) == 9
    hot = [options for _, options in predictor.calls if options["temperature"] > 0]
    assert len(hot) == 12
    sampled = list(read_jsonl(run.evaluation("heldout") / "sampled.jsonl"))
    assert len(sampled) == 20
    assert {row["draw"] for row in sampled} == {1, 2}
    assert "spatial" in sampled[0]["rewards"]
    sft = result["models"]["sft"]
    assert sft["sampled_mean_reward"] == pytest.approx(sft["mean_reward"])
    assert (run.evaluation("heldout") / "table.txt").read_text().count("1.600") == 2
    predictor.calls.clear()
    evaluate(run.config(), run, None)
    assert predictor.calls == []


def test_without_rewards_nothing_is_sampled_or_scored(
    make_run: Callable[..., Run], predictor: type[FakePredictor]
) -> None:
    run = make_run(rewards=False, reward_samples=2)
    result = evaluate(run.config(), run, None)["heldout"]
    assert "mean_reward" not in result["models"]["sft"]
    assert len(predictor.calls) == 6
    assert "reward" not in (run.evaluation("heldout") / "table.txt").read_text()


class FakeAgent:
    """Agrees with nothing and counts."""

    def __init__(self, away: bool = False) -> None:
        self.away = away
        self.stats = AgentStats()

    def check(self) -> None:
        if self.away:
            raise OutageError("the agent is away")

    def ask(self, questions: Sequence[Any]) -> list[Judgement]:
        self.check()
        self.stats.asked += len(questions)
        return [Judgement("Nowhere") for _ in questions]


@pytest.mark.parametrize("away", [False, True])
def test_an_outage_is_never_a_reward(
    make_run: Callable[..., Run],
    predictor: type[FakePredictor],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    away: bool,
) -> None:
    run = make_run()
    config = run.config()
    weigh(config, consistency=1.0)
    run.config_file.write_text(to_yaml(config))
    stage = {"Clues": [], "Reasoning": "x" * 150, "Conclusion": "Peru", "Uncertainty": ""}
    think = json.dumps({"ChainOfThought": {"CountryIdentification": stage}})
    text = f"<think>{think}</think><answer>Peru; Ancash</answer>"
    monkeypatch.setattr(predictor, "complete", lambda self, images, *_, **__: [text] * len(images))
    monkeypatch.setattr("geoagent.train.rewards.make_agent", lambda *_: FakeAgent(away))
    code = program.main(["--run", str(run.path)])
    output = run.evaluation("heldout")
    assert len(list(read_jsonl(kept(run)))) == 10
    if away:
        assert code == 75
        assert capsys.readouterr().err == "error: the agent is away\n"
        assert not (output / "metrics.json").exists()
        assert not run.done_file("eval").exists()
    else:
        assert code == 0
        assert result_of(run)["agent"]["asked"] == 10
        asked = result_of(run)["models"]["sft"]["agent"]
        assert asked == {"asked": 5, "agreed": 0, "failed": 0}


def test_photographs_are_a_second_benchmark_beside_the_drawn_sample(
    make_run: Callable[..., Run],
    predictor: type[FakePredictor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_dataset(tmp_path / "photos", "photos")
    monkeypatch.setattr(benchmark, "PHOTOS_FOLDER", tmp_path / "photos")
    monkeypatch.setattr(benchmark, "dataset_folder", lambda config: tmp_path / "dataset")
    run = make_run(reward_samples=1)
    config = run.config()
    config.data.path = None
    results = evaluate(config, run, None)
    assert list(results) == ["heldout", "photos"]
    assert results["photos"]["models"]["sft"]["accuracy_1km"] == 0.4
    assert "sampled_mean_reward" not in results["photos"]["models"]["sft"]
    assert (run.evaluation("photos") / "predictions.jsonl").is_file()
    assert predictor.loads == ["base", "sft"]  # once for both


def test_a_benchmark_has_a_folder_of_its_own(
    make_run: Callable[..., Run], predictor: type[FakePredictor], tmp_path: Path
) -> None:
    write_dataset(tmp_path / "im2gps3k", "test")
    run = make_run(benchmark="im2gps3k", path=str(tmp_path / "im2gps3k"), split="test")
    config = run.config()
    results = evaluate(config, run, None)
    assert list(results) == ["im2gps3k"]
    assert results["im2gps3k"]["uniform"]["places"] == 1  # of the run's training split
    config.data.path = None  # chance among the drawn sample's places would mean nothing
    assert "places" not in evaluate(config, run, None)["im2gps3k"]["uniform"]


def test_nothing_to_evaluate_on(
    make_run: Callable[..., Run],
    predictor: type[FakePredictor],
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = make_run()
    config = run.config()
    config.data.eval_split = "none"
    run.config_file.write_text(to_yaml(config))
    assert program.main(["--run", str(run.path)]) == 2
    error = capsys.readouterr().err
    assert "no usable record in split 'none'" in error
    assert error.count("\n") == 1


def test_models_of_a_run(make_run: Callable[..., Run]) -> None:
    run = make_run()
    adapters = run.checkpoints("grpo") / "checkpoint-9"
    checkpoint(adapters)
    write_json(adapters / "adapter_config.json", {})
    found = candidates(run.config(), run)
    assert [candidate.name for candidate in found] == ["base", "sft", "grpo"]
    assert found[2].model == found[1].model == str(run.checkpoints("sft") / "checkpoint-5")
    assert found[2].adapters == str(adapters)
    assert choose(run.config(), run) == found[2]
    assert choose(run.config(), run, "sft") == found[1]


def test_what_judging_made_is_a_model_of_a_run(make_run: Callable[..., Run]) -> None:
    run = make_run()
    judged, adapters = run.checkpoints("judge") / "checkpoint-7", run.checkpoints("grpo")
    for folder in (judged, adapters / "checkpoint-9"):
        checkpoint(folder)
    write_json(adapters / "checkpoint-9" / "adapter_config.json", {})
    config = run.config()
    config.grpo.start_from = "judge"
    found = candidates(config, run)
    assert [candidate.name for candidate in found] == ["base", "sft", "judge", "grpo"]
    assert found[3].model == found[2].model == str(judged)


def test_only_the_last_model(
    make_run: Callable[..., Run],
    predictor: type[FakePredictor],
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Tables, gains, report and TensorBoard do with one; so do shards."""
    run = make_run(report=True, models="last", reward_samples=1)
    assert predict(run.config(), run, Shard(0, 2)) == 2 * 2  # one model, of 5 samples the last 2
    assert predict(run.config(), run, Shard(1, 2)) == 0
    assert program.main(["--run", str(run.path)]) == 0
    assert predictor.loads == ["sft", "sft"]
    result = result_of(run)
    assert (list(result["models"]), result["last"], result["gains"]) == (["sft"], "sft", {})
    rows = list(read_jsonl(run.evaluation("heldout") / "predictions.jsonl"))
    assert [(row["model"], row["id"]) for row in rows] == [("sft", name) for name in PLACES]
    assert [folder.name for folder in (run.evaluation("heldout") / "tensorboard").iterdir()] == [
        "sft"
    ]
    said = capsys.readouterr()
    assert "SFT" in said.out
    assert "warning" not in said.err
    page = (run.path / "report" / "report.html").read_text()
    assert "Best and worst of SFT" in page
    assert "Is the difference more than chance?" not in page
    assert choose(run.config(), run, "base").name == "base"  # `locate --stage base` has it still


def test_the_base_model_is_the_last_of_a_run_that_trained_nothing(
    make_run: Callable[..., Run], predictor: type[FakePredictor]
) -> None:
    run = make_run(models="last")
    shutil.rmtree(run.checkpoints("sft"))
    result = evaluate(run.config(), run, None)["heldout"]
    assert (list(result["models"]), result["last"]) == (["base"], "base")


def test_more_models_are_added_to_the_last(
    make_run: Callable[..., Run], predictor: type[FakePredictor]
) -> None:
    """Predictions that are there are kept when eval.models changes, and it is another result."""
    run = make_run(models="last")
    evaluate(run.config(), run, None)
    last = made_with(run.config(), run)
    run = make_run(models="all")
    assert made_with(run.config(), run) != last
    assert list(evaluate(run.config(), run, None)["heldout"]["models"]) == ["base", "sft"]
    assert predictor.loads == ["sft", "base"]


def test_unknown_models_are_refused(make_run: Callable[..., Run]) -> None:
    run = make_run()
    with pytest.raises(UsageError, match="no model 'grpo'; it has base, sft"):
        choose(run.config(), run, "grpo")


def test_models_by_their_folder(tmp_path: Path) -> None:
    checkpoint(tmp_path / "model")
    assert from_folder(tmp_path / "model").adapters is None
    adapters = tmp_path / "adapters"
    write_json(adapters / "adapter_config.json", {"base_model_name_or_path": "someone/else"})
    with pytest.raises(UsageError, match="not a folder here"):
        from_folder(adapters)
    base = str(tmp_path / "model")
    write_json(adapters / "adapter_config.json", {"base_model_name_or_path": base})
    assert from_folder(adapters).model == base
    with pytest.raises(UsageError, match=r"has no config\.json"):
        from_folder(tmp_path)
    assert trained_pixels(adapters) is None
    write_json(adapters / "args.json", {"max_pixels": 784})
    assert trained_pixels(adapters) == 784


def test_the_table_tells_the_agents_share() -> None:
    def figures(**agent: int) -> dict[str, Any]:
        return {"count": 1, "mean_reward": 1.0, "rewards": {"consistency": 1.0}, "agent": agent}

    models = {"base": figures(asked=0, agreed=0), "sft": figures(asked=9, agreed=5, failed=1)}
    text = table({"models": models, "last": "sft"}, "heldout")
    (line,) = [line for line in text.splitlines() if "the agent" in line]
    assert line == "SFT: the agent came to 5 of 9 conclusions as well; 1 unusable replies"


def test_the_table_tells_where_misses_lie_by_geovistas_rules() -> None:
    def told(rules: str, *rates: float | None) -> list[str]:
        rows = [{"count": 8, "rules": rules, "geocoded_rate": rate} for rate in rates]
        models = dict(zip(("base", "sft", "grpo"), rows, strict=False))
        text = table({"models": models, "last": "sft"}, "geobench")
        return [line for line in text.splitlines() if "Honiara" in line]

    (line,) = told("geovista", 0.0, 0.875, 1.0)
    assert line.endswith("Share of such images: base 100.0%, SFT 12.5%")
    assert told("geovista", 1.0, None) == []
    assert told("geoagent", 0.5) == []


def test_gain_is_taken_image_by_image() -> None:
    def rows(**rewards: list[float]) -> list[dict[str, Any]]:
        return [{"id": name, "reward": r} for name, draws in rewards.items() for r in draws]

    before = rows(a=[1.0, 2.0], b=[3.0, 3.0], c=[0.0, 0.0])
    after = rows(c=[4.0, 4.0], a=[2.5, 2.5], b=[4.0, 4.0])
    # differences 1, 1 and 4: mean 2, standard deviation √3, over √3 images
    assert gain(before, after) == {"mean": pytest.approx(2), "standard_error": pytest.approx(1)}
    one = gain(rows(a=[1.0]), rows(a=[0.5]))
    assert one == {"mean": -0.5, "standard_error": None}


def test_the_table_says_what_grpo_is_paid_for() -> None:
    figures = {"count": 2, "mean_reward": 1.0, "rewards": {"spatial": 1.0}}
    result: dict[str, Any] = {"models": {"sft": figures, "grpo": figures}, "last": "grpo"}
    gained = {"mean": 0.5, "standard_error": 0.125}
    lost = {"mean": -0.25, "standard_error": None}
    result["gains"] = {"grpo": {"over": "sft", "reward": gained, "sampled_reward": lost}}
    (line,) = [line for line in table(result, "x").splitlines() if "GRPO is paid" in line]
    assert "+0.50 ± 0.12 (greedy), -0.25 (sampled) over SFT" in line


def test_gains_are_over_the_model_before(
    make_run: Callable[..., Run], predictor: type[FakePredictor]
) -> None:
    run = make_run(reward_samples=1)
    result = evaluate(run.config(), run, None)["heldout"]
    rewards = {name: figures["mean_reward"] for name, figures in result["models"].items()}
    gains = result["gains"]["sft"]
    assert gains["over"] == "base"
    assert gains["reward"]["mean"] == pytest.approx(rewards["sft"] - rewards["base"])
    assert gains["sampled_reward"]["mean"] == pytest.approx(gains["reward"]["mean"])


def events_of(run: Run, model: str) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run.evaluation("heldout") / "tensorboard" / model))
    return events.Reload()


def test_tensorboard_has_figures_map_examples_and_settings(
    make_run: Callable[..., Run], predictor: type[FakePredictor]
) -> None:
    run = make_run(reward_samples=1)
    result = evaluate(run.config(), run, None)["heldout"]["models"]["sft"]
    events = events_of(run, "sft")
    tags = set(events.Tags()["scalars"])
    numbers = [key for key, value in result.items() if isinstance(value, int | float)]
    assert tags >= {f"eval/{key}" for key in numbers}
    assert {"eval/reward_spatial", "eval/sampled_reward_spatial", "eval/failures_no_answer"} <= tags
    assert {"geoscore_by_country/Peru", "geoscore_by_continent/South America"} <= tags
    (score,) = events.Scalars("eval/geoscore")
    assert (score.step, score.value) == (5, pytest.approx(result["geoscore"]))
    (drawn,) = events.Images("eval/error_map")
    assert (drawn.step, drawn.width, drawn.height) == (5, 1200, 680)
    text = events.Tensors("best/1/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "answer   Peru; Ancash; Huaraz" in text
    assert "    <think>" in text
    plugins = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"rewards.weights.spatial" in plugins
    assert b"grpo.learning_rate" in plugins
    assert [event.step for event in events_of(run, "base").Scalars("eval/geoscore")] == [0]
    assert not events_of(run, "base").Tags()["images"]  # nothing was located


def test_a_report_is_made_at_the_end(
    make_run: Callable[..., Run],
    predictor: type[FakePredictor],
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = make_run(report=True)
    assert program.main(["--run", str(run.path)]) == 0
    page = run.path / "report" / "report.html"
    assert "Best and worst of SFT" in page.read_text()
    assert "report: run/report/report.html" in capsys.readouterr().out


def test_a_report_that_fails_fails_nothing_else(
    make_run: Callable[..., Run],
    predictor: type[FakePredictor],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = make_run()

    def broken(*_: Any) -> None:
        raise RuntimeError("no space left")

    monkeypatch.setattr("geoagent.report.page.make_report", broken)
    assert program.main(["--run", str(run.path)]) == 0
    error = capsys.readouterr().err
    assert "warning: the report could not be made (no space left)" in error
    assert "geoagent report run" in error
    assert run.done_file("eval").is_file()
