"""The first stage of every run: the data is checked and written as rows, the base model is made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from geoagent.data.needs import Contents, check_needs, evaluation_split, glance
from geoagent.data.prompt import QUESTION
from geoagent.data.record import REJECTED_FILE, Record, Rejected, read_records
from geoagent.data.swift import completion, write_swift_jsonl
from geoagent.errors import UsageError
from geoagent.files import short, write_jsonl
from geoagent.geo.gazetteer import gazetteer
from geoagent.progress import Progress
from geoagent.rollout.search import provider
from geoagent.run import Run
from geoagent.train.coldstart import conversations, write_cold_start

if TYPE_CHECKING:
    from geoagent.config import Config

STAGE: Final = "prepare"


def prepare(run: Run, then: Collection[str] = ()) -> dict[str, Any]:
    """Write data/sft.jsonl, data/grpo.jsonl and data/rejected.jsonl, and the tiny model if asked.

    Returns counts for done.json. Raises UsageError if one of the stages that come `then` has
    nothing usable to work on.
    """
    config = run.config()
    progress = Progress(run.progress_file(STAGE), total=3)
    progress.update(0, "opening the gazetteer")
    # Built once here, not by every training process at the same time.
    gazetteer()
    if config.rollout.train or config.rollout.eval:
        provider(config.rollout.search)
    progress.update(0, "reading the samples")
    folder = dataset_folder(config)
    data = config.data
    records, rejected = read_records(folder, data.train_split, data.limit, data.strict)
    heldout: list[Record] = []
    bad: list[Rejected] = []
    if config.eval.path is None:  # else the evaluation reads it
        heldout, bad = read_records(folder, evaluation_split(config), data.limit, data.strict)
    # A line that is no JSON object belongs to no split and was refused twice.
    rejected = list({row.line: row for row in (*rejected, *bad)}.values())
    chains = [record for record in records if record.think is not None]
    learnt = len(chains)
    if config.rollout.train:
        learnt, unusable = write_cold_start(config, run, folder, records)
        rejected += unusable
    else:
        write_swift_jsonl(records, folder, "sft", run.dataset("sft"))
    write_jsonl(run.data / REJECTED_FILE, [asdict(row) for row in rejected])
    contents = _contents(config, len(records), learnt, len(heldout))
    check_needs(config, folder, then, contents, _why(rejected))
    write_swift_jsonl(records, folder, "grpo", run.dataset("grpo"))
    summary = _summary(run, records, heldout, rejected) + _unused(config, folder)
    progress.update(1, "making the model" if config.model.kind == "tiny" else "")
    if config.model.kind == "tiny":
        from geoagent.train.tiny import build_tiny

        texts = conversations(run) if config.rollout.train else _texts(chains)
        build_tiny(run.model, config.model.tiny, texts, config.seed)
    progress.update(3, "done")
    return {
        "summary": summary,
        "train": len(records),
        "with_chain_of_thought": len(chains),
        "learnt_by_sft": learnt,
        "heldout": len(heldout),
        "rejected": len(rejected),
        "rejected_by_reason": dict(Counter(row.kind for row in rejected)),
    }


def _contents(config: Config, records: int, learnt: int, heldout: int) -> Contents:
    contents = Contents()
    contents.add(config.data.train_split, True, learnt)
    contents.add(config.data.train_split, False, records - learnt)
    contents.add(evaluation_split(config), False, heldout)
    return contents


def _summary(run: Run, records: list[Record], heldout: list[Record], bad: list[Rejected]) -> str:
    """One line for whoever watches."""
    listed = f" (all: {short(run.data / REJECTED_FILE)})" if bad else ""
    path = run.config().eval.path
    held = f"{len(heldout)} held out" if path is None else f"evaluated on {short(Path(path))}"
    return f"{len(records)} samples to train on, {held}{_why(bad)}{listed}"


def _unused(config: Config, folder: Path) -> str:
    """Splits that nothing reads: a mistyped one would go unseen."""
    splits = glance(folder).splits
    used = (config.data.train_split, evaluation_split(config))
    others = [name for name in sorted(splits) if name not in used]
    listed = ", ".join(f"{name} ({splits[name]})" for name in others)
    return f"; not used: split {listed}" if others else ""


def dataset_folder(config: Config) -> Path:
    """Where the samples are; the bundled sample is built there if it is not yet."""
    data = config.data
    if data.path is not None:
        return Path(data.path)
    if data.name != "sample":
        raise UsageError(f"data.path: is needed for data.name={data.name}")
    from geoagent.data.sample import build_sample

    folder = Path("data") / f"sample-{data.scenes_per_country}"
    build_sample(folder, data.scenes_per_country)
    return folder.resolve()


def _texts(records: list[Record]) -> list[str]:
    """What the tiny model's tokenizer is trained on; the prompt counts as often as it is read."""
    prompt = f"system\nYou are a helpful assistant.\nuser\n{QUESTION}\nassistant\n"
    return [text for record in records for text in (prompt, completion(record))]


def _why(rejected: list[Rejected]) -> str:
    if not rejected:
        return ""
    first = rejected[0]
    return f"; {len(rejected)} rows refused, the first in line {first.line}: {first.reason}"
