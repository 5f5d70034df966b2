"""A run, or several, as one HTML file that needs nothing else, and its figures as PNG files."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from geoagent.config import JudgeConfig, PolicyConfig, to_yaml
from geoagent.data.sample import is_sample
from geoagent.errors import UsageError
from geoagent.evaluate.table import NAMES, nowhere, remarks
from geoagent.files import write_atomic
from geoagent.report.charts import (
    Chart,
    Line,
    accuracy_chart,
    breakdown_chart,
    classes_chart,
    error_map,
    overlaid_charts,
    training_charts,
)
from geoagent.report.compare import compare
from geoagent.report.confusion import Confusion, confusion
from geoagent.report.examples import Example, examples, extremes
from geoagent.report.load import Evaluation, Loaded, load
from geoagent.report.published import Published, published
from geoagent.report.tables import (
    COLUMNS,
    Pair,
    Table,
    chains_table,
    figures_table,
    rewards_table,
    shown,
    tools_table,
)
from geoagent.run import Run

if TYPE_CHECKING:
    from jinja2 import Template

TEMPLATES: Final = Path(__file__).with_name("templates")
FILE: Final = "report.html"
_TILES: Final = ("geoscore", "accuracy_25km", "accuracy_200km", "accuracy_750km", "median_km")
MAX_MAPS: Final = 4
"""Of a comparison; each is a third of a megabyte."""


@dataclass(frozen=True)
class Section:
    """All about one benchmark."""

    name: str
    lines: list[Line]
    notes: list[str]
    table: Table
    published: Published | None
    charts: list[Chart]
    tools: list[tuple[str, list[str]]]
    chains: Table
    judges: list[str]
    rewards: tuple[list[str], list[tuple[str, list[str]]]]
    remarks: list[str]
    pairs: list[Pair]
    last: str
    confusion: Confusion | None
    best: list[Example]
    worst: list[Example]


def place(runs: Sequence[Run]) -> Path:
    """Where a report is written if nothing else is said."""
    folder = runs[0].report
    return folder if len(runs) == 1 else folder / "comparison"


def make_report(runs: Sequence[Run], out: Path) -> Path:
    """Write `out`/report.html and the PNG files of its figures; returns the HTML's path.

    One run: its models beside each other. Several: the last model of each. What a run has not got
    yet is said in the page. UsageError if a file of a run cannot be used, if two runs have the
    same name, or if several runs have no evaluation at all.
    """
    loaded = [load(run) for run in runs]
    _refuse(loaded)
    sections = _sections(loaded)
    if len(loaded) == 1:
        stages = [(NAMES[one.stage], training_charts(one)) for one in loaded[0].curves]
    else:
        charts = overlaid_charts([(one.name, one.curves) for one in loaded])
        stages = [("All runs", charts)] if charts else []
    html = _render(loaded, sections, stages)
    for chart in _charts(sections, stages):
        write_atomic(out / f"{chart.name}.png", chart.png)
    write_atomic(out / FILE, html)
    return out / FILE


def _refuse(loaded: Sequence[Loaded]) -> None:
    names = [one.name for one in loaded]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"{twice}: given twice; a report tells its runs apart by their names")
    if len(loaded) > 1 and not any(one.evaluations for one in loaded):
        raise UsageError("none of these runs has a finished evaluation; nothing to compare")


def _charts(
    sections: Sequence[Section], stages: Sequence[tuple[str, Sequence[Chart]]]
) -> Iterator[Chart]:
    for section in sections:
        yield from section.charts
    for _, charts in stages:
        yield from charts


# --- sections ----------------------------------------------------------------------------------


def _sections(loaded: Sequence[Loaded]) -> list[Section]:
    if len(loaded) == 1:
        (one,) = loaded
        return [_section([one], e.benchmark, _models(e)) for e in one.evaluations]
    benchmarks = dict.fromkeys(e.benchmark for one in loaded for e in one.evaluations)
    return [_section(loaded, name, _runs(loaded, name)) for name in benchmarks]


Source = tuple[Line, Evaluation, str]
"""A line, where it is from, and the model's name there."""


def _models(evaluation: Evaluation) -> list[Source]:
    return [
        (
            Line(NAMES.get(name, name), evaluation.predictions.get(name), figures),
            evaluation,
            name,
        )
        for name, figures in evaluation.metrics["models"].items()
    ]


def _runs(loaded: Sequence[Loaded], benchmark: str) -> list[Source]:
    found = []
    for one in loaded:
        evaluation = one.evaluation(benchmark)
        if evaluation is not None:
            name = evaluation.last
            figures = evaluation.metrics["models"][name]
            label = f"{one.name} ({NAMES.get(name, name)})"
            found.append((Line(label, evaluation.predictions.get(name), figures), evaluation, name))
    return found


