"""Folders of sweeps as trials leave them, of made-up figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from geoagent.config import Config, to_yaml
from geoagent.files import write_json
from geoagent.run import Run
from geoagent.sweep.home import Row, SweepHome

METRICS = ("accuracy_25km", "accuracy_200km", "geoscore")
STAGES = ("sft", "grpo", "eval")


def figures_of(**some: Any) -> dict[str, Any]:
    """A model's figures in metrics.json."""
    return {
        "rules": "geoagent",
        "count": 98,
        "parse_rate": 1.0,
        "median_km": None,
        "intervals": {"accuracy_25km": [0.0, 1.0]},
        "by": {"country": {"France": {"count": 3, "geoscore": 1.0}}},
        "rewards": {"spatial": 0.25, "consistency": 0.5},
        **some,
    }


class Folder:
    """A sweep's folder that grows row by row."""

    def __init__(self, path: Path, **said: Any) -> None:
        chosen: dict[str, Any] = {
            "source": "mine.yaml",
            "title": "What matters",
            "words": [],
            "seeds": [0],
            "parallel": None,
            "metrics": list(METRICS),
            "published": None,
            **said,
        }
        self.home = SweepHome(path=path, **chosen)
        self.home.save()

    def row(
        self,
        point: str,
        seeds: Sequence[int] = (0,),
        settings: Mapping[str, Any] | None = None,
        published: str | None = None,
        stages: Sequence[str] = STAGES,
        varied: bool = True,
    ) -> Row:
        settings = dict(settings or {})
        runs = {str(seed): f"{point}-s{seed}-1a2b3c4d" for seed in seeds}
        dimensions = settings if varied else {}
        row = Row(point, settings, dict(dimensions), list(stages), published, runs)
        self.home.rows.append(row)
        self.home.save()
        for seed in seeds:
            self._configure(self.run(point, seed), seed, settings)
        return row

    def run(self, point: str, seed: int = 0) -> Run:
        row = next(row for row in self.home.rows if row.point == point)
        return self.home.run(row.runs[str(seed)])

    def done(self, point: str, seed: int = 0, **figures: Any) -> Run:
        """A trial that has gone through all its stages."""
        run = self.run(point, seed)
        row = next(row for row in self.home.rows if row.point == point)
        for stage in ("prepare", *row.stages):
            write_json(run.done_file(stage), {"seconds": 1.5})
        models = {"base": figures_of(accuracy_25km=0.999), "grpo": figures_of(**figures)}
        document = {"models": models, "last": "grpo"}
        write_json(run.evaluation("heldout") / "metrics.json", document)
        return run

    def failed(
        self, point: str, seed: int = 0, stage: str = "grpo", cause: str = "no memory"
    ) -> Run:
        run = self.run(point, seed)
        for earlier in ("prepare", *STAGES[: STAGES.index(stage)]):
            write_json(run.done_file(earlier), {"seconds": 1.5})
        write_json(run.stage(stage) / "outcome.json", {"code": 1, "cause": cause})
        return run

    def stopped(self, point: str, seed: int = 0) -> Run:
        """Ended by successive halving."""
        run = self.run(point, seed)
        for stage in ("prepare", "sft"):
            write_json(run.done_file(stage), {"seconds": 1.5})
        early = {"step": 20, "of": 100, "value": 0.1}
        write_json(run.done_file("grpo"), {"seconds": 1.5, "stopped_early": early})
        write_json(run.done_file("eval"), {"seconds": 0.1, "skipped": "grpo was stopped early"})
        return run

    @staticmethod
    def _configure(run: Run, seed: int, settings: Mapping[str, Any]) -> None:
        config = Config()
        config.seed = seed
        for key, value in settings.items():
            node: Any = config
            *parents, last = key.split(".")
            for parent in parents:
                node = node[parent] if isinstance(node, dict) else getattr(node, parent)
            if isinstance(node, dict):
                node[last] = value
            else:
                setattr(node, last, value)
        run.path.mkdir(parents=True)
        run.config_file.write_text(to_yaml(config), encoding="utf-8")
