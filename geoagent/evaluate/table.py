"""The comparison of a run's models as text."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from geoagent.evaluate.metrics import THRESHOLDS_KM
from geoagent.evaluate.rules import GEOVISTA

if TYPE_CHECKING:
    from rich.table import Table

NAMES: Final = {"base": "base", "sft": "SFT", "judge": "RL-I (judge)", "grpo": "GRPO"}
"""Of models, for people; GRPO after RL-I is GRE's RL-II."""


def table(result: dict[str, Any], title: str, width: int = 100) -> str:
    """The figures of metrics.json: a row for chance and one a model; then their rewards, the
    agent's share, and what GRPO gained."""
    from rich.console import Console

    output = io.StringIO()
    console = Console(file=output, width=width, color_system=None, force_terminal=False)
    models = [(NAMES.get(name, name), figures) for name, figures in result["models"].items()]
    console.print(_accuracies(result, title))
    if any("rewards" in figures for figures in result["models"].values()):
        console.print(_rewards(result))
    for line in (*nowhere(models), *_tools(result), *remarks(result)):
        console.print(line, highlight=False, soft_wrap=True)
    return "\n".join(line.rstrip() for line in output.getvalue().splitlines()).strip() + "\n"


def nowhere(models: Iterable[tuple[str, Mapping[str, Any]]]) -> list[str]:
    """What is to be said of models (label, figures) whose misses count as lying somewhere, by
    rules that have such a place."""
    missed = [
        f"{label} {1 - rate:.1%}"
        for label, figures in models
        if figures.get("rules") == GEOVISTA.name
        and (rate := figures.get("geocoded_rate")) is not None
        and rate < 1
    ]
    if not missed:
        return []
    return [
        "By GeoVista's rules an answer that is nowhere lies in Honiara, which GeoScore and median "
        f"km are then of. Share of such images: {', '.join(missed)}"
    ]


def _accuracies(result: dict[str, Any], title: str) -> Table:
    shown = _table(
        f"{title}: share of samples within … km, in %; GeoScore ± half of its 95 % interval"
    )
    for name in ("parsed", *(f"{km}" for km in THRESHOLDS_KM), "GeoScore", "median km", "images"):
        shown.add_column(name, justify="right")
    if result.get("uniform"):
        shown.add_row("uniform guess", *_figures(result["uniform"]))
    for name, figures in result["models"].items():
        shown.add_row(NAMES.get(name, name), *_figures(figures))
    return shown


def _figures(figures: dict[str, Any]) -> list[str]:
    shares = ("parse_rate", *(f"accuracy_{km}km" for km in THRESHOLDS_KM))
    percent = [_show(figures.get(name), 100, 1) for name in shares]
    score, median = _geoscore(figures), _show(figures.get("median_km"))
    return [*percent, score, median, _show(figures["count"])]


def _geoscore(figures: dict[str, Any]) -> str:
    """With half the width of its interval, where there is one."""
    low, high = figures.get("intervals", {}).get("geoscore", (None, None))
    margin = f" ± {(high - low) / 2:.0f}" if low is not None else ""
    return f"{_show(figures.get('geoscore'))}{margin}"


def _rewards(result: dict[str, Any]) -> Table:
    """Weighted totals, of the evaluated and of the sampled completions; then unweighted means."""
    shown = _table("Mean rewards (total and sampled: weighted sums as in training)")
    names = list(result["models"][result["last"]]["rewards"])
    for name in ("total", "sampled", *names):
        shown.add_column(name, justify="right")
    for name, figures in result["models"].items():
        totals = [_show(figures.get(key), 1, 3) for key in ("mean_reward", "sampled_mean_reward")]
        parts = [_show(figures["rewards"].get(reward), 1, 3) for reward in names]
        shown.add_row(NAMES.get(name, name), *totals, *parts)
    return shown


def remarks(result: Mapping[str, Any]) -> list[str]:
    """What is to be said beside the rewards: the agent's share, and what GRPO gained."""
    return [*_agent(result), *_paid_for(result)]


def _tools(result: Mapping[str, Any]) -> list[str]:
    return [
        f"{NAMES.get(name, name)}: {used['turns']:.1f} turns, {used['crops']:.1f} crops and "
        f"{used['searches']:.1f} searches an image; {used['answered']:.0%} ended with an answer"
        for name, figures in result["models"].items()
        if (used := figures.get("tools"))
    ]


def _agent(result: Mapping[str, Any]) -> list[str]:
    """How many conclusions the agent was asked about, came to as well, and could not judge."""
    shares = {
        NAMES.get(name, name): figures["agent"]
        for name, figures in result["models"].items()
        if figures.get("agent", {}).get("asked")
    }
    return [
        f"{name}: the agent came to {n['agreed']} of {n['asked']} conclusions as well; "
        f"{n['failed']} unusable replies"
        for name, n in shares.items()
    ]


def _paid_for(result: Mapping[str, Any]) -> list[str]:
    """GRPO maximises the total reward and nothing else: that is what it is to be judged by."""
    gains = result.get("gains", {}).get("grpo")
    if not gains:
        return []
    parts = [f"{_gain(gains['reward'])} (greedy)"]
    if gains["sampled_reward"]:
        parts.append(f"{_gain(gains['sampled_reward'])} (sampled)")
    return [
        f"GRPO is paid for the total reward: {', '.join(parts)} over {NAMES[gains['over']]}, ± its "
        "standard error; distances may go either way"
    ]


def _gain(gain: dict[str, float | None]) -> str:
    known = gain["standard_error"] is not None
    error = f" ± {gain['standard_error']:.2f}" if known else ""
    return f"{gain['mean']:+.2f}{error}"


def _table(title: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="", box=SIMPLE_HEAD)
    table.add_column("model")
    return table


def _show(value: float | None, factor: float = 1, digits: int = 0) -> str:
    return "–" if value is None else f"{value * factor:.{digits}f}"
