"""The table in its forms."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from geoagent.sweep.results import Estimate, collect
from geoagent.sweep.tables import (
    Cell,
    SweepTable,
    csv_text,
    document,
    estimate_text,
    fitting,
    heading,
    latex,
    markdown,
    print_table,
    rich_table,
    short_keys,
    sweep_table,
    text,
)

from .folders import Folder

pytestmark = pytest.mark.unit


def rows_of(folder: Folder) -> list[list[str]]:
    table = sweep_table(collect(folder.home))
    return [list(table.headings)] + [[cell.text for cell in row] for row in table.rows]


def test_one_seed_has_no_deviation(tmp_path: Path) -> None:
    folder = Folder(tmp_path, metrics=["accuracy_25km", "geoscore"])
    folder.row("one")
    folder.done("one", accuracy_25km=0.125, geoscore=2500.0)
    assert rows_of(folder) == [
        ["point", "changes", "≤ 25 km, %", "GeoScore"],
        ["one", "–", "12.5", "2,500"],
    ]
    results = collect(folder.home)
    for form in (text, markdown, latex):
        assert "±" not in form(sweep_table(results), "x")


def test_mean_deviation_and_number_of_seeds(tmp_path: Path) -> None:
    folder = Folder(tmp_path, seeds=[0, 1, 2], metrics=["accuracy_25km", "rewards.spatial"])
    folder.row("one", (0, 1, 2), {"grpo.beta": 0.1})
    folder.row("two", (0, 1, 2), {"sft.learning_rate": 1e-6, "grpo.learning_rate": 2e-6})
    folder.row("three", (0, 1, 2), stages=("sft", "eval"))
    folder.done("one", 0, accuracy_25km=0.1)
    folder.done("one", 1, accuracy_25km=0.2)
    folder.failed("one", 2, cause="no memory")
    folder.done("two", 1, accuracy_25km=0.3)
    folder.stopped("two", 0)
    assert rows_of(folder) == [
        ["point", "changes", "≤ 25 km, %", "spatial reward", "state"],
        ["one", "beta=0.1", "15.0 ± 7.1 (2)", "0.250 ± 0.000 (2)", "2 done; 1 failed at grpo"],
        [
            "two",
            "sft.learning_rate=1e-06, grpo.learning_rate=2e-06",
            "30.0 (1)",
            "0.250 (1)",
            "1 stopped early at step 20 of 100; 1 done; 1 missing: prepare is next",
        ],
        ["three", "stages=sft+eval", "–", "–", "3 missing: prepare is next"],
    ]
    table = sweep_table(collect(folder.home))
    assert table.problems == ("one-s2-1a2b3c4d: grpo: no memory",)
    assert "no memory" in text(table, "x")


def test_published_figures_stand_beside_those_that_have_them(tmp_path: Path) -> None:
    metrics = ["accuracy_25km", "geoscore", "rewards.spatial"]
    folder = Folder(tmp_path, metrics=metrics, published="geoseek_val")
    folder.row("full", published="GeoAgent")
    folder.row("less", published="without consistency")
    folder.row("mine")
    for point in ("full", "less", "mine"):
        folder.done(point, accuracy_25km=0.5, geoscore=2000.0)
    header, full, less, mine = rows_of(folder)
    assert header[2:] == ["≤ 25 km, %", "published", "GeoScore", "published", "spatial reward"]
    assert full[3:6:2] == ["15.7", "3,314"]
    assert less[3:6:2] == ["14.7", "–"]
    assert mine[3:6:2] == ["–", "–"]


def test_the_best_of_a_column(tmp_path: Path) -> None:
    folder = Folder(tmp_path, metrics=["geoscore", "median_km", "rewards.spatial"])
    for number, point in enumerate(("a", "b", "c")):
        folder.row(point)
        folder.done(point, geoscore=1000.0 + number, median_km=10.0 + number)
    folder.row("d")
    table = sweep_table(collect(folder.home))
    best = [[cell.text for cell in row[2:] if cell.best] for row in table.rows]
    assert best == [["10.0"], [], ["1,002"], []]  # all are alike in the last column
    assert "1,002 *" in text(table, "x")
    assert "**1,002**" in markdown(table, "x")
    assert r"\textbf{1,002}" in latex(table, "x")


def test_all_failed(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    for point in ("a", "b"):
        folder.row(point)
        folder.failed(point)
    results = collect(folder.home)
    table = sweep_table(results)
    assert [row[-1].text for row in table.rows] == ["failed at grpo"] * 2
    assert {cell.text for row in table.rows for cell in row[2:-1]} == {"–"}
    assert len(table.problems) == 2
    assert results.names == ()


@given(st.integers(1, 9), st.floats(0, 1), st.floats(0, 1))
def test_estimates_are_written_with_their_number(count: int, mean: float, spread: float) -> None:
    deviation = spread if count > 1 else None
    shown = estimate_text(Estimate(mean, deviation, count), "accuracy_25km")
    assert shown.endswith(f" ({count})")
    assert ("±" in shown) == (count > 1)
    assert float(shown.split()[0]) == pytest.approx(100 * mean, abs=0.0501)


SPECIAL = re.compile(
    r"\\(textbackslash|textasciitilde|ldots)\{\}|\\\^\{\}|\\ensuremath\{[<>]\}|\\[&%$#_{}]"
    r"|\$(\\pm|\\leq|\\times|-)\$"
)


@given(st.text(max_size=60))
def test_no_letter_of_a_cell_is_a_command_of_latex(said: str) -> None:
    table = SweepTable(("point",), ((Cell(said),),), frozenset({0}))
    made = latex(table, "title")
    body = made.split(r"\midrule")[1].split(r"\bottomrule")[0].strip()
    assert body.endswith(r"\\")
    assert not re.search(r"[\\&%$#_{}~^<>\n]", SPECIAL.sub("", body[:-2]))
    assert made.count("rule\n") == 3


def test_latex_of_what_is_known() -> None:
    table = SweepTable(("≤ 25 km, %",), ((Cell("a_b ± 5 & \\hline", best=True),),), frozenset())
    assert r"\textbf{a\_b $\pm$ 5 \& \textbackslash{}hline}" in latex(table, "50 %")
    assert r"\caption{50 \%}" in latex(table, "50 %")
    assert r"$\leq$ 25 km, \%" in latex(table, "50 %")


@given(st.text(max_size=60))
def test_a_cell_stays_a_cell_in_markdown(said: str) -> None:
    table = SweepTable(("point", "x"), ((Cell(said), Cell("1")),), frozenset({0}))
    lines = markdown(table, "title").rstrip().split("\n")
    (row,) = [line for line in lines[2:] if line.startswith("|")][2:]
    assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) == 3


@given(st.lists(st.from_regex(r"[ab](\.[ab]){0,3}", fullmatch=True), min_size=1, unique=True))
def test_short_keys_are_tails_and_tell_keys_apart(keys: list[str]) -> None:
    short = short_keys(keys)
    assert len(set(short.values())) == len(keys)
    assert all(key == tail or key.endswith(f".{tail}") for key, tail in short.items())


def test_csv_has_a_row_a_trial_in_full_precision(tmp_path: Path) -> None:
    folder = Folder(tmp_path, seeds=[0, 1])
    folder.row("one", (0, 1), {"grpo.learning_rate": 1e-6})
    folder.done("one", 0, geoscore=1234.5678901234567)
    folder.failed("one", 1, cause='says "no",\nand stops')
    rows = list(csv.DictReader(io.StringIO(csv_text(collect(folder.home)))))
    assert [row["state"] for row in rows] == ["done", "failed"]
    assert float(rows[0]["figures.geoscore"]) == 1234.5678901234567
    assert rows[0]["settings.grpo.learning_rate"] == "1e-06"
    assert (rows[0]["seconds.eval"], rows[1]["seconds.eval"]) == ("1.5", "")
    assert (rows[1]["stage"], rows[1]["why"]) == ("grpo", 'says "no", and stops')
    assert rows[1]["figures.geoscore"] == ""


def test_json_has_everything(tmp_path: Path) -> None:
    folder = Folder(tmp_path, seeds=[0, 1])
    folder.row("one", (0, 1))
    folder.done("one", 0, geoscore=10.0)
    folder.done("one", 1, geoscore=20.0)
    found = json.loads(json.dumps(document(collect(folder.home))))
    (point,) = found["points"]
    assert point["figures"]["geoscore"]["mean"] == 15.0
    assert point["figures"]["geoscore"]["count"] == 2
    assert [trial["seed"] for trial in found["trials"]] == [0, 1]
    assert found["states"]["done"] == 2


def test_columns_that_the_report_does_not_know_are_readable() -> None:
    metrics = ("rewards.spatial", "failures.no_answer", "mean_reward", "agent.calls", "x_rate")
    assert [heading(metric) for metric in metrics] == [
        "spatial reward",
        "failures: no answer",
        "mean reward",
        "agent: calls",
        "x rate, %",
    ]


NAME = "a-name-that-is-long"
WIDE = SweepTable(
    ("point", "changes", "≤ 25 km, %", "published", "state"),
    (
        (
            Cell(NAME),
            Cell("beta=0.1, " * 9),
            Cell("15.0 ± 7.1 (2)", best=True),
            Cell("15.7"),
            Cell("2 done; 1 failed at grpo"),
        ),
        (Cell("b"), Cell("–"), Cell("1.0 ± 0.1 (2)"), Cell("–"), Cell("done")),
    ),
    frozenset({0, 1, 4}),
)


@given(st.integers(20, 140))
def test_a_terminal_gets_names_and_figures_whole(width: int) -> None:
    fits = fitting(WIDE, width)
    if fits is None:
        assert width < 61
        return
    output = io.StringIO()
    console = Console(file=output, width=width, force_terminal=True, color_system=None)
    console.print(rich_table(fits, ""))
    said = output.getvalue()
    assert max(map(len, said.splitlines())) <= width
    assert all(whole in said for whole in (NAME, "15.0 ± 7.1 (2) *", "state"))
    assert ("15.7" in said) == ("published" in fits.headings)


def test_what_is_left_out_of_a_narrow_terminal_is_said() -> None:
    found = [fitting(WIDE, width) for width in (120, 85, 65, 40)]
    headings = [fits and [*fits.headings] for fits in found]
    assert headings == [
        ["point", "changes", "≤ 25 km, %", "published", "state"],
        ["point", "≤ 25 km, %", "published", "state"],
        ["point", "≤ 25 km, %", "state"],
        None,
    ]
    assert found[1] is not None
    assert found[1].notes == ("Changes:", f"{NAME}: {'beta=0.1, ' * 9}")
    assert found[2] is not None
    assert "table.txt" in found[2].notes[-1]


def test_a_file_gets_no_trailing_blanks(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(WIDE, "title")
    lines = capsys.readouterr().out.splitlines()
    assert lines == [line.rstrip() for line in lines]
    assert lines == text(WIDE, "title").splitlines()
