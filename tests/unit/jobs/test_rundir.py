"""Making run directories, and refusing to."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import yaml

from geoagent.config import Config, resolve
from geoagent.data.sample import VERSION
from geoagent.errors import UsageError
from geoagent.files import write_json
from geoagent.run import Run
from geoagent.train.checkpoints import seal
from jobs import rundir
from jobs.rundir import (
    continue_run,
    find_run,
    finished_stages,
    new_run,
    newest_first,
    run_path,
)


def demo(tmp_path: Path, *more: str) -> Config:
    return resolve(["recipe=demo", f"runs_dir={tmp_path}/runs", "name=first", *more])


def gre(tmp_path: Path, *more: str) -> Config:
    return resolve(["recipe=gre_demo", f"runs_dir={tmp_path}/runs", "name=gre", *more])


def _gre(tmp_path: Path, *done: str) -> Run:
    run = new_run(gre(tmp_path), tmp_path / "runs" / "gre")
    for stage in done:
        write_json(run.done_file(stage), {})
    return run


def test_a_new_run_holds_what_it_was_made_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = "".join(("hf_", "very", "_secret"))  # this file may be part of code.diff
    monkeypatch.setenv("HF_TOKEN", secret)
    config = demo(tmp_path)
    run = new_run(config, run_path(config, ["sft"]))
    assert run.config() == config
    manifest = json.loads(run.manifest_file.read_text())
    assert manifest["packages"]["ms-swift"] == "4.6.0"
    assert len(manifest["config_sha256"]) == 64
    assert (run.code / "geoagent" / "train" / "plugin.py").is_file()
    assert (run.code / "configs" / "recipe" / "demo.yaml").is_file()
    everything = "".join(path.read_text() for path in run.path.glob("*.*") if path.is_file())
    assert secret not in everything
    assert finished_stages(run) == []


def test_name_in_use(tmp_path: Path) -> None:
    config = demo(tmp_path)
    path = run_path(config, ["sft"])
    new_run(config, path)
    before = sorted(str(item) for item in path.rglob("*"))
    with pytest.raises(UsageError, match=r"first: this run name is in use; continue .*--resume"):
        new_run(config, path)
    assert sorted(str(item) for item in path.rglob("*")) == before


def test_resume_of_nothing_names_what_there_is(tmp_path: Path) -> None:
    config = demo(tmp_path)
    with pytest.raises(UsageError, match=r"there is no such run to go on with$"):
        find_run(tmp_path / "none")
    new_run(config, tmp_path / "first")
    for wrong in ("frist", "another"):
        with pytest.raises(UsageError, match=r"go on with; --resume name=first\?"):
            find_run(tmp_path / wrong)
    assert [path.name for path in tmp_path.iterdir()] == ["first"]


def test_a_run_of_older_code_is_given_no_key_that_it_would_refuse(tmp_path: Path) -> None:
    config = demo(tmp_path)
    run = new_run(config, run_path(config, ["sft"]))
    write_json(run.done_file("prepare"), {})
    lines = run.config_file.read_text().splitlines(keepends=True)
    older = [line for line in lines if line.strip().partition(":")[0] not in ("rules", "engine")]
    assert len(older) == len(lines) - 2
    run.config_file.write_text("".join(older))
    known = yaml.safe_load(run.config_file.read_text())
    continue_run(demo(tmp_path, "cluster.requeues=7"), run)
    after = yaml.safe_load(run.config_file.read_text())
    assert after["cluster"].pop("requeues") == 7
    del known["cluster"]["requeues"]
    assert after["eval"] == known["eval"]
    assert "rules" not in after["eval"]
    with pytest.raises(
        UsageError, match=r"eval\.rules: the code that this run began with does not"
    ):
        continue_run(demo(tmp_path, "eval.rules=geovista"), run)


def test_resume_keeps_to_the_configuration(tmp_path: Path) -> None:
    run = _new(tmp_path)
    for stage in ("prepare", "sft"):
        write_json(run.done_file(stage), {})
    other = demo(tmp_path, "sft.learning_rate=0.5", "sft.epochs=7", "data.limit=9", "grpo.beta=0.5")
    before = run.config_file.read_bytes()
    named = r"data.limit is None .* 9 now \(and 2 more: sft.learning_rate, sft.epochs\)"
    with pytest.raises(UsageError, match=named):
        continue_run(other, run)
    assert run.config_file.read_bytes() == before
    moved = demo(tmp_path, "cluster.partition=gpu", "eval.batch_size=2")
    continue_run(moved, run)
    assert run.config() == moved


def test_a_stage_that_has_not_begun_may_have_other_settings(tmp_path: Path) -> None:
    run = _gre(tmp_path, "prepare", "sft")
    for words in (
        ("judge.threshold_km=20000", "judge.draws=4", "judge.start_from=base"),
        ("grpo.start_from=sft",),
        ("grpo.max_completion_length=512", "judge.weights.format=0.5"),
    ):
        continue_run(gre(tmp_path, *words), run)
        assert run.config() == gre(tmp_path, *words)
        assert finished_stages(run) == ["prepare", "sft"]


def test_what_finished_stages_have_read_is_settled(tmp_path: Path) -> None:
    run = _gre(tmp_path, "prepare", "sft", "judge_data")
    for word in ("judge.threshold_km=9", "grpo.max_completion_length=512", "sft.save_steps=9"):
        with pytest.raises(UsageError, match=f"{word.partition('=')[0]} is .* in this run"):
            continue_run(gre(tmp_path, word), run)
    continue_run(gre(tmp_path, "judge.learning_rate=0.5", "grpo.beta=0.5"), run)
    checkpoint = run.checkpoints("judge") / "checkpoint-6"
    write_json(checkpoint / "trainer_state.json", {"global_step": 6})
    continue_run(gre(tmp_path), run)  # that one is half: it will be thrown away
    seal(checkpoint)
    for word in ("judge.learning_rate=0.5", "judge.path=data/judge"):
        with pytest.raises(UsageError, match=f"{word.partition('=')[0]} is .* in this run"):
            continue_run(gre(tmp_path, word), run)
    continue_run(gre(tmp_path, "grpo.beta=0.5"), run)


@pytest.mark.parametrize("done", [("prepare", "sft"), ("prepare", "sft", "judge_data")])
def test_prepare_reads_judge_data_that_is_named_later(done: list[str], tmp_path: Path) -> None:
    run = _gre(tmp_path, *done)
    named = gre(tmp_path, "judge.path=data/judge")
    left = [stage for stage in done if stage != "prepare"]
    assert finished_stages(run, named) == left
    continue_run(named, run)
    assert finished_stages(run) == left
    write_json(run.done_file("prepare"), {})
    assert finished_stages(run, named) == [*done]
    continue_run(gre(tmp_path), run)  # it has all that this one needs
    assert finished_stages(run) == [*done]


def test_an_evaluation_with_other_settings_is_not_finished(tmp_path: Path) -> None:
    run = _new(tmp_path)
    for stage in ("prepare", "sft", "eval"):
        write_json(run.done_file(stage), {})
    assert finished_stages(run, run.config()) == ["prepare", "sft", "eval"]
    for changed in ("eval.limit=9", "rollout.eval=true"):
        other = demo(tmp_path, changed)
        assert finished_stages(run, other) == ["prepare", "sft"]
    continue_run(other, run)
    assert run.config().rollout.eval


def test_shards_that_begin_at_once_find_it_unfinished_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = _new(tmp_path)
    for stage in ("prepare", "eval"):
        write_json(run.done_file(stage), {})

    def raced(run: Run, config: Config | None = None) -> list[str]:
        found = finished_stages(run, config)
        if config is not None:  # the other shard is just ahead
            run.done_file("eval").unlink()
        return found

    monkeypatch.setattr(rundir, "finished_stages", raced)
    continue_run(demo(tmp_path, "eval.limit=9"), run)
    assert run.config().eval.limit == 9
    assert finished_stages(run) == ["prepare"]


def test_a_run_that_has_finished_nothing_begins_anew(tmp_path: Path) -> None:
    config = demo(tmp_path, "data.path=/data/gesoeek")
    path = run_path(config, ["sft"])
    before = new_run(config, path)
    (before.code / "old.py").write_text("")
    mended = demo(tmp_path, "data.path=/data/geoseek")
    run = find_run(path)
    continue_run(mended, run)
    assert run.config() == mended
    assert not (run.code / "old.py").exists()
    assert (run.code / "geoagent" / "run.py").is_file()
    written = hashlib.sha256(run.config_file.read_bytes()).hexdigest()
    assert json.loads(run.manifest_file.read_text())["config_sha256"] == written


def test_the_manifest_names_the_samples(tmp_path: Path) -> None:
    drawn = json.loads(_new(tmp_path, "name=a").manifest_file.read_text())["data"]
    assert drawn == {"drawn_sample": VERSION, "scenes_per_country": 24}
    (tmp_path / "records.jsonl").write_text("{}\n")
    own = json.loads(_new(tmp_path, "name=b", f"data.path={tmp_path}").manifest_file.read_text())
    assert own["data"] == {
        f"{tmp_path}/records.jsonl": hashlib.sha256(b"{}\n").hexdigest(),
    }


def _new(tmp_path: Path, *more: str) -> Run:
    config = demo(tmp_path, *more)
    return new_run(config, run_path(config, ["sft"]))


@pytest.mark.parametrize("name", ["a/b", "..", " ", "-x", "x" * 200, "a b"])
def test_names_that_are_no_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is not a run name"):
        run_path(Config(name=name, runs_dir=str(tmp_path)), ["sft"])


def test_no_name_gives_one_from_the_stages(tmp_path: Path) -> None:
    assert run_path(Config(runs_dir=str(tmp_path)), ["sft", "eval"]).name.startswith("sft-eval-20")


def test_place_that_cannot_be_written(tmp_path: Path) -> None:
    # A file where the folder should be: refused also to root, whom modes do not stop.
    (tmp_path / "runs").write_text("")
    config = demo(tmp_path)
    with pytest.raises(UsageError, match=r"cannot be written .* choose another place"):
        new_run(config, run_path(config, ["sft"]))


def test_read_only_file_system() -> None:
    config = Config(name="first", runs_dir="/proc/runs")
    with pytest.raises(UsageError, match=r"/proc/runs/first: cannot be written"):
        new_run(config, run_path(config, ["sft"]))


def test_no_free_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 10**12, 10**8))
    config = demo(tmp_path)
    with pytest.raises(UsageError, match=r"0.1 GiB free, a run like this needs 1 GiB"):
        new_run(config, run_path(config, ["sft"]))
    assert not (tmp_path / "runs" / "first").exists()


def test_a_run_without_a_name_leaves_nothing_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**12, 10**12, 10**8))
    config = resolve(["recipe=demo", f"runs_dir={tmp_path}/runs"])
    with pytest.raises(UsageError, match="GiB free"):
        new_run(config, run_path(config, ["sft"]))
    assert list((tmp_path / "runs").iterdir()) == []


def test_ctrl_c_while_the_run_is_made_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(folder: Path) -> None:
        raise KeyboardInterrupt

    config = demo(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(rundir, "_snapshot", interrupted)
        with pytest.raises(KeyboardInterrupt):
            new_run(config, run_path(config, ["sft"]))
    assert new_run(config, run_path(config, ["sft"])).config_file.is_file()


def test_disk_that_fills_up_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(rundir, "_snapshot", full)
    config = demo(tmp_path)
    with pytest.raises(UsageError, match="No space left on device"):
        new_run(config, run_path(config, ["sft"]))
    assert not (tmp_path / "runs" / "first").exists()


def test_a_run_that_is_just_being_removed_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stays").mkdir()
    (tmp_path / "stays" / "config.yaml").touch()
    seen = [tmp_path / name / "config.yaml" for name in ("gone", "stays")]
    monkeypatch.setattr(Path, "glob", lambda *_: iter(seen))
    assert newest_first(tmp_path) == ["stays"]
