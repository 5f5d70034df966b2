"""What to do next about a job that has failed: what to mend, and the command that goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from geoagent.config import Config
from geoagent.errors import OUTAGE, USAGE
from geoagent.evaluate.completions import shard_folders
from geoagent.files import short
from geoagent.run import Run
from geoagent.sweep.home import SweepHome
from jobs.causes import Known, known_as
from jobs.command import command
from jobs.plan import STAGES
from jobs.state import JobRecord


def next_step(run: Run, job: JobRecord, jobs: Sequence[JobRecord], code: int | None) -> str:
    """One line for a job that failed for `job.cause`; `code` is its program's, if it got one."""
    config = run.config()
    known = known_as(job.cause or "")
    stages = unfinished(run, jobs)
    if known is None:
        return f"{_look(run, job.stage, code)}; then: {going_on(run, stages)}"
    mend = f"{known.mend.format(stage=job.stage)}; then: " if known.mend else ""
    if known.anew and job.stage != "eval":
        return f"{mend}{_anew(run, stages, known.anew.format(stage=job.stage))}"
    if by_sbatch(run) and stages == ["eval"]:
        more = "ask sbatch for more (--mem, --time); then: " if known.settings else mend
        return f"{more}{going_on(run, stages)}"
    settings = _settings(known, config, job)
    return f"{mend}{going_on(run, stages, settings)}"


def going_on(run: Run, stages: Sequence[str], settings: str = "") -> str:
    """The command that goes on with a run, as one would type it here."""
    if by_sbatch(run) and list(stages) == ["eval"]:
        return f"sbatch {_array(run)}jobs/eval.sbatch {short(run.path)}"
    return resuming(run, stages, settings)


def resuming(run: Run, stages: Sequence[str], settings: str = "") -> str:
    """The command that submits a run again; of a sweep's, the sweep."""
    if SweepHome.at(run.path.parent):
        return f"{command()} sweep {short(run.path.parent)}"
    words = f"submit {' '.join(stages) or 'prepare'} --resume name={run.path.name}"
    return " ".join(part for part in (command(), words, _place(run), settings) if part)


def unfinished(run: Run, jobs: Sequence[JobRecord]) -> list[str]:
    """Stages of a submission that have not finished; prepare comes with the others by itself."""
    names = {job.stage for job in jobs} & {*STAGES} - {"prepare"}
    return [name for name in STAGES if name in names and not run.done_file(name).is_file()]


def by_sbatch(run: Run) -> bool:
    """Whether the run is evaluated with jobs/eval.sbatch."""
    return (run.stage("eval") / "shards").is_dir()


def _array(run: Run) -> str:
    count = len(shard_folders(run))
    return f"--array=0-{count - 1} " if count else ""


def _anew(run: Run, stages: Sequence[str], settings: str) -> str:
    words = f"submit {' '.join(stages)} {short(run.config_file)} name={run.path.name}-2"
    return " ".join(part for part in (command(), words, _place(run), settings) if part)


def _look(run: Run, stage: str, code: int | None) -> str:
    if code == USAGE:
        return "mend that"
    logs = f"{command()} logs {short(run.path)}"
    return f"see {logs} {'agent' if code == OUTAGE else stage}"


def _settings(known: Known, config: Config, job: JobRecord) -> str:
    """Twice of what it had."""
    resources = getattr(config.cluster, job.stage)
    memory = resources.memory_gb
    return known.settings.format(
        stage=job.stage,
        memory_gb=2 * memory if memory else "GIB",
        time_minutes=2 * resources.time_minutes,
        nodes=job.nodes or "NODE",
    )


def _place(run: Run) -> str:
    place = run.path.parent
    usual = place == Path(Config().runs_dir).absolute()
    return "" if usual else f"runs_dir={short(place)}"
