"""The run directory: every program of a run reads and writes here and nowhere else."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from geoagent.errors import UsageError

if TYPE_CHECKING:
    from geoagent.config import Config


@dataclass(frozen=True)
class Run:
    """Names of what is in a run directory."""

    path: Path

    @classmethod
    def open(cls, path: Path | str) -> Run:
        """The run in an existing directory; UsageError if there is none."""
        run = cls(Path(path).resolve())
        if not run.config_file.is_file():
            named = Path("runs") / path
            hint = f"; did you mean {named}?" if cls(named).config_file.is_file() else ""
            raise UsageError(f"{path}: not a run directory (it has no config.yaml){hint}")
        return run

    @property
    def config_file(self) -> Path:
        return self.path / "config.yaml"

    @property
    def manifest_file(self) -> Path:
        return self.path / "manifest.json"

    @property
    def jobs_file(self) -> Path:
        return self.path / "jobs.json"

    @property
    def code(self) -> Path:
        return self.path / "code"

    @property
    def data(self) -> Path:
        return self.path / "data"

    def dataset(self, stage: str) -> Path:
        """The rows that a training stage reads; absent if there is none that it can use."""
        return self.data / f"{stage}.jsonl"

    @property
    def model(self) -> Path:
        """The base model, where the run built one itself."""
        return self.path / "model"

    @property
    def extensions(self) -> Path:
        """Where torch keeps what DeepSpeed compiles for this run."""
        return self.path / "cache" / "torch_extensions"

    @property
    def agent(self) -> Path:
        return self.path / "agent"

    def stage(self, name: str) -> Path:
        return self.path / name

    def checkpoints(self, stage: str) -> Path:
        return self.stage(stage) / "checkpoints"

    def tensorboard(self, stage: str) -> Path:
        return self.stage(stage) / "tensorboard"

    def logs(self, stage: str, attempt: int) -> Path:
        return self.stage(stage) / "logs" / f"attempt-{attempt}"

    def progress_file(self, stage: str) -> Path:
        return self.stage(stage) / "progress.json"

    def done_file(self, stage: str) -> Path:
        """Exists once the stage has finished with everything it was asked for."""
        return self.stage(stage) / "done.json"

    def stop_request(self, stage: str) -> Path:
        """Exists while a training stage is asked to save after its step and to stop."""
        return self.stage(stage) / "stop-request"

    @property
    def report(self) -> Path:
        return self.path / "report"

    def evaluation(self, benchmark: str) -> Path:
        return self.path / "eval" / benchmark

    def config(self) -> Config:
        """The resolved configuration that the run was made from."""
        from geoagent.config import load

        return load([self.config_file])
