"""The models of a run that can be evaluated: where it started and what each stage made of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from geoagent.config import Config
from geoagent.errors import UsageError
from geoagent.files import read_json
from geoagent.run import Run
from geoagent.stages import TRAINING
from geoagent.train.arguments import ADAPTER_FILE, base_model, starting_model
from geoagent.train.checkpoints import latest, step_of


@dataclass(frozen=True)
class Candidate:
    """A model under its stage's name; `adapters` is a LoRA checkpoint on top of `model`."""

    name: str
    model: str
    adapters: str | None = None

    @property
    def step(self) -> int:
        """Of its stage's training when it was saved; 0 for a model that no stage made."""
        return step_of(Path(self.adapters or self.model)) or 0

    @property
    def weights(self) -> list[tuple[str, int, int]]:
        """Name, size and time (ns) of the files that hold the weights, to notice new ones.

        Empty for a name on the hub.
        """
        folder = Path(self.adapters or self.model)
        files = sorted(folder.glob("*.safetensors")) if folder.is_dir() else []
        return [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files]


def candidates(config: Config, run: Run) -> list[Candidate]:
    """base, then those of the training stages, as far as they have a complete checkpoint."""
    found = [Candidate("base", base_model(config, run))]
    for stage in TRAINING:
        checkpoint = latest(run.checkpoints(stage))
        if checkpoint is None:
            continue
        if (checkpoint / ADAPTER_FILE).is_file():
            below, _ = starting_model(config, run, stage)
            found.append(Candidate(stage, below, str(checkpoint)))
        else:
            found.append(Candidate(stage, str(checkpoint)))
    return found


def evaluated(config: Config, run: Run) -> list[Candidate]:
    """Those of the candidates that `eval.models` asks for; at least one."""
    found = candidates(config, run)
    return found[-1:] if config.eval.models == "last" else found


def choose(config: Config, run: Run, name: str | None = None) -> Candidate:
    """The candidate of that name, or the last; UsageError lists what there is."""
    found = candidates(config, run)
    if name is None:
        return found[-1]
    for candidate in found:
        if candidate.name == name:
            return candidate
    raise UsageError(f"{run.path}: no model '{name}'; it has {', '.join(c.name for c in found)}")


def trained_pixels(folder: Path) -> int | None:
    """The image size that a checkpoint was trained with, from what ms-swift notes beside it."""
    notes = folder / "args.json"
    pixels = read_json(notes).get("max_pixels") if notes.is_file() else None
    return pixels if isinstance(pixels, int) else None


def from_folder(folder: Path) -> Candidate:
    """A checkpoint by its folder: a complete model, or adapters that name theirs."""
    path = folder.resolve()
    if (folder / ADAPTER_FILE).is_file():
        base = read_json(folder / ADAPTER_FILE).get("base_model_name_or_path")
        if not isinstance(base, str) or not Path(base, "config.json").is_file():
            raise UsageError(
                f"{folder / ADAPTER_FILE}: its base model ({base}) is not a folder here; give "
                "its path there, or name the run instead"
            )
        return Candidate(path.name, base, str(path))
    if not (folder / "config.json").is_file():
        raise UsageError(f"{folder}: {_why_no_model(folder)}")
    return Candidate(path.name, str(path))


def _why_no_model(folder: Path) -> str:
    """What is wrong with a folder that holds no model, and which may have been meant."""
    if not folder.exists():
        return "does not exist"
    meant = ""
    if Run(folder).config_file.is_file():
        meant = f"; did you mean --run {folder}?"
    elif checkpoint := latest(folder) or latest(folder / "checkpoints"):
        meant = f"; did you mean --model {checkpoint}?"
    return f"not a model folder (it has no config.json){meant}"
