"""`python -m jobs sweep`, with stand-ins for Slurm's commands (conftest.py)."""

from __future__ import annotations

import io
import json
import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from geoagent.files import read_json, write_json
from geoagent.run import Run
from geoagent.sweep.home import SweepHome
from jobs.cli import main
from jobs.lock import submitting
from jobs.state import Jobs

Flags = Callable[[Path], set[str]]
Capture = pytest.CaptureFixture[str]
POINTS: dict[str, Any] = {
    "base": {"stages": ["eval"]},
    "raw": {"stages": ["grpo", "eval"], "settings": {"grpo.start_from": "base"}},
    "mild": {"settings": {"rewards.weights.spatial": 0.5}},
    "full": {},
}


def write(folder: Path, points: dict[str, Any] = POINTS, **more: Any) -> str:
    path = folder / "four.yaml"
    document = {"base": ["recipe=demo", "cluster=slurm"], "points": points, **more}
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return str(path)


def sweep(folder: Path, source: str, *words: str) -> int:
    return main(["sweep", source, f"runs_dir={folder}/runs", "--yes", *words])


def folders(home: Path) -> dict[str, str]:
    rows = SweepHome.open(home).rows
    return {f"{row.point}-{seed}": name for row in rows for seed, name in row.runs.items()}


def finish(home: Path, *stages: str) -> None:
    """As if Slurm had run these stages of all runs."""
    for part in home.glob("*-s[0-9]-*"):
        made = (
            {job.stage for job in Jobs.load(Run(part)).jobs}
            if (part / "jobs.json").exists()
            else ()
        )
        for stage in stages:
            if stage in made:
                (part / stage).mkdir(exist_ok=True)
                write_json(Run(part).done_file(stage), {"seconds": 60.0})


def dependency(scheduler: Path, flags: Flags, number: int) -> str:
    found = [flag for flag in flags(scheduler / f"{number}.sh") if "--dependency" in flag]
    return found[0].partition("=")[2].strip("'") if found else ""


def test_what_slurm_is_given(
    tmp_path: Path, scheduler: Path, flags: Flags, capsys: Capture
) -> None:
    assert sweep(tmp_path, write(tmp_path), "--seeds", "0,1", "--parallel", "3") == 0
    said = capsys.readouterr().out
    assert "4 points, seeds 0, 1: 8 trials; 2 prepare and 2 sft once for all of them" in said
    assert (
        "18 jobs in 5 submissions, and 1 collector, 1 agent for all; 3 of a stage at a time" in said
    )
    assert re.findall(r"^(\w+): job (\d+)(?:, an array of (\d+))?$", said, re.M) == [
        ("prepare", "101", "2"),
        ("sft", "102", "2"),
        ("agent", "103", ""),
        ("grpo", "104", "6"),
        ("eval", "105", "2"),
        ("eval", "106", "6"),
        ("results", "107", ""),
    ]
    assert dependency(scheduler, flags, 102) == "aftercorr:101"
    # One array goes on from several jobs: it waits for all, and each element looks for its own.
    assert dependency(scheduler, flags, 103) == "afterany:101:102"
    assert dependency(scheduler, flags, 104) == "afterany:101:102,after:103"
    assert dependency(scheduler, flags, 105) == "aftercorr:101,after:103"
    assert dependency(scheduler, flags, 106) == "aftercorr:104,after:103,afterany:105"
    assert dependency(scheduler, flags, 107) == "afterany:101:102:104:105:106"
    assert "--array=0-5%3" in flags(scheduler / "104.sh")
    home = tmp_path / "runs" / "four"
    full = home / folders(home)["full-1"]
    assert (full / "code").resolve() == home / "code"
    assert Run(full).config().seed == 1
    assert (full / "sft").readlink().parts[0] == ".."
    assert (full / "data").resolve().parent == (full / "prepare").resolve().parent
    assert Jobs.load(Run(full)).of("grpo").id.startswith("104_")
    assert all(Jobs.load(Run(run)).complete for run in (home, *home.glob("*-s[01]-*")))