def _section(loaded: Sequence[Loaded], name: str, sources: Sequence[Source]) -> Section:
    lines = [line for line, _, _ in sources]
    last, evaluation, model = sources[-1]
    if len(loaded) == 1:  # the model that the others led to, which need not be listed last
        last, evaluation, model = next(s for s in sources if s[2] == s[1].last)
    known, notes = _published(loaded, name, lines)
    several = len(loaded) > 1
    notes += [note for e in dict.fromkeys(id(s[1]) for s in sources) for note in _notes(sources, e)]
    notes += [
        f"{one.name} was not evaluated on it." for one in loaded if one.evaluation(name) is None
    ]
    notes += [f"{note}." for note in nowhere((line.label, line.figures) for line in lines)]
    if several and len(lines) > MAX_MAPS:
        notes.append(f"Error maps are of the first {MAX_MAPS} of {len(lines)} runs.")
    best, worst = ([], []) if several else _examples(evaluation, model)
    return Section(
        name=name,
        lines=lines,
        notes=notes,
        table=figures_table(
            lines, evaluation.metrics.get("uniform") or {}, known.rows if known else ()
        ),
        published=known,
        charts=_figures(name, sources, last, evaluation.metrics.get("uniform") or {}, several),
        tools=tools_table(lines),
        chains=chains_table([(line.label, e.chains.get(model, {})) for line, e, model in sources]),
        judges=sorted({e.judge for _, e, _ in sources if e.judge}),
        rewards=rewards_table(lines),
        remarks=[] if several else remarks(evaluation.metrics),
        pairs=_pairs(lines, several),
        last=last.label,
        confusion=confusion(last.predictions) if last.predictions and not several else None,
        best=best,
        worst=worst,
    )


def _notes(sources: Sequence[Source], which: int) -> tuple[str, ...]:
    return next(evaluation.notes for _, evaluation, _ in sources if id(evaluation) == which)


def _published(
    loaded: Sequence[Loaded], name: str, lines: Sequence[Line]
) -> tuple[Published | None, list[str]]:
    """Published figures where they are of the same images, and what has to be said about that."""
    known = published(name)
    if known is None:
        return None, [f"No paper has figures on '{name}', so there are none beside these."]
    if any(_is_drawn(one, name) for one in loaded):
        return None, [
            f"It is called '{name}', but the images are the drawn sample: published figures would "
            "say nothing beside these."
        ]
    counts = {line.figures.get("count") for line in lines}
    if known.images is not None and counts != {known.images}:
        there = ", ".join(f"{count:,}" for count in sorted(c for c in counts if c is not None))
        return known, [
            f"Published figures are of all {known.images:,} images of {known.title}; these are of "
            f"{there}."
        ]
    return known, []


def _is_drawn(one: Loaded, benchmark: str) -> bool:
    """Whether a run was evaluated on the drawn sample; what is not there any more is taken for what
    the configuration says."""
    evaluation, config = one.evaluation(benchmark), one.config
    if evaluation is not None and evaluation.samples is not None:
        return is_sample(evaluation.samples)
    return config.data.path is None and config.eval.path is None


def _figures(
    name: str, sources: Sequence[Source], last: Line, chance: Mapping[str, Any], several: bool
) -> list[Chart]:
    lines = [line for line, _, _ in sources]
    charts: list[Chart | None] = []
    if any(line.predictions for line in lines):
        charts.append(accuracy_chart(f"{name}-accuracy", lines, chance))
        charts.append(classes_chart(f"{name}-errors", lines))
    columns = dict.fromkeys(key for line in lines for key in line.figures.get("by", {}))
    charts += [breakdown_chart(f"{name}-by-{key}", key, lines) for key in columns]
    mapped = lines[:MAX_MAPS] if several else [last]
    for number, line in enumerate(mapped):
        if line.predictions is not None:
            suffix = f"-{number + 1}" if several else ""
            charts.append(error_map(f"{name}-map{suffix}", line, wide=not several))
    return [chart for chart in charts if chart is not None]


def _pairs(lines: Sequence[Line], several: bool) -> list[Pair]:
    """Each model against the one before it; each run against the first."""
    chosen = [(lines[0], line) for line in lines[1:]] if several else list(pairwise(lines))
    return [
        Pair(before.label, after.label, compare(before.predictions, after.predictions))
        for before, after in chosen
        if before.predictions is not None and after.predictions is not None
    ]


