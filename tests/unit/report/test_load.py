"""Reading what a run has left behind."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from geoagent.errors import UsageError
from geoagent.report.curves import read_curves
from geoagent.report.load import load
from geoagent.report.published import published
from geoagent.run import Run

Make = Callable[..., Run]


def test_all_of_a_run(make_run: Make) -> None:
    run = make_run(count=20)
    loaded = load(run)
    (evaluation,) = loaded.evaluations
    assert evaluation.last == "grpo"
    assert list(evaluation.predictions) == ["base", "sft", "grpo"]
    assert len(evaluation.predictions["sft"].ids) == 20
    assert evaluation.notes == ()
    assert loaded.manifest["git"]["commit"] == "abc123"
    assert loaded.curves == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{broken", "predictions.jsonl:7: not JSON"),
        ('["a"]', "predictions.jsonl:7: not a JSON object"),
        ('{"id": "x"}', "predictions.jsonl:7: model: missing"),
        ('{"model": "base", "id": 3}', "predictions.jsonl:7: id: missing, or not a text"),
        ('{"model": "base", "id": "x"}', "predictions.jsonl:7: no column 'latitude'"),
        (
            '{"model": "base", "id": "x", "latitude": 99, "longitude": 0, '
            '"predicted_latitude": null, "predicted_longitude": null}',
            "predictions.jsonl:7: latitude: 99 is out of range",
        ),
    ],
)
def test_a_broken_line_is_named(make_run: Make, line: str, said: str) -> None:
    run = make_run(count=20)
    file = run.evaluation("mine") / "predictions.jsonl"
    lines = file.read_text().splitlines()
    lines[6] = line
    file.write_text("\n".join(lines))
    with pytest.raises(UsageError) as caught:
        load(run)
    assert said in str(caught.value)
    assert "evaluate the run again" in str(caught.value)


def test_an_image_twice_is_named(make_run: Make) -> None:
    run = make_run(count=20)
    file = run.evaluation("mine") / "predictions.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("\n".join([*lines[:5], lines[2], *lines[5:]]))
    with pytest.raises(UsageError, match=r"predictions\.jsonl:6: id 'image-2' is there twice"):
        load(run)


@pytest.mark.parametrize("text", ["[]", "{}", '{"models": {}}', '{"models": {"base": 3}}'])
def test_other_json_is_no_evaluation(make_run: Make, text: str) -> None:
    run = make_run(count=5)
    (run.evaluation("mine") / "metrics.json").write_text(text)
    with pytest.raises(UsageError, match="is not what an evaluation writes"):
        load(run)


def test_missing_rows_are_told(make_run: Make) -> None:
    run = make_run(count=20)
    file = run.evaluation("mine") / "predictions.jsonl"
    file.write_text("\n".join(file.read_text().splitlines()[:-1]))
    (note,) = load(run).evaluations[0].notes
    assert "19 rows of grpo, but metrics.json counts 20" in note
    file.unlink()
    (note,) = load(run).evaluations[0].notes
    assert "predictions.jsonl is missing" in note


def test_curves_of_a_resumed_stage_have_each_step_once(make_run: Make) -> None:
    from torch.utils.tensorboard import SummaryWriter

    run = make_run(count=5)
    folder = run.tensorboard("grpo")
    starts = ((1.0, 2.0, 3.0), (None, 5.0, 6.0), (None, None, float("nan")))
    for start, values in enumerate(starts):
        with SummaryWriter(str(folder)) as writer:
            for step, value in enumerate(values, start=1):
                if value is not None:
                    writer.add_scalar("train/reward", value, step)
        # Each start in a second of its own: names of files tell their order.
        (file,) = folder.glob("events.out.tfevents.[1-9]*")
        file.rename(folder / f"events.out.tfevents.{start:010d}.host")
    (curves,) = read_curves(run)
    steps, values = curves.scalars["train/reward"]
    assert steps.tolist() == [1, 2]
    assert values.tolist() == [1.0, 5.0]


def test_published_figures() -> None:
    known = published("GeoSeek-Val")
    assert known is not None
    rows = {row.name: row for row in known.rows if not row.ablation}
    assert known.images == 3000
    assert rows["GeoAgent"].figures["accuracy_25km"] == pytest.approx(0.1569)
    assert rows["GeoAgent"].figures["geoscore"] == 3314.1
    assert "2602.12617" in rows["GeoAgent"].source
    assert published("heldout") is None
    for name in ("im2gps3k", "geoseek_val", "gws15k", "greval", "geobench"):
        benchmark = published(name)
        assert benchmark is not None
        for row in benchmark.rows:
            shares = [value for key, value in row.figures.items() if "accuracy" in key]
            assert all(0 < share < 1 for share in shares), row
            within = [row.figures.get(f"accuracy_{km}km", 0) for km in (25, 200, 750)]
            assert within == sorted(within), row
