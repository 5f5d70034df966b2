"""What a job of jobs/eval.sbatch does, with programs that only pretend."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from geoagent.config import Config, to_yaml
from geoagent.errors import OutageError, UsageError
from geoagent.evaluate.completions import MARK, Shard, shard_folders
from geoagent.files import claimed, write_json
from geoagent.run import Run
from jobs import shards
from jobs.shards import evaluate, shard_of
from jobs.state import Jobs


def array(task: int, last: int, count: int, **more: str) -> dict[str, str]:
    names = ("TASK_ID", "TASK_MAX", "TASK_COUNT", "JOB_ID")
    values = map(str, (task, last, count, 77))
    return {f"SLURM_ARRAY_{n}": v for n, v in zip(names, values, strict=True)} | more


def test_which_shard_a_job_is() -> None:
    assert shard_of({}) == Shard(0, 1)
    assert shard_of(array(2, 3, 4)) == Shard(2, 4)
    assert shard_of(array(2, 2, 1, SHARDS="4")) == Shard(2, 4)
    assert shard_of(array(0, 0, 1)) == Shard(0, 1)


@pytest.mark.parametrize("variables", [array(2, 2, 1), array(1, 5, 3), array(4, 4, 1, SHARDS="3")])
def test_an_array_that_leaves_shards_out_says_so(variables: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"SHARDS=\d sbatch --array=\d jobs/eval.sbatch"):
        shard_of(variables)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = Run(tmp_path / "run")
    config = Config(name="run", runs_dir=str(tmp_path))
    config.model.kind, config.rewards.weights = "tiny", {"format": 1.0}
    run.path.mkdir()
    run.config_file.write_text(to_yaml(config))
    write_json(run.done_file("prepare"), {})
    return run


@pytest.fixture
def merged(run: Run, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Programs end at once: two shards of one evaluation. Grows with each merge."""
    done: list[str] = []

    class Predicted:
        def __init__(self, path: Path, plan: Any, **_: object) -> None:
            self.name = plan.name

        def __call__(self) -> None:
            write_json(run.progress_file(self.name), {"step": 1})
            write_json(run.done_file(self.name), {"missing": 0, MARK: "new"})
            if (
                len(shard_folders(run)) == 2
                and not run.progress_file("eval/shards/1-of-2").exists()
            ):
                write_json(run.done_file(self.name), {"missing": 5, MARK: "new"})

    def merge(*_: object) -> int:
        done.append("merge")
        write_json(run.done_file("eval"), {MARK: "new"})
        return 0

    monkeypatch.setattr(shards, "StageTask", Predicted)
    monkeypatch.setattr(shards, "_merge", merge)
    return done


def test_an_element_that_runs_again_is_not_counted_twice(run: Run) -> None:
    record = shards._record
    record(run, array(0, 1, 2, SLURM_ARRAY_JOB_ID="77"))
    record(run, array(0, 1, 2, SLURM_ARRAY_JOB_ID="78"))
    record(run, array(1, 1, 2, SLURM_ARRAY_JOB_ID="77"))
    jobs = Jobs.load(run)
    assert jobs.of("eval").id == "78"
    assert jobs.earlier == {"eval": ["77"]}


def test_the_last_shard_merges_once(
    run: Run, merged: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for task, said, merges in ((0, "5 completions of other shards", 0), (1, "", 1), (0, "al", 1)):
        assert evaluate([str(run.path)], array(task, 1, 2)) == 0
        assert said in capsys.readouterr().out
        assert len(merged) == merges
    assert Jobs.load(run).of("eval").id == "77"
    # One that was made with something else is merged anew, but by one job only.
    write_json(run.done_file("eval"), {MARK: "old"})
    with claimed(run.stage("eval") / "shards" / "merge.lock"):
        assert evaluate([str(run.path)], array(0, 1, 2)) == 0
    assert len(merged) == 1
    assert evaluate([], array(0, 1, 2, RUN=str(run.path))) == 0
    assert len(merged) == 2


def test_other_settings_make_a_finished_evaluation_unfinished(run: Run, merged: list[str]) -> None:
    assert evaluate([str(run.path)], {}) == 0
    assert len(merged) == 1
    assert evaluate([str(run.path), "eval.limit=3"], {}) == 0
    assert len(merged) == 2
    assert run.config().eval.limit == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "usage: sbatch"),
        (["none"], "not a run directory"),
        (["RUN", "sft.max_steps=3"], "sft.max_steps is None in this run and 3 now"),
        (["RUN", "eval.limt=3"], "eval.limit"),
    ],
)
def test_what_is_to_be_mended_first(
    run: Run, merged: list[str], words: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        evaluate([word.replace("RUN", str(run.path)) for word in words], {})
    assert merged == []
    run.done_file("prepare").unlink()
    with pytest.raises(UsageError, match="has not finished prepare"):
        evaluate([str(run.path)], {})


def test_a_run_that_is_being_trained_is_not_evaluated(
    run: Run, merged: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "still_running", lambda run: ["grpo", "eval", "agent"])
    with pytest.raises(UsageError, match="grpo has not ended; evaluate it then"):
        evaluate([str(run.path)], {})

    def silent(run: Run) -> list[str]:
        raise OutageError("squeue does not answer")

    monkeypatch.setattr(shards, "still_running", silent)
    assert evaluate([str(run.path)], {}) == 0
