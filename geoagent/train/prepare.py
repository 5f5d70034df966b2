"""The first stage of every run: the data is checked and written as rows, the base model is made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from geoagent.answer import parse
from geoagent.data.judge import read_judge
from geoagent.data.needs import Contents, check_judge, check_needs, evaluation_split, glance
from geoagent.data.prompt import judge_question, question
from geoagent.data.record import REJECTED_FILE, Record, Rejected, read_records
from geoagent.data.swift import completion, write_swift_jsonl
from geoagent.data.trajectory import has_trajectory
from geoagent.errors import UsageError
from geoagent.files import read_jsonl, short, write_jsonl
from geoagent.geo.gazetteer import gazetteer
from geoagent.progress import Progress
from geoagent.rollout.search import provider
from geoagent.run import Run
from geoagent.train.coldstart import conversations, judgements, write_cold_start

if TYPE_CHECKING:
    from geoagent.config import Config

STAGE: Final = "prepare"


def prepare(run: Run, then: Collection[str] = ()) -> dict[str, Any]:
    """Write data/sft.jsonl, data/grpo.jsonl and data/rejected.jsonl, data/judge.jsonl of judge.path
    if there is one, and the tiny model if asked.

    Returns counts for done.json. Raises UsageError if one of the stages that come `then` has
    nothing usable to work on.
    """
    config = run.config()
    progress = Progress(run.progress_file(STAGE), total=3)
    progress.update(0, "opening the gazetteer")
    _open_indexes(config)
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
    learnt, unusable = _write_sft(config, run, folder, records)
    rejected += unusable
    write_jsonl(run.data / REJECTED_FILE, [asdict(row) for row in rejected])
    contents = _contents(config, records, learnt, len(heldout))
    check_needs(config, folder, then, contents, _why(rejected))
    write_swift_jsonl(records, folder, "grpo", run.dataset("grpo"), data.answer)
    summary = _summary(run, records, heldout, rejected) + _unused(config, folder)
    summary += _untaught(config, then, records)
    judged = _write_judge(run, config)
    summary += judged.pop("summary", "")
    if config.model.kind == "tiny":
        progress.update(1, "making the model")
        _build_tiny(config, run, chains)
    progress.update(3, "done")
    return {
        "summary": summary,
        "train": len(records),
        "with_chain_of_thought": len(chains),
        "learnt_by_sft": learnt,
        "heldout": len(heldout),
        "rejected": len(rejected),
        "rejected_by_reason": dict(Counter(row.kind for row in rejected)),
        **judged,
    }


def _open_indexes(config: Config) -> None:
    """Built once here, not by every training process at the same time."""
    gazetteer()
    if config.rollout.train or config.rollout.eval:
        provider(config.rollout.search)


def _write_sft(
    config: Config, run: Run, folder: Path, records: list[Record]
) -> tuple[int, list[Rejected]]:
    """Write data/sft.jsonl; returns how many rows it has, and the records that it could not use."""
    if config.rollout.train:
        return write_cold_start(config, run, folder, records)
    answer = config.data.answer
    learnt = write_swift_jsonl(records, folder, "sft", run.dataset("sft"), answer)
    if learnt and _shows_judging(config):
        chains = [record for record in records if record.think is not None]
        rows = chain(read_jsonl(run.dataset("sft")), judgements(chains, folder))
        write_jsonl(run.dataset("sft"), rows)
    return learnt, []


def _shows_judging(config: Config) -> bool:
    """Whether the tiny model learns how a judgement is written, as it has to before RL-I. Not by
    the stages to come: runs of a sweep share what is prepared."""
    return config.model.kind == "tiny" and config.data.answer == "coordinates"


def _build_tiny(config: Config, run: Run, chains: list[Record]) -> None:
    from geoagent.train.tiny import build_tiny

    texts: Iterable[str] = _texts(chains, config.data.answer, _shows_judging(config))
    if config.rollout.train:
        texts = conversations(run)
    build_tiny(run.model, config.model.tiny, texts, config.seed)


def _contents(config: Config, records: list[Record], learnt: int, heldout: int) -> Contents:
    contents, split = Contents(), config.data.train_split
    contents.add(split, True, learnt)
    contents.add(split, False, len(records) - learnt)
    if not config.rollout.train:  # else those that are of use are among the learnt
        contents.trajectories[split] = sum(map(has_trajectory, records))
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


def _untaught(config: Config, then: Collection[str], records: list[Record]) -> str:
    """A cold start without trajectories teaches no calls of tools, which GRPO then never sees."""
    own = config.rollout.train and config.data.path is not None  # a script plays the sample's
    if not own or "sft" not in then or any(map(has_trajectory, records)):
        return ""
    return "; no row has a trajectory: SFT will teach no calls of tools"


def _write_judge(run: Run, config: Config) -> dict[str, Any]:
    """Write data/judge.jsonl of the judge data that the configuration names; how many rows. Also if
    nobody has asked for the stage judge yet: this is not run again when somebody does."""
    if config.judge.path is None:
        return {}
    folder = Path(config.judge.path)
    check_judge(folder)
    records, refused = read_judge(folder, config.data.limit, config.data.strict)
    write_swift_jsonl(records, folder, "judge", run.dataset("judge"))
    why = f" ({len(refused)} refused, the first {refused[0]})" if refused else ""
    told = f"; judge data: {len(records)}{why}"
    return {"summary": told, "judge": len(records), "judge_rejected": len(refused)}


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


def _texts(records: list[Record], answer: str, judges: bool) -> list[str]:
    """What the tiny model's tokenizer is trained on; a question counts as often as it is read."""
    return [text for record in records for text in _texts_of(record, answer, judges)]


def _texts_of(record: Record, answer: str, judges: bool) -> Iterator[str]:
    said = completion(record, answer)
    yield _asked(question(answer))
    yield said
    if judges:
        yield _asked(judge_question(record.think or "", parse(said).answer or ""))
        yield "<think></think><answer>True</answer><think></think><answer>False</answer>"


def _asked(text: str) -> str:
    return f"system\nYou are a helpful assistant.\nuser\n{text}\nassistant\n"


def _why(rejected: list[Rejected]) -> str:
    if not rejected:
        return ""
    first = rejected[0]
    return f"; {len(rejected)} rows refused, the first in line {first.line}: {first.reason}"