def _examples(evaluation: Evaluation, model: str) -> tuple[list[Example], list[Example]]:
    predictions = evaluation.predictions.get(model)
    if predictions is None:
        return [], []
    best, worst = extremes(predictions)
    found = examples(evaluation, model, [*best, *worst])
    return [found[name] for name in best], [found[name] for name in worst]


# --- the page ----------------------------------------------------------------------------------


def _render(
    loaded: Sequence[Loaded],
    sections: Sequence[Section],
    stages: Sequence[tuple[str, Sequence[Chart]]],
) -> str:
    return template("report.html").render(
        title=" · ".join(one.name for one in loaded),
        runs=loaded,
        sections=sections,
        tiles=_tiles(sections) if len(loaded) == 1 else [],
        stages=stages,
        settings={one.name: _settings(one) for one in loaded},
        differing=_differing(loaded),
        yaml={one.name: to_yaml(one.config) for one in loaded},
    )


def template(name: str) -> Template:
    """A template of the report's, with what all of them need."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,  # what models write and datasets say is not to be trusted
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["drawn"] = lambda svg: Markup(svg)  # ours, made by matplotlib
    environment.filters["km"] = lambda value: shown(value, "km")
    environment.globals["style"] = Markup((TEMPLATES / "style.css").read_text(encoding="utf-8"))
    environment.globals["made"] = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
    return environment.get_template(name)


def _tiles(sections: Sequence[Section]) -> list[tuple[str, str, str]]:
    """Heading, figure and interval of the run's last model on its first benchmark."""
    if not sections:
        return []
    section = sections[0]
    row = next(row for row in section.table.rows if row.label == section.last)
    cells = dict(zip((c.key for c in section.table.columns), row.cells, strict=True))
    units = {c.key: " %" if c.form == "percent" else "" for c in COLUMNS}
    return [
        (column.heading, cells[column.key].text + units[column.key], cells[column.key].interval)
        for column in section.table.columns
        if column.key in _TILES
    ]


def _settings(loaded: Loaded) -> list[tuple[str, str]]:
    """What one asks first about a run."""
    config, sft = loaded.config, loaded.config.sft
    judged = any(curves.stage == "judge" for curves in loaded.curves)
    model = "tiny, random" if config.model.kind == "tiny" else config.model.path
    data = config.data.path or "the drawn sample"
    return [
        ("Model", model),
        ("Data", f"{data}, splits {config.data.train_split} and {config.data.eval_split}"),
        ("Seed", str(config.seed)),
        (
            "SFT",
            f"learning rate {sft.learning_rate:g}, {_length(sft)}, batch {sft.batch_size} × "
            f"{sft.gradient_accumulation}, {_lora(sft.lora.rank)}",
        ),
        *([(NAMES["judge"], _judging(config.judge))] if judged else []),
        (NAMES["grpo"], _policy(config.grpo)),
        ("Rewards", f"{_weights(config.rewards.weights)}; τ {config.rewards.spatial.tau_km:g} km"),
        ("Agent", config.agent.model),
        (
            "Evaluation",
            f"temperature {config.eval.temperature:g}, at most "
            f"{config.eval.max_new_tokens:,} new tokens",
        ),
    ]


def _judging(judge: JudgeConfig) -> str:
    threshold = f"true within {judge.threshold_km:g} km"
    return f"{_policy(judge)}; {judge.path or threshold}; rewards {_weights(judge.weights)}"


def _policy(settings: PolicyConfig) -> str:
    return (
        f"learning rate {settings.learning_rate:g}, {_length(settings)}, batch "
        f"{settings.batch_size} × {settings.gradient_accumulation}, {settings.generations} "
        f"completions a question, temperature {settings.temperature:g}, β {settings.beta:g}, "
        f"{_lora(settings.lora.rank)}"
    )


def _weights(weights: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {weight:g}" for name, weight in weights.items())


def _length(stage: Any) -> str:
    return f"{stage.max_steps:,} steps" if stage.max_steps else f"{stage.epochs:g} epochs"


def _lora(rank: int) -> str:
    return f"LoRA rank {rank}" if rank else "all parameters"


def _differing(loaded: Sequence[Loaded]) -> list[tuple[str, list[str]]]:
    """Settings that are not the same in all runs."""
    flat = [dict(_leaves(dataclasses.asdict(one.config))) for one in loaded]
    keys = dict.fromkeys(key for one in flat for key in one)
    return [
        (key, [str(one.get(key, "–")) for one in flat])
        for key in keys
        if key not in ("name", "runs_dir") and len({str(one.get(key)) for one in flat}) > 1
    ]


def _leaves(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
