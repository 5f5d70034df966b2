"""A sweep's results as one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from geoagent.report.charts import Chart
from geoagent.report.page import FILE, template
from geoagent.sweep.effects import Effects, front_table, levels_table, trends_table
from geoagent.sweep.results import Results
from geoagent.sweep.tables import SweepTable


def sweep_page(
    results: Results,
    table: SweepTable,
    found: Effects,
    effect_charts: Sequence[Chart],
    front_chart: Chart | None,
    curves: Sequence[Chart],
) -> str:
    """The page of HOME/results; charts are drawn already, as they are files of their own too."""
    tables = (levels_table(found, results.metrics), trends_table(found, results.metrics))
    return template("sweep.html").render(
        title=results.home.title,
        points=len(results.points),
        states={state: count for state, count in results.states().items() if count},
        measured=bool(results.names),
        main=table,
        problems=table.problems,
        links=_links(results),
        effects=[one for one in tables if one is not None],
        effect_charts=effect_charts,
        front=front_table(results, found.front) if found.front else None,
        front_chart=front_chart,
        curves=curves,
    )


def _links(results: Results) -> dict[str, list[tuple[str, str]]]:
    """By point, label and address of each run's own report, from HOME/results."""
    found: dict[str, list[tuple[str, str]]] = {}
    for trial in results.trials:
        run = results.home.run(trial.folder)
        if (run.report / FILE).is_file():
            address = f"../{quote(trial.folder)}/{run.report.name}/{FILE}"
            found.setdefault(trial.point, []).append((f"seed {trial.seed}", address))
    return found
