"""What is written into a sweep's folder, the page in a browser, and the program."""

from __future__ import annotations

import json
import re
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace

import pytest

from geoagent.files import claimed
from geoagent.report.charts import Chart
from geoagent.sweep import report
from geoagent.sweep.__main__ import main
from geoagent.sweep.effects import Front
from geoagent.sweep.pictures import front_chart, joined_labels
from geoagent.sweep.report import write_results
from geoagent.sweep.results import Results
from tests.unit.report.browser import Page, check

from .folders import Folder

pytestmark = pytest.mark.unit
FILES = {"table.txt", "table.md", "table.tex", "trials.csv", "results.json", "effects.md"}


def write_curve(folder: Folder, point: str) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder.run(point).tensorboard("grpo"))) as writer:
        for step in range(5):
            writer.add_scalar("train/reward", step, step)
            writer.add_scalar("train/rewards/spatial/mean", step / 5, step)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    home = tmp_path / "mine"
    home.mkdir()
    made = Folder(home, title="<b>& all</b>", seeds=[0, 1], published="geoseek_val")
    made.row("full", (0, 1), published="GeoAgent")
    made.row("no-agent", (0, 1), {"rewards.weights.consistency": 0.0}, varied=False)
    for number in range(4):
        settings = {"rewards.weights.spatial": 1.0 + number, "grpo.beta": number % 2 / 10}
        made.row(f"spatial-{number}", (0, 1), settings)
        for seed in (0, 1):
            made.done(f"spatial-{number}", seed, accuracy_25km=number / 10, geoscore=100.0 * number)
    made.done("full", 0, accuracy_25km=0.3, geoscore=200.0)
    made.failed("full", 1, cause="<script>alert(1)</script>")
    made.stopped("no-agent", 0)
    return made


def test_everything_is_written(folder: Folder) -> None:
    write_curve(folder, "spatial-3")
    report = folder.run("full").report
    report.mkdir()
    (report / "report.html").write_text("its own")
    out = folder.home.path / "results"
    out.mkdir()
    (out / "effects-sft-epochs.png").touch()
    (out / "mine.png").touch()
    write_results(folder.home)
    pictures = {"effects-rewards-weights-spatial.png", "effects-grpo-beta.png", "pareto.png"}
    pictures |= {"grpo-total-reward.png", "grpo-reward-spatial.png"}
    assert {f.name for f in out.iterdir()} == {*FILES, "report.html", "mine.png", *pictures}
    assert all((out / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
    page = (out / "report.html").read_text()
    assert "&lt;b&gt;&amp; all&lt;/b&gt;" in page
    assert "<script" not in page
    assert 'href="../full-s0-1a2b3c4d/report/report.html"' in page
    boards = {f.name for f in (folder.home.path / "tensorboard").iterdir()}
    assert boards == {"full-0", *(f"spatial-{n}-{seed}" for n in range(4) for seed in (0, 1))}


def test_hparams_of_a_trial(folder: Folder) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    write_results(folder.home)
    write_results(folder.home)  # replaced, not added to
    board = folder.home.path / "tensorboard" / "spatial-2-1"
    assert len(list(board.iterdir())) == 1
    events = EventAccumulator(str(board))
    events.Reload()
    assert [e.value for e in events.Scalars("eval/geoscore")] == [200.0]
    content = events.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    started = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
    assert started["point"].string_value == "spatial-2"
    assert started["seed"].number_value == 1
    assert started["rewards.weights.spatial"].number_value == 3.0
    assert started["rewards.weights.consistency"].number_value == 0.5  # of the configuration
    assert set(started) == {
        "point",
        "seed",
        "rewards.weights.spatial",
        "rewards.weights.consistency",
        "grpo.beta",
    }


def test_the_program(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([str(folder.home.path)], ["--run", str(folder.home.path)]):
        assert main(arguments) == 0
        said = capsys.readouterr()
        assert "12 trials: 9 done, 1 stopped early, 1 failed, 1 missing" in said.out
        assert "full-s1-1a2b3c4d: grpo: <script>alert(1)</script>" in said.out
        assert "results" in said.err
    done = json.loads((folder.home.path / "results" / "done.json").read_text())
    assert done["states"] == {"done": 9, "stopped early": 1, "failed": 1, "missing": 1}


def test_the_table_is_shown_before_pictures_are_drawn(
    folder: Folder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[str] = []

    def draw(results: Results, found: Front) -> Chart:
        shown.append(capsys.readouterr().out)
        return front_chart(results, found)

    monkeypatch.setattr("geoagent.sweep.report.front_chart", draw)
    assert main([str(folder.home.path)]) == 0
    assert "12 trials: 9 done" in shown[0]


def test_one_command_at_a_time_draws(
    folder: Folder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = folder.home.path / "results"
    there: list[list[bool]] = []
    with ExitStack() as other:
        assert other.enter_context(claimed(folder.home.path / "results.lock"))

        def wait(_: float) -> None:
            files = (out / "table.txt", out / "report.html", folder.home.path / "tensorboard")
            there.append([file.exists() for file in files])
            if len(there) == 3:
                other.close()

        monkeypatch.setattr(report, "time", SimpleNamespace(sleep=wait))
        write_results(folder.home)
    assert there == [[True, False, False]] * 3
    assert capsys.readouterr().err.count("another command draws") == 1
    assert (out / "report.html").is_file()
    assert (folder.home.path / "tensorboard" / "full-0").is_dir()


def test_numbers_of_equal_points_do_not_lie_on_each_other() -> None:
    places = [(0.5, 1.0), (0.5, 1.0), (0.25, 2.0)]
    assert joined_labels(places, ["1", "2", "3"]) == {(0.5, 1.0): "1, 2", (0.25, 2.0): "3"}


def test_nothing_has_finished(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = Folder(tmp_path)
    made.row("one", settings={"grpo.beta": 0.1})
    assert main([str(tmp_path)]) == 0
    assert "no trial has figures yet" in capsys.readouterr().out
    page = (tmp_path / "results" / "report.html").read_text()
    assert "No trial has figures yet" in page
    assert {f.name for f in (tmp_path / "results").iterdir()} == {
        *FILES,
        "report.html",
        "done.json",
    }


@pytest.mark.parametrize("text", [None, "{", "[]", '{"rows": [{}]}', '{"rows": [], "new": 1}'])
def test_what_is_no_sweep_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None
) -> None:
    if text is not None:
        (tmp_path / "sweep.json").write_text(text)
    assert main([str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_a_terminal_gets_the_best_of_many(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Folder(tmp_path, metrics=["geoscore"])
    for number in range(45):
        made.row(f"p{number}")
        made.done(f"p{number}", geoscore=float(number))
    assert main([str(tmp_path)]) == 0
    said = capsys.readouterr().out
    shown = [int(name) for name in re.findall(r"^\s*p(\d+) ", said, re.M)]
    assert shown == list(range(44, 4, -1))
    assert "40 of 45 points, the best by GeoScore; all: results/table.txt." in said
    assert len(re.findall(r"^\s*p\d+ ", (tmp_path / "results/table.txt").read_text(), re.M)) == 45


def test_in_a_browser(folder: Folder, page: Page) -> None:
    write_curve(folder, "spatial-3")
    write_results(folder.home)
    file = folder.home.path / "results" / "report.html"
    check(page, file)
    assert page.run("document.querySelectorAll('svg').length") == 5