def test_a_refused_array_takes_back_what_was_submitted(
    tmp_path: Path, scheduler: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("FAIL_AFTER", "104")
    assert sweep(tmp_path, write(tmp_path), "--seeds", "0,1") == 2
    assert "Slurm refused the job of eval" in capsys.readouterr().err
    assert (scheduler / "cancelled").read_text() == "101 102 103 104\n"
    home = tmp_path / "runs" / "four"
    assert not Jobs.load(Run(home)).complete
    runs = [Jobs.load(Run(run)) for run in home.glob("*-s[01]-*")]
    found = [job for run in runs for job in run.jobs]
    assert not any(run.complete for run in runs)
    assert {job.state for job in found} == {"cancelled"}
    assert len(found) == 2 + 2 + 6


@pytest.mark.parametrize(("points", "most", "arrays"), [(2, 1001, 1), (12, 1001, 1), (12, 5, 3)])
def test_how_often_the_scheduler_is_asked(
    tmp_path: Path,
    scheduler: Path,
    monkeypatch: pytest.MonkeyPatch,
    points: int,
    most: int,
    arrays: int,
) -> None:
    """By the arrays of a submission, and of status as often for one run as for many."""
    monkeypatch.setenv("PING_SAYS", f"is UP\nMaxArraySize = {most}")
    weights = [round(0.1 * k, 1) for k in range(1, points + 1)]
    file = write(tmp_path, {}, grid={"rewards.weights.spatial": weights})
    assert sweep(tmp_path, file, "--parallel", "3") == 0
    # prepare, SFT, agent and results are one each; GRPO and evaluation have an element a point.
    assert calls(scheduler) == {"sbatch": 4 + 2 * arrays, "scontrol": 2}
    assert main(["status", str(tmp_path / "runs" / "four")]) == 0
    assert calls(scheduler) == {"sacct": 1, "squeue": 1}


def calls(scheduler: Path) -> Counter[str]:
    """How often Slurm's commands were called since the last time."""
    log = scheduler / "calls"
    found = Counter(log.read_text().split())
    log.unlink()
    return found


def test_run_again(tmp_path: Path, scheduler: Path, flags: Flags, capsys: Capture) -> None:
    file = write(tmp_path)
    assert sweep(tmp_path, file) == 0
    home = tmp_path / "runs" / "four"
    # All wait still: nothing is missing.
    ids = [job.id for run in home.glob("*-s0-*") for job in Jobs.load(Run(run)).jobs]
    queued = [f"{id}|{id.partition('_')[0]}|PD|\n" for id in ids]
    (scheduler / "queue").write_text("".join(queued))
    capsys.readouterr()
    assert sweep(tmp_path, str(home)) == 0
    assert f"nothing to submit: {len(ids)} stages are under way" in capsys.readouterr().out

    # What has finished stays, what waits is left alone, what is gone is submitted.
    finish(home, "prepare", "sft")
    full, raw = (Run(home / folders(home)[f"{name}-0"]) for name in ("full", "raw"))
    left = [job.id for job in Jobs.load(full).jobs]
    (scheduler / "queue").write_text("".join(f"{id}|{id.partition('_')[0]}|R|\n" for id in left))
    assert sweep(tmp_path, str(home)) == 0
    said = capsys.readouterr().out
    found = re.findall(r"^(\w+): job (\d+)(?:, an array of (\d+))?$", said, re.M)
    assert [(stage, count) for stage, _, count in found] == [
        ("agent", ""),
        ("grpo", "2"),
        ("eval", ""),
        ("eval", "2"),
        ("results", ""),
    ]
    assert [job.id for job in Jobs.load(full).jobs] == left
    agent, grpo, *_, results = (int(number) for _, number, _ in found)
    assert dependency(scheduler, flags, agent) == ""  # its clients may begin
    assert dependency(scheduler, flags, grpo) == f"after:{agent}"
    arrays = {id.partition("_")[0] for id in left}
    assert arrays <= {*re.findall(r"\d+", dependency(scheduler, flags, results))}
    assert Jobs.load(raw).earlier["grpo"]

    (scheduler / "queue").write_text("")
    finish(home, "prepare", "sft", "grpo", "eval")
    assert sweep(tmp_path, str(home)) == 0
    assert "nothing to do: all 4 have finished" in capsys.readouterr().out


def test_what_waits_for_nothing_is_cancelled(
    tmp_path: Path, scheduler: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """An evaluation whose GRPO is gone, the collector, an agent that waits, and a job that nobody
    knows."""
    assert sweep(tmp_path, write(tmp_path)) == 0
    home = tmp_path / "runs" / "four"
    finish(home, "prepare", "sft")
    full = Jobs.load(Run(home / folders(home)["full-0"]))
    own = Jobs.load(Run(home))
    ids = [full.of("eval").id, own.of("results").id, own.of("agent").id]
    lines = [f"{id}|{id.partition('_')[0]}|PD|\n" for id in ids]
    lines.append(f"999|999|PD|geoagent:grpo:{home}\n")
    (scheduler / "queue").write_text("".join(lines))
    cancel = (scheduler / "scancel").read_text() + f'\n: > "{scheduler}/queue"\n'
    (scheduler / "scancel").write_text(cancel)
    assert sweep(tmp_path, str(home)) == 0
    cancelled = (scheduler / "cancelled").read_text().split()
    assert {*ids, "999"} == {*cancelled}
    said = capsys.readouterr().out
    assert len(re.findall(r"^results: job", said, re.M)) == 2


def test_points_are_added_and_changed(tmp_path: Path, scheduler: Path, capsys: Capture) -> None:
    file = write(tmp_path)
    assert sweep(tmp_path, file) == 0
    home = tmp_path / "runs" / "four"
    (scheduler / "queue").write_text("")
    finish(home, "prepare", "sft", "grpo", "eval")
    before = folders(home)
    changed = {**POINTS, "more": {"settings": {"rewards.weights.spatial": 4}}}
    changed["mild"] = {"settings": {"rewards.weights.spatial": 0.25}}
    write(tmp_path, changed)
    capsys.readouterr()
    assert sweep(tmp_path, file, "--dry-run") == 0
    assert folders(home) == before
    assert sweep(tmp_path, file) == 0
    found = re.findall(r"^(\w+): job \d+(?:, an array of (\d+))?$", capsys.readouterr().out, re.M)
    assert found == [("agent", ""), ("grpo", "2"), ("eval", "2"), ("results", "")]
    after = folders(home)
    assert {name for name in before if before[name] != after[name]} == {"mild-0"}
    assert Run(home / before["mild-0"]).done_file("eval").is_file()
    assert (home / "sweep.yaml").read_bytes() == Path(file).read_bytes()


def test_what_was_said_holds(tmp_path: Path, scheduler: Path) -> None:
    source = write(tmp_path)
    assert (
        sweep(tmp_path, source, "grpo.beta=0.5", "eval.limit=7", "--seeds", "4", "--parallel", "2")
        == 0
    )
    home = tmp_path / "runs" / "four"
    Path(source).unlink()  # there is a copy
    assert sweep(tmp_path, str(home), "eval.limit=8") == 0
    kept = SweepHome.open(home)
    assert (kept.seeds, kept.parallel) == ([4], 2)
    config = Run(home / folders(home)["full-4"]).config()
    assert (config.grpo.beta, config.eval.limit) == (0.5, 8)


def test_a_question_first(
    tmp_path: Path, scheduler: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    words = ["sweep", write(tmp_path), f"runs_dir={tmp_path}/runs"]
    assert main(words) == 2
    assert "nobody is there to say yes" in capsys.readouterr().err
    asked = []

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    def answer(text: str) -> str:
        asked.append(text)
        return "n"

    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("builtins.input", answer)
    assert main(words) == 1
    assert asked == ["submit these 9 jobs? [y/N] "]
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["geoagent_table33"], "did you mean geoagent_table3"),
        (["four.yaml", "other.yaml"], "name one sweep"),
        (["geoagent_table3", "name=a/b"], "name: 'a/b' is no name of a folder"),
        (["geoagent_table3", "name=../x"], "name: '../x' is no name of a folder"),
        (["geoagent_table3", "--parallel", "0"], "--parallel: 0 is less than 1"),
        (["geoagent_table3", "--seeds", "1,1"], "names a seed twice"),
        (["geoagent_table3", "grpo.bta=1"], "unknown key; did you mean grpo.beta?"),
    ],
)
def test_what_cannot_be(words: list[str], message: str, tmp_path: Path, capsys: Capture) -> None:
    assert main(["sweep", f"runs_dir={tmp_path}/runs", "--yes", *words]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_sweep_is_not_submitted_as_a_run(
    tmp_path: Path, scheduler: Path, capsys: Capture
) -> None:
    assert sweep(tmp_path, write(tmp_path)) == 0
    home = tmp_path / "runs" / "four"
    place = [f"runs_dir={tmp_path}/runs", "name=four"]
    assert main(["submit", "grpo", "--resume", *place]) == 2
    assert "is a sweep; go on with it:" in capsys.readouterr().err
    # Nor is one of its runs: it would train what others share, or evaluate otherwise.
    place = [f"runs_dir={home}", f"name={folders(home)['full-0']}"]
    assert main(["submit", "grpo", "eval", "--resume", *place, "eval.limit=1"]) == 2
    said = capsys.readouterr().err
    assert "is a run of a sweep; go on with it:" in said
    assert said.rstrip().endswith("four")


@pytest.mark.parametrize("seeds", [(), ("--seeds", "0,1")])
def test_a_run_is_not_made_a_sweep(
    tmp_path: Path, scheduler: Path, capsys: Capture, seeds: tuple[str, ...]
) -> None:
    words = ["recipe=demo", "cluster=slurm", f"runs_dir={tmp_path}/runs", "name=four"]
    assert main(["submit", "sft", *words, *seeds]) == 0
    run = tmp_path / "runs" / "four"
    before = (run / "config.yaml").read_bytes(), sorted(run.iterdir())
    assert sweep(tmp_path, write(tmp_path)) == 2
    assert "is a run and no sweep" in capsys.readouterr().err
    assert ((run / "config.yaml").read_bytes(), sorted(run.iterdir())) == before


def test_two_first_submissions(
    tmp_path: Path, scheduler: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """While one is asked, another is submitted: it is left alone."""
    file = write(tmp_path)

    def other(planned: object) -> bool:
        monkeypatch.undo()
        monkeypatch.setenv("PATH", f"{scheduler}:{os.environ['PATH']}")
        assert sweep(tmp_path, file) == 0
        return True

    monkeypatch.setattr("jobs.sweep.command._agreed", other)
    assert main(["sweep", file, f"runs_dir={tmp_path}/runs"]) == 2
    assert "this run name is in use" in capsys.readouterr().err
    home = tmp_path / "runs" / "four"
    assert Jobs.load(Run(home)).complete
    assert not Jobs.load(Run(home / folders(home)["full-0"])).earlier


def test_early_stop_is_one_study_of_rewards_that_all_have(tmp_path: Path, scheduler: Path) -> None:
    points = {"a": {"settings": {"rewards.weights.consistency": 0}}, "b": {}}
    file = write(tmp_path, points, stop_early={"first_step": 4, "factor": 2})
    assert sweep(tmp_path, file) == 0
    home = tmp_path / "runs" / "four"
    found = [Run(home / name).config().grpo.stop_early for name in folders(home).values()]
    assert found[0] == found[1]
    assert found[0].by == ["format", "geo_format", "spatial", "semantic"]
    assert Path(found[0].study or "").parent == home / "halving"
    assert (found[0].first_step, found[0].factor) == (4, 2)


def test_points_without_grpo_are_not_compared(tmp_path: Path, scheduler: Path) -> None:
    """Their weights are not what is compared, and a job reads its configuration strictly."""
    weights = {"rewards.weights.hierarchical": 1.0, "rewards.weights.spatial": 0.0}
    points = {
        "base": {"stages": ["eval"]},
        "a": {"settings": weights},
        "b": {"settings": {**weights, "rewards.weights.semantic": 2.0}},
    }
    assert (
        sweep(
            tmp_path, write(tmp_path, points, stop_early={"first_step": 4, "by": ["hierarchical"]})
        )
        == 0
    )
    home = tmp_path / "runs" / "four"
    for run in home.glob("*-s0-*"):
        Run(run).config()  # UsageError if a job would refuse it
    assert Run(home / folders(home)["base-0"]).config().grpo.stop_early.study is None
    assert Run(home / folders(home)["a-0"]).config().grpo.stop_early.study is not None


def test_early_stop_of_nothing(tmp_path: Path, scheduler: Path, capsys: Capture) -> None:
    points = {"base": {"stages": ["eval"]}, "only": {"stages": ["sft", "eval"]}}
    assert sweep(tmp_path, write(tmp_path, points, stop_early={"first_step": 4})) == 2
    assert "stop_early: no point has grpo" in capsys.readouterr().err


def test_a_dry_run_writes_nothing(tmp_path: Path, scheduler: Path) -> None:
    file = write(tmp_path)
    assert sweep(tmp_path, file, "--seeds", "0,1") == 0
    home = tmp_path / "runs" / "four"
    finish(home, "prepare", "sft", "grpo", "eval")
    before = (home / "sweep.json").read_bytes(), (home / "group.json").read_bytes()
    assert sweep(tmp_path, file, "--seeds", "0", "--dry-run") == 0
    assert ((home / "sweep.json").read_bytes(), (home / "group.json").read_bytes()) == before


def test_what_is_to_be_mended_is_told_though_slurm_is_silent(
    tmp_path: Path, scheduler: Path, capsys: Capture
) -> None:
    (scheduler / "scontrol").write_text('#!/bin/bash\n[ "$1" = ping ] && exec echo is UP\nexit 1\n')
    assert sweep(tmp_path, write(tmp_path), "data.path=/no/such", "--dry-run") == 75
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("error: data.path: /no/such")
    assert "scontrol does not answer" in told[-1]
    words = ["submit", "recipe=demo", "data.path=/no/such", "cluster=slurm", "--seeds", "0,1"]
    assert main([*words, f"runs_dir={tmp_path}/runs", "--dry-run"]) == 75
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("error: data.path: /no/such")
    assert "scontrol does not answer" in told[-1]


def test_of_an_array_half_of_which_was_written_down(tmp_path: Path, scheduler: Path) -> None:
    """The submission was killed while it wrote the array's elements down: those that nobody knows
    are cancelled, the others stay."""
    file = write(tmp_path)
    assert sweep(tmp_path, file) == 0
    home = tmp_path / "runs" / "four"
    finish(home, "prepare", "sft")
    full, mild = (Run(home / folders(home)[f"{name}-0"]) for name in ("full", "mild"))
    known, lost = (Jobs.load(run).of("grpo").id for run in (full, mild))
    array = known.partition("_")[0]
    assert array == lost.partition("_")[0]
    jobs = Jobs.load(mild)
    jobs.jobs = [job for job in jobs.jobs if job.stage != "grpo"]
    jobs.save(mild)
    lines = [f"{id}|{array}|R|geoagent:grpo:{home}\n" for id in (known, lost)]
    (scheduler / "queue").write_text("".join(lines))
    cancel = (scheduler / "scancel").read_text() + f'\n: > "{scheduler}/queue"\n'
    (scheduler / "scancel").write_text(cancel)
    assert sweep(tmp_path, file) == 0
    assert (scheduler / "cancelled").read_text().split() == [lost]
    assert Jobs.load(full).of("grpo").id == known
    assert Jobs.load(mild).of("grpo").id != lost


@pytest.mark.parametrize("asks", [True, False])
def test_an_agent_for_clients_under_way(
    tmp_path: Path, scheduler: Path, flags: Flags, capsys: Capture, asks: bool
) -> None:
    """It waits, and so do its clients, when a point is added: it stays if the point asks none; else
    another takes its place, which is there for both."""
    file = write(tmp_path)
    assert sweep(tmp_path, file) == 0
    home = tmp_path / "runs" / "four"
    agent = Jobs.load(Run(home)).of("agent").id
    records = [job for run in home.glob("*-s0-*") for job in Jobs.load(Run(run)).jobs]
    ids = [agent, *(job.id for job in records)]
    (scheduler / "queue").write_text("".join(f"{i}|{i.partition('_')[0]}|PD|\n" for i in ids))
    cancel = (scheduler / "scancel").read_text() + f'\nsed -i "/^$1|/d" "{scheduler}/queue"\n'
    (scheduler / "scancel").write_text(cancel)
    settings = {"rewards.weights.spatial": 4, "rewards.weights.consistency": 0.5 if asks else 0}
    write(tmp_path, {**POINTS, "more": {"settings": settings}})
    capsys.readouterr()
    assert sweep(tmp_path, file) == 0
    found = dict(re.findall(r"^(\w+): job (\d+)", capsys.readouterr().out, re.M))
    cancelled = (scheduler / "cancelled").read_text() if (scheduler / "cancelled").exists() else ""
    assert (agent in cancelled.split(), "agent" in found) == (asks, asks)
    assert Jobs.load(Run(home)).of("agent").id == (found["agent"] if asks else agent)
    if asks:
        assert dependency(scheduler, flags, int(found["agent"])) == ""


def test_an_agent_without_clients_is_replaced(
    tmp_path: Path, scheduler: Path, capsys: Capture
) -> None:
    """It runs, and will end as soon as it sees that nobody needs it."""
    file = write(tmp_path)
    assert sweep(tmp_path, file) == 0
    home = tmp_path / "runs" / "four"
    finish(home, "prepare", "sft")
    agent = Jobs.load(Run(home)).of("agent").id
    (scheduler / "queue").write_text(f"{agent}|{agent}|R|\n")
    cancel = (scheduler / "scancel").read_text() + f'\n: > "{scheduler}/queue"\n'
    (scheduler / "scancel").write_text(cancel)
    assert sweep(tmp_path, file) == 0
    assert (scheduler / "cancelled").read_text().split() == [agent]
    assert Jobs.load(Run(home)).of("agent").id != agent


def test_one_seed_takes_no_agent_and_no_other_seed_along(
    tmp_path: Path, scheduler: Path, flags: Flags, capsys: Capture
) -> None:
    file = write(tmp_path, {"full": {}})
    assert sweep(tmp_path, file, "--seeds", "0,1") == 0
    found = dict(re.findall(r"^(\w+): job (\d+)", capsys.readouterr().out, re.M))
    sft, agent, grpo = (found[name] for name in ("sft", "agent", "grpo"))
    assert dependency(scheduler, flags, int(grpo)) == f"aftercorr:{sft},after:{agent}"
    # Any of them: aftercorr would end the agent if the first seed failed.
    assert dependency(scheduler, flags, int(agent)) == f"afterok:{sft}_0?afterok:{sft}_1"

    # Seed 0 has its SFT, seed 1 has not: what goes on from it does not fall with the other.
    home = tmp_path / "runs" / "four"
    shared = [*home.glob("shared-*-s0-*"), *home.glob("shared-prepare-s1-*")]
    for run in shared:
        for job in Jobs.load(Run(run)).jobs:
            write_json(Run(run).done_file(job.stage), {"seconds": 1.0})
    assert sweep(tmp_path, file) == 0
    found = dict(re.findall(r"^(\w+): job (\d+)", capsys.readouterr().out, re.M))
    given = dependency(scheduler, flags, int(found["grpo"]))
    assert given == f"afterany:{found['sft']},after:{found['agent']}"


def test_an_evaluation_is_of_the_training_before_it(tmp_path: Path, scheduler: Path) -> None:
    file = write(tmp_path)
    assert sweep(tmp_path, file) == 0
    home = tmp_path / "runs" / "four"
    finish(home, "prepare", "sft", "grpo", "eval")
    full = Run(home / folders(home)["full-0"])
    full.done_file("grpo").unlink()
    assert sweep(tmp_path, file) == 0
    assert [job.stage for job in Jobs.load(full).jobs] == ["grpo", "eval"]


def test_what_goes_on_is_not_taken_back(
    tmp_path: Path, scheduler: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path)
    assert sweep(tmp_path, file) == 0
    home = tmp_path / "runs" / "four"
    finish(home, "prepare", "sft")
    full = Run(home / folders(home)["full-0"])
    grpo = Jobs.load(full).of("grpo").id
    (scheduler / "queue").write_text(f"{grpo}|{grpo.partition('_')[0]}|R|\n")
    monkeypatch.setenv("FAIL_AFTER", (scheduler / "count").read_text().strip())
    assert sweep(tmp_path, file) == 2
    assert [(job.id, job.state) for job in Jobs.load(full).jobs] == [(grpo, "submitted")]


def test_disk(
    tmp_path: Path, scheduler: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    class Usage:
        free = 1024**2

    monkeypatch.setattr("shutil.disk_usage", lambda path: Usage())
    assert sweep(tmp_path, write(tmp_path)) == 2
    assert "0.0 GiB free, and the sweep needs about" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_the_manifest_is_of_the_run(tmp_path: Path, scheduler: Path) -> None:
    assert sweep(tmp_path, write(tmp_path)) == 0
    home = tmp_path / "runs" / "four"
    runs = [Run(home / name) for name in folders(home).values()]
    marks = {read_json(run.manifest_file)["config_sha256"] for run in runs}
    assert len(marks) == len(runs)


def test_a_shipped_sweep_with_a_reward_that_its_base_has_not(
    tmp_path: Path, scheduler: Path
) -> None:
    words = ("recipe=demo", "benchmark=heldout", "cluster=slurm")
    assert sweep(tmp_path, "geoagent_table4", *words) == 0
    home = tmp_path / "runs" / "geoagent_table4"
    weights = Run(home / folders(home)["directly-judge-0"]).config().rewards.weights
    assert weights["directly_judge"] == 2.5


def test_a_folder_has_one_yaml(tmp_path: Path, scheduler: Path, capsys: Capture) -> None:
    file = write(tmp_path)
    assert sweep(tmp_path, file) == 0
    other = tmp_path / "other"
    other.mkdir()
    assert sweep(tmp_path, write(other)) == 2
    said = capsys.readouterr().err
    assert "is the sweep of" in said
    assert "choose another name for the folder of" in said
    assert main(["sweep", str(tmp_path / "runs" / "four"), "name=x", "--yes"]) == 2
    assert "is a sweep that has its name" in capsys.readouterr().err
    Path(file).rename(tmp_path / "renamed.yaml")
    assert sweep(tmp_path, str(tmp_path / "renamed.yaml"), "name=four", "--dry-run") == 0


def test_a_run_that_has_not_begun(tmp_path: Path, scheduler: Path, capsys: Capture) -> None:
    assert sweep(tmp_path, write(tmp_path)) == 0
    home = tmp_path / "runs" / "four"
    run = home / folders(home)["full-0"]
    (run / "jobs.json").unlink()
    assert main(["status", str(run)]) == 2
    said = capsys.readouterr().err
    assert "nothing of it has begun; it is part of" in said


def test_a_dry_run_says_that_another_is_at_it(
    tmp_path: Path, scheduler: Path, capsys: Capture
) -> None:
    assert sweep(tmp_path, write(tmp_path)) == 0
    home = Run(tmp_path / "runs" / "four")
    with submitting(home):
        assert main(["sweep", str(home.path), "--dry-run"]) == 0
    assert "another command submits or runs this sweep now" in capsys.readouterr().out
    assert main(["sweep", str(home.path), "--dry-run"]) == 0
    assert "another command" not in capsys.readouterr().out


def test_shared_logs_are_printed_once(tmp_path: Path, scheduler: Path, capsys: Capture) -> None:
    assert sweep(tmp_path, write(tmp_path)) == 0
    home = tmp_path / "runs" / "four"
    log = next(home.glob("shared-sft-*")) / "sft" / "logs" / "attempt-1" / "err.log"
    log.parent.mkdir(parents=True)
    log.write_text("hello\n")
    capsys.readouterr()
    assert main(["logs", str(home), "sft"]) == 0
    assert capsys.readouterr().out.count("hello") == 1


def test_what_was_cancelled_before_it_began(
    tmp_path: Path, scheduler: Path, capsys: Capture
) -> None:
    """Accounting does not list an element of an array that never ran."""
    assert sweep(tmp_path, write(tmp_path)) == 0
    home = tmp_path / "runs" / "four"
    run = Run(home / folders(home)["full-0"])
    ids = [job.id for job in Jobs.load(run).jobs]
    (scheduler / "queue").write_text("".join(f"{id}|{id.partition('_')[0]}|PD|\n" for id in ids))
    assert main(["cancel", str(run.path)]) == 0
    (scheduler / "queue").write_text("")
    (scheduler / "sacct").write_text("#!/bin/bash\n")
    capsys.readouterr()
    assert main(["status", str(run.path), "--json"]) == 0
    states = {row["stage"]: row["state"] for row in json.loads(capsys.readouterr().out)["jobs"]}
    assert (states["grpo"], states["eval"]) == ("cancelled", "cancelled")
