"""`python -m jobs` as people type it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from geoagent.config import Config, resolve
from geoagent.data.needs import check_needs, glance
from geoagent.errors import UsageError
from geoagent.files import write_json
from jobs.cli import main
from jobs.display import clock, line_of
from jobs.processes import Watched
from jobs.rundir import new_run, run_path
from jobs.state import JobRecord, Jobs
from jobs.watch import follow, still_running


@pytest.fixture(autouse=True)
def no_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)


def test_dry_run_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["submit", "grpo", "--dry-run", "recipe=demo", f"runs_dir={tmp_path}/runs", "name=x"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    for part in ("prepare", "sft", "grpo", "agent", "sft is added", "spatial 1.5", "dry run"):
        assert part in shown
    assert "drawn from its data" not in shown
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("recipe", "stages"),
    [
        ("demo", ["prepare", "sft", "grpo", "eval"]),
        ("gre_demo", ["prepare", "sft", "judge_data", "judge", "grpo", "eval"]),
    ],
)
def test_without_a_stage_it_is_those_of_the_recipe(
    recipe: str, stages: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["submit", "--dry-run", f"recipe={recipe}", "cluster=local", f"runs_dir={tmp_path}"]
    assert main(words) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "geoagent." in line]
    assert [row[0] for row in rows if row[0] != "agent"] == stages


def test_a_run_goes_on_with_the_stages_that_it_began_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["recipe=demo", "stages=[sft]", f"runs_dir={tmp_path}", "name=x"]
    run = new_run(resolve(words), tmp_path / "x")
    write_json(run.done_file("prepare"), {})
    assert main(["submit", "--resume", "--dry-run", "name=x", f"runs_dir={tmp_path}"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "geoagent." in line]
    assert [row[0] for row in rows] == ["sft"]


def test_a_dry_run_of_judging_says_what_is_judged_and_what_is_paid(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["submit", "judge", "--dry-run", "recipe=gre_demo", f"runs_dir={tmp_path}"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "judge_data: 1 prediction of sft a picture, true within 750 km, transformers\n" in shown
    assert "rewards of judge: judge 1, format 1\n" in shown
    assert main([*words, "judge.path=/no/such"]) == 2
    assert "error: judge.path: /no/such" in capsys.readouterr().err


def test_a_dry_run_tells_which_gpus_would_be_idle(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["submit", "--dry-run", "recipe=gre_demo", f"runs_dir={tmp_path}"]
    gpus = [f"cluster.{stage}.gpus_per_node=8" for stage in ("sft", "judge_data", "judge", "grpo")]
    assert main([*words, *gpus, "cluster.eval.gpus_per_node=1"]) == 0
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("note")]
    idle = "8 GPUs make no faster than one (cluster.judge_data.gpus_per_node)"
    assert notes == [f"note: judge_data is one process, which {idle}"]


def test_a_dry_run_tells_who_may_use_tools(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["submit", "--dry-run", "recipe=geovista_demo", f"runs_dir={tmp_path}"]
    assert main(words) == 0
    most = "turns ≤ 4, crops ≤ 2, searches ≤ 1 a picture, offline\n"
    assert f"tools in sft, grpo, eval: {most}" in capsys.readouterr().out
    assert main([*words, "rollout.train=false"]) == 0
    assert f"tools in eval: {most}" in capsys.readouterr().out
    assert main([*words, "rollout.train=false", "rollout.eval=false"]) == 0
    assert "tools" not in capsys.readouterr().out


def test_a_cold_start_without_trajectories_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["submit", "sft", "--dry-run", "recipe=geovista_demo", f"runs_dir={tmp_path}/runs"]
    told = "teach no calls"
    assert main(words) == 0
    assert told not in capsys.readouterr().out  # a script plays the sample's
    plain = dataset(tmp_path / "plain", {"think": "{}"}, {"split": "heldout"})
    assert main([*words, f"data.path={plain}"]) == 0
    assert "note: 0 of 1 rows of split 'train' have a traj" in capsys.readouterr().out
    for more in (["rollout.train=false"], ["rollout.crops=0", "rollout.searches=0"]):
        assert main([*words, f"data.path={plain}", *more]) == 0
        out = capsys.readouterr().out
        assert told not in out
        assert ("rollout.searches are 0: no tools" in out) == (len(more) == 2)
    played = dataset(tmp_path / "played", {"trajectory": []})
    assert main([*words, f"data.path={played}"]) == 0
    assert told not in capsys.readouterr().out


def test_a_pretrained_model_on_toy_pictures_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["submit", "--dry-run", "recipe=gre", f"runs_dir={tmp_path}/runs"]
    main([*words, "judge"])
    assert "the data is the drawn sample: toy pictures" in capsys.readouterr().out
    main([*words, "judge", f"data.path={dataset(tmp_path / 'data', {})}"])
    assert "toy pictures" not in capsys.readouterr().out
    main([*words, "eval", "benchmark=im2gps3k"])
    assert "toy pictures" not in capsys.readouterr().out
    main(["submit", "sft", "--dry-run", "recipe=demo", f"runs_dir={tmp_path}/runs"])
    assert "toy pictures" not in capsys.readouterr().out


def test_a_dry_run_tells_what_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["submit", "grpo", "eval", "--dry-run", "recipe=demo", f"runs_dir={tmp_path}", "name=x"]
    assert main([*words, "grpo.limit=40", "eval.models=last"]) == 0
    shown = capsys.readouterr().out
    assert "8 a picture, on 40 samples drawn from its data\n" in shown
    assert "only the model that training led to" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["submit"], "no stage given, and the configuration names none"),
        (["submit", "--dry-run"], "no stage given, and the configuration names none"),
        (["submit", "model=tiny"], "no stage given, and the configuration names none"),
        (["submit", "sft,grpo"], "unknown stage 'sft,grpo'"),
        (
            ["submit", "grpo", "recipe=demo", "agent.backend=external", "agent.url=http://x/v1"],
            "GEOAGENT_AGENT_TOKEN (agent.token_variable) is empty",
        ),
        (["submit", "gpro"], "unknown stage 'gpro'; did you mean grpo?"),
        (["submit", "sft", "sft.epoch=1"], "sft.epoch: unknown key; did you mean sft.epochs?"),
        (["submit", "sft", "recipe=demo", "cluster=slurm"], "there is no sbatch here"),
        (["submit", "sft", "name=a/b"], "is not a run name"),
        (["submit", "sft", "--resume"], "--resume: which run? name it with name=…"),
        (["submit", "sft", "recipe=demo", "cluster.sft.nodes=2"], "2 nodes need Slurm"),
        (
            ["submit", "sft", "recipe=demo", "data.path=/no/such"],
            "/no/such: there is no such folder",
        ),
        (["submit", "sft", "recipe=demo", "data.name=mine"], "data.path: is needed for data.name"),
        (
            ["submit", "sft", "recipe=demo", "model=qwen2_5_vl_7b"],
            "model.path: Qwen/Qwen2.5-VL-7B-Instruct: is no folder, and jobs fetch nothing",
        ),
        (["submit", "grpo", "recipe=demo", "grpo.vllm=true"], "grpo.vllm: the package vllm is"),
        (["submit", "eval", "recipe=demo", "eval.engine=vllm"], "eval.engine: the package vllm is"),
        (["submit", "judge", "recipe=gre_demo", "judge.vllm=true"], "judge.vllm: the package vllm"),
        (
            ["submit", "judge_data", "recipe=gre_demo", "eval.engine=vllm"],
            "eval.engine: the package vllm is",
        ),
        (["submit", "grpo", "recipe=demo", "agent.model=/no.gguf"], "/no.gguf: no such file"),
        (
            ["submit", "eval", "recipe=demo", "rewards.semantic.model=./nowhere"],
            "rewards.semantic.model: ./nowhere: there is no such folder",
        ),
        (
            ["submit", "grpo", "recipe=demo", "agent.backend=vllm", "agent.model=/bin"],
            "agent.model: /bin: not a model folder",
        ),
        (["status", "/no/such/run"], "not a run directory"),
        (["logs", "/no/such/run"], "not a run directory"),
        (["cancel", "/no/such/run"], "not a run directory"),
    ],
)
def test_one_line_and_code_2(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    shown = capsys.readouterr().err
    assert shown.startswith("error: ")
    assert message in shown
    assert shown.count("\n") == 1 + ("agent.backend=vllm" in words)  # neither model nor program


def test_all_that_has_to_be_mended_is_told_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["submit", "sft", "recipe=demo", "data.path=/no/such", "model=qwen2_5_vl_7b"]
    assert main([*words, f"runs_dir={tmp_path}/runs", "name=x"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert [line.split(":")[1] for line in told] == [" data.path", " model.path"]
    assert list(tmp_path.iterdir()) == []
    assert main([*words, "--dry-run"]) == 2
    shown = capsys.readouterr()
    assert "model: Qwen/Qwen2.5-VL-7B-Instruct" in shown.out
    assert shown.err.splitlines() == told


def test_what_several_settings_lack_is_told_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = ["data.path=/no/data", "judge.path=/no/judge", "eval.path=/no/eval"]
    vllm = ["judge.vllm=true", "grpo.vllm=true", "eval.engine=vllm"]
    words = ["submit", "recipe=gre_demo", f"runs_dir={tmp_path}", *paths, *vllm]
    assert main([*words, "--dry-run"]) == 2
    told = capsys.readouterr().err.splitlines()
    keys = ["data.path", "judge.path", "eval.path", "judge.vllm, grpo.vllm, eval.engine"]
    assert [line.split(": ")[1] for line in told] == keys
    instead = "judge.vllm=false grpo.vllm=false eval.engine=transformers"
    assert told[-1].endswith(f"set {instead} (slower)")


def dataset(folder: Path, *rows: dict[str, object]) -> Path:
    folder.mkdir()
    lines = ["not JSON", *(json.dumps(row) for row in rows)]
    (folder / "records.jsonl").write_text("\n".join(lines))
    return folder


@pytest.mark.parametrize(
    ("stages", "rows", "message"),
    [
        (["grpo"], [{"split": "test"}], "no usable record in split 'train'"),
        (["sft"], [{"split": "train"}], "no record of split 'train' has a chain of thought"),
        (["sft"], [{"think": 3}], "no record of split 'train' has a chain of thought"),
        (["sft", "eval"], [{"think": "{}"}], "no usable record in split 'heldout'"),
        (["sft", "eval"], [{"think": "{}"}], "its splits: train (1); leave out eval"),
        (["sft"], [{"think": "{}"}], ""),
        (["eval"], [{"split": "heldout"}], ""),
    ],
)
def test_what_a_dataset_lacks_is_known_before_anything_is_written(
    stages: list[str],
    rows: list[dict[str, object]],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = dataset(tmp_path / "data", *rows)
    words = ["submit", *stages, "--dry-run", "recipe=demo", f"data.path={folder}"]
    assert main(words) == (2 if message else 0)
    assert message in capsys.readouterr().err


def test_a_benchmark_of_its_own_is_looked_at_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = dataset(tmp_path / "bench", {"split": "test"})
    words = ["submit", "sft", "eval", "--dry-run", "recipe=demo", f"eval.path={folder}"]
    assert main([*words, "eval.split=test"]) == 0
    capsys.readouterr()
    assert main(words) == 2
    told = capsys.readouterr().err
    assert f"eval.path: {folder}: no usable record in split 'heldout' (data.eval_split)" in told
    assert main([*words[:-1], f"eval.path={tmp_path}/none"]) == 2
    assert "eval.path: " in capsys.readouterr().err


def test_judge_data_are_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    judge = {"label": True, "predicted_cot": "Signs.", "predicted_answer": "Peru; Ancash"}
    folder = dataset(tmp_path / "judge", judge, {**judge, "label": False})
    other = dataset(tmp_path / "other", {})
    words = ["submit", "judge", "--dry-run", "recipe=demo", "judge.vllm=false"]
    assert main([*words, f"judge.path={folder}"]) == 0
    capsys.readouterr()
    assert main([*words, f"judge.path={other}"]) == 2
    told = capsys.readouterr().err
    assert f"judge.path: {other}: no row of judge data in split 'train' (predicted_cot: " in told
    assert main([*words, f"judge.path={dataset(tmp_path / 'one', judge)}"]) == 2
    assert "all 1 rows of judge data have the label true" in capsys.readouterr().err
    assert main([*words, f"judge.path={tmp_path}/none"]) == 2
    assert "judge.path: " in capsys.readouterr().err


def test_rewards_that_no_answer_could_earn_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["submit", "grpo", "--dry-run", f"runs_dir={tmp_path}"]
    names = ["rewards.weights.hierarchical=1", "rewards.weights.semantic=1"]
    assert main([*words, "recipe=gre_demo", *names]) == 2
    told = capsys.readouterr().err
    assert "rewards.weights: semantic, hierarchical: cannot be earned by answers in" in told
    assert "set rewards.weights.semantic=0 rewards.weights.hierarchical=0\n" in told
    assert main([*words, "recipe=gre_demo", "rewards.weights.consistency=1"]) == 0
    assert main([*words, "recipe=demo", "rewards.weights.coordinates=1"]) == 2
    assert "data.answer=address; set rewards.weights.coordinates=0\n" in capsys.readouterr().err
    only_sft = ["submit", "sft", "--dry-run", f"runs_dir={tmp_path}", "recipe=demo"]
    assert main([*only_sft, "data.answer=coordinates"]) == 0


def test_a_long_dataset_is_left_to_prepare(tmp_path: Path) -> None:
    folder = dataset(tmp_path / "data", {}, {}, {"split": "heldout"})
    short, whole = glance(folder, most_lines=2), glance(folder, most_lines=4)
    assert (short.whole, whole.whole) == (False, True)
    assert whole.splits == {"train": 2, "heldout": 1}
    check_needs(Config(), folder, ["sft", "eval"], short)
    with pytest.raises(UsageError, match="chain of thought"):
        check_needs(Config(), folder, ["sft", "eval"], whole)


def test_unknown_options_are_refused() -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["submit", "sft", "--dryrun"])
    with pytest.raises(SystemExit, match="2"):
        main(["status", "x", "y"])


def test_nothing_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = resolve(["recipe=demo", f"runs_dir={tmp_path}", "name=x"])
    run = new_run(config, run_path(config, []))
    for stage in ("prepare", "sft"):
        write_json(run.done_file(stage), {})
    words = ["submit", "sft", "--resume", "recipe=demo", f"runs_dir={tmp_path}", "name=x"]
    before = run.config_file.read_bytes()
    for more in ([], ["--dry-run"], ["cluster.partition=gpu"]):
        assert main([*words, *more]) == 0
        assert "nothing to do" in capsys.readouterr().out
    assert run.config_file.read_bytes() == before
    # The run's own settings need not be given again.
    short = ["submit", "grpo", "--resume", f"runs_dir={tmp_path}", "name=x", "--dry-run"]
    assert main(short) == 0
    assert "random, built from seed 0" in capsys.readouterr().out


def test_a_dry_run_refuses_what_a_submission_would(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = new_run(resolve(["recipe=gre_demo", f"runs_dir={tmp_path}"]), tmp_path / "x")
    for stage in ("prepare", "sft"):
        write_json(run.done_file(stage), {})
    words = ["submit", f"runs_dir={tmp_path}", "name=x", "--dry-run"]
    for more, message in (
        (["--resume", "sft.max_steps=3"], "sft.max_steps is 500 in this run and 3 now;"),
        (["--resume", "recipe=demo"], "(its settings, a recipe's too, need not be given"),
        (["sft", "--resume", "sft.max_steps=3"], "sft.max_steps is 500"),  # which has finished
        (["eval", "--resume", "rollout.train=true", "data.answer=address"], "data.answer is"),
        (["recipe=gre_demo"], "x: this run name is in use; continue that run with --resume"),
    ):
        for dry in (True, False):
            assert main([word for word in (*words, *more) if dry or word != "--dry-run"]) == 2
            told = capsys.readouterr().err
            assert message in told
            assert told.count("\n") == 1
    assert main([*words, "--resume", "judge.threshold_km=20000"]) == 0
    assert "true within 20000 km" in capsys.readouterr().out
    assert run.config().judge.threshold_km == 750


def test_settings_that_nothing_would_read_are_not_kept_in_silence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = new_run(resolve(["recipe=gre_demo", f"runs_dir={tmp_path}"]), tmp_path / "x")
    for stage in ("prepare", "sft"):
        write_json(run.done_file(stage), {})
    words = ["submit", "sft", "--resume", f"runs_dir={tmp_path}", "name=x"]
    assert main(words) == 0
    assert capsys.readouterr().out.rstrip().endswith("has finished sft")
    assert main([*words, "judge.draws=4"]) == 0
    assert "has finished sft; the settings that were given are not kept" in capsys.readouterr().out


def test_a_run_that_is_still_going_is_not_continued(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = resolve(["recipe=demo", f"runs_dir={tmp_path}", "name=x"])
    run = new_run(config, run_path(config, []))
    me = Watched.of()
    words = ["submit", "sft", "--resume", "recipe=demo", f"runs_dir={tmp_path}", "name=x"]
    alive = JobRecord("sft", "1", "running", pid=me.pid, created=me.created)
    for jobs in (
        Jobs("local", jobs=[alive]),
        Jobs(
            "local", me.pid, me.created, [JobRecord("prepare", state="finished"), JobRecord("sft")]
        ),
    ):
        jobs.save(run)
        assert main(words) == 2
        assert "sft has not ended; look at it with" in capsys.readouterr().err
    Jobs("local", me.pid, me.created, [JobRecord("sft", state="failed"), JobRecord("grpo")]).save(
        run
    )
    assert still_running(run) == []


def test_follow_misses_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "err.log"
    log.write_text("shown before\nnew\n")

    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("jobs.watch.time.sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        follow({log: len("shown before\n")})
    assert capsys.readouterr().out == "new\n"


def test_status_logs_and_cancel_of_a_dead_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = resolve(["recipe=demo", f"runs_dir={tmp_path}", "name=x"])
    run = new_run(config, run_path(config, []))
    dead = JobRecord("sft", "1", "running", pid=2**22 - 1, created=1.0, started=1.0)
    Jobs("local", jobs=[dead, JobRecord("grpo")]).save(run)
    assert main(["logs", str(run.path)]) == 2
    run.logs("sft", 1).mkdir(parents=True)
    (run.logs("sft", 1) / "err.log").write_text("hello from the log\n")
    write_json(run.done_file("prepare"), {"seconds": 7.0})
    metrics = {"rewards/spatial/mean": 0.5, "loss": 0.25}
    write_json(run.progress_file("sft"), {"step": 3, "total": 9, "metrics": metrics})
    assert main(["status", str(run.path)]) == 0
    assert main(["logs", str(run.path), "sft"]) == 0
    assert main(["cancel", str(run.path)]) == 0
    shown = capsys.readouterr().out
    for part in ("died", "hello from the log", "nothing was running"):
        assert part in shown
    for line in (
        r"prepare +– +finished +– +– +00:07",
        r"sft +1 +died +1 +3/9",
        r"grpo +– +not started",
    ):
        assert re.search(line, shown), line
    assert "sft: spatial 0.5, loss 0.25" in shown
    assert "sft: its process is gone" in shown
    assert main(["status", str(run.path), "--watch"]) == 0  # ends with the jobs
    assert "died" in capsys.readouterr().out


def test_runs_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["status"]) == 2
    assert "no runs there; name one" in capsys.readouterr().err
    for name in ("older", "newer"):
        run = new_run(resolve(["recipe=demo", f"name={name}"]), tmp_path / "runs" / name)
        Jobs("local", jobs=[JobRecord("sft", state="finished")]).save(run)
    os.utime(tmp_path / "runs" / "older" / "config.yaml", (1, 1))
    for words, title in (([], "newer"), (["older"], "older"), (["runs/older"], "older")):
        assert main(["status", *words]) == 0
        assert capsys.readouterr().out.startswith(title)
    assert main(["status", "oldest"]) == 2
    assert "in runs: newer, older" in capsys.readouterr().err


def test_help_is_light() -> None:
    code = (
        "import sys\nfrom jobs.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print([m for m in sys.modules if m in {'torch', 'numpy', 'submitit', 'rich', 'psutil'}])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert "examples:" in result.stdout
    assert result.stdout.strip().endswith("[]")


def test_progress_line() -> None:
    progress = {"step": 10, "total": 40, "unit": "step", "metrics": {"loss": 0.5, "kl": 1}}
    line = line_of("sft", progress, 20.0)
    assert "10/40 step" in line
    resumed = {"step": 30, "first": 20, "total": 40}
    assert "left 00:20" in line_of("sft", resumed, 20.0)
    assert "left 01:00" in line
    assert "loss 0.5" in line
    assert line_of("eval", {}, 5.0) == "eval      00:05"
    assert clock(3725) == "1:02:05"
