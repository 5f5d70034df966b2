"""The evaluation stage where models may zoom and search."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from geoagent.config import to_yaml
from geoagent.errors import OutageError
from geoagent.evaluate import __main__ as program
from geoagent.evaluate import predicting
from geoagent.evaluate.benchmark import evaluate, predict
from geoagent.evaluate.completions import Shard
from geoagent.files import read_jsonl, write_jsonl
from geoagent.run import Run
from tests.unit.evaluate.test_benchmark import (  # noqa: F401, make_run is a fixture
    events_of,
    kept,
    make_run,
    result_of,
    weigh,
)
from tests.unit.rollout.provider import Shelf, hit
from tests.unit.rollout.reader import call

SCRIPT = (
    "<think>A sign.</think>" + call("image_zoom_in_tool", bbox_2d=[1, 1, 20, 20]),
    "<think>It says Huaraz.</think>" + call("search_web", query="Huaraz"),
    "<think>Found.</think><answer>Peru; Ancash; Huaraz</answer>",
)


class Caller:
    """The SFT model follows the script, the base model calls nothing."""

    calls: list[tuple[int, dict[str, Any]]]

    def __init__(self, candidate: Any, config: Any, max_pixels: int | None) -> None:
        self.name = candidate.name

    def reply(self, conversations: Sequence[Any], most: int, **options: Any) -> list[str]:
        self.calls.append((len(conversations), options))
        if self.name == "base":
            return ["???" for _ in conversations]
        turns = [sum(m["role"] == "assistant" for m in messages) for messages, _ in conversations]
        assert [len(images) for _, images in conversations] == [1 + bool(turn) for turn in turns]
        return [SCRIPT[turn] for turn in turns]

    def close(self) -> None:
        pass


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Shelf:
    shelf = Shelf({"Huaraz": [hit("Huaraz", "a city in Peru", "x:1")]})
    monkeypatch.setattr(predicting, "provider", lambda settings: shelf)
    return shelf


@pytest.fixture
def caller(monkeypatch: pytest.MonkeyPatch) -> type[Caller]:
    fresh = type("Fresh", (Caller,), {"calls": []})
    monkeypatch.setattr("geoagent.evaluate.predict.Predictor", fresh)
    return fresh


@pytest.fixture
def run(make_run: Callable[..., Run]) -> Run:  # noqa: F811
    run = make_run()
    change(run)
    return run


def change(run: Run, **rollout: Any) -> None:
    config = run.config()
    config.rollout.eval = True
    for name, value in rollout.items():
        setattr(config.rollout, name, value)
    weigh(config, format=1.0, hierarchical=1.0)
    run.config_file.write_text(to_yaml(config))


def rows_of(run: Run, model: str) -> list[Any]:
    rows = read_jsonl(run.evaluation("heldout") / "predictions.jsonl")
    return [row for row in rows if row["model"] == model]


def test_rows_have_the_whole_trace(
    run: Run, shelf: Shelf, caller: type[Caller], capsys: pytest.CaptureFixture[str]
) -> None:
    assert program.main(["--run", str(run.path)]) == 0
    row = rows_of(run, "sft")[0]
    assert row["completion"] == SCRIPT[-1]
    assert (row["ended"], row["turns"], row["crops"], row["searches"]) == ("answer", 3, 1, 1)
    turns = row["trace"]["turns"]
    assert [turn["completion"] for turn in turns] == [*SCRIPT]
    assert [turn["why"] for turn in turns] == ["zoom", "search", "answer"]
    assert turns[1]["call"] == {"name": "search_web", "arguments": {"query": "Huaraz"}}
    assert "a city in Peru" in turns[1]["observation"]
    assert row["rewards"] == {"format": 1.0, "hierarchical": 4.0}
    assert row["distance_km"] == pytest.approx(0, abs=0.01)
    base = rows_of(run, "base")[0]
    assert (base["completion"], base["ended"], base["turns"]) == ("???", "no answer", 1)
    models = result_of(run)["models"]
    assert models["sft"]["tools"] == {"turns": 3, "crops": 1, "searches": 1, "answered": 1}
    assert models["base"]["tools"] == {"turns": 1, "crops": 0, "searches": 0, "answered": 0}
    told = "SFT: 3.0 turns, 1.0 crops and 1.0 searches an image; 100% ended with an answer"
    assert told in capsys.readouterr().out


def test_tensorboard_has_all_turns(run: Run, shelf: Shelf, caller: type[Caller]) -> None:
    assert program.main(["--run", str(run.path)]) == 0
    events = events_of(run, "sft")
    assert [event.value for event in events.Scalars("eval/tools_turns")] == [3.0]
    text = events.Tensors("best/1/text_summary")[0].tensor_proto.string_val[0].decode()
    assert text.index("A sign.") < text.index("It says Huaraz.") < text.index("Found.")


def test_each_turn_of_a_batch_is_sampled_with_a_seed_of_its_own(
    run: Run, shelf: Shelf, caller: type[Caller]
) -> None:
    config = run.config()
    config.eval.reward_samples, config.eval.models = 1, "last"
    evaluate(config, run, None)
    seeds = [options["seed"] for _, options in caller.calls]
    assert len(seeds) == len(set(seeds)) == 2 * 3 * 3  # draws, batches, turns
    heat = [options["temperature"] for _, options in caller.calls]
    assert heat == [0.0] * 9 + [config.grpo.temperature] * 9
    sampled = read_jsonl(run.evaluation("heldout") / "sampled.jsonl")
    assert [row["trace"]["why"] for row in sampled] == ["answer"] * 5
    caller.calls.clear()
    kept(run).unlink()
    evaluate(config, run, None)
    assert [options["seed"] for _, options in caller.calls] == seeds


def test_an_outage_keeps_what_was_predicted(run: Run, shelf: Shelf, caller: type[Caller]) -> None:
    config = run.config()
    config.eval.models = "last"
    found, asked = shelf.find, []

    def fail(query: str) -> Any:
        asked.append(query)
        shelf.down = len(asked) > 3  # in the second batch
        return found(query)

    shelf.find = fail  # type: ignore[method-assign]
    with pytest.raises(OutageError, match="the shelf is away"):
        evaluate(config, run, None)
    assert [row["id"] for row in read_jsonl(kept(run))] == ["a", "b"]
    assert not (run.evaluation("heldout") / "predictions.jsonl").exists()
    shelf.down = False
    shelf.find = found  # type: ignore[method-assign]
    caller.calls.clear()
    evaluate(config, run, None)
    assert [count for count, _ in caller.calls] == [2, 2, 2, 1, 1, 1]
    assert [row["turns"] for row in rows_of(run, "sft")] == [3] * 5
    assert rows_of(run, "sft")[0]["trace"]["turns"][1]["why"] == "search"  # as it was kept


def test_an_outage_ends_the_stage_with_its_code(
    run: Run, shelf: Shelf, caller: type[Caller]
) -> None:
    shelf.down = True
    assert program.main(["--run", str(run.path)]) == 75
    assert not run.done_file("eval").exists()


def test_shards_are_put_together(run: Run, shelf: Shelf, caller: type[Caller]) -> None:
    config = run.config()
    whole = evaluate(config, run, None)
    before = rows_of(run, "sft")
    for file in (run.evaluation("heldout") / "completions").iterdir():
        file.unlink()
    for index in range(2):
        predict(config, run, Shard(index, 2))
    caller.calls.clear()
    assert evaluate(config, run, None) == whole
    assert rows_of(run, "sft") == before
    assert caller.calls == []


@pytest.mark.parametrize(
    "change_of",
    ["turns", "crops", "searches", "results", "provider", "documents", "replay", "tools"],
)
def test_other_tools_predict_again(
    change_of: str, run: Run, shelf: Shelf, caller: type[Caller], tmp_path: Path
) -> None:
    replay, document = tmp_path / "replay.jsonl", tmp_path / "documents" / "a.md"
    write_jsonl(replay, [{"query": "Huaraz", "results": []}])
    document.parent.mkdir()
    document.write_text("# Huaraz\n")
    config = run.config()
    config.eval.models = "last"
    if change_of == "replay":
        config.rollout.search.replay = str(replay)
    elif change_of == "documents":
        config.rollout.search.documents = str(document.parent)
    evaluate(config, run, None)
    caller.calls.clear()
    evaluate(config, run, None)
    assert caller.calls == []
    if change_of == "replay":
        write_jsonl(replay, [{"query": "Huaraz", "results": []}, {"query": "x", "results": []}])
    elif change_of == "documents":
        document.write_text("# Huaraz\nA city.\n")
    elif change_of == "provider":
        config.rollout.search.provider = "tavily"
    elif change_of == "tools":
        config.rollout.eval = False
        caller.complete = lambda self, images, *a, **o: ["?" for _ in images]  # type: ignore[attr-defined]
    else:
        setattr(config.rollout, change_of, 4)
    result = evaluate(config, run, None)
    if change_of == "tools":
        assert "trace" not in rows_of(run, "sft")[0]
        assert "tools" not in result["heldout"]["models"]["sft"]
    else:
        assert len(caller.calls) == 9


def test_how_a_search_is_paced_changes_nothing(
    run: Run, shelf: Shelf, caller: type[Caller]
) -> None:
    config = run.config()
    evaluate(config, run, None)
    caller.calls.clear()
    config.rollout.search.timeout_s, config.rollout.search.record = 3.0, "searches.jsonl"
    config.rollout.train = True
    evaluate(config, run, None)
    assert caller.calls == []


def test_what_is_kept_is_json_that_others_read(
    run: Run, shelf: Shelf, caller: type[Caller]
) -> None:
    program.main(["--run", str(run.path)])
    lines = kept(run).read_text().splitlines()
    assert {"model", "id", "completion", "draw", "made_with", "trace"} == json.loads(
        lines[0]
    ).keys()
