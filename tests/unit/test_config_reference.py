"""docs/reference/config.md is current and has every key."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from geoagent.config import GROUPS, REWARD_NAMES, all_keys

ROOT = Path(__file__).resolve().parents[2]
STAGES = "prepare|sft|judge_data|judge|grpo|eval|agent"


@pytest.fixture
def reference(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module; the search path is as before afterwards."""
    monkeypatch.setattr(sys, "path", [str(ROOT / "scripts"), *sys.path])
    return importlib.import_module("config_reference")


def test_the_page_is_current(reference: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    code = reference.main(["--check"])
    assert (code, capsys.readouterr().err) == (0, "")


def test_every_key_is_on_the_page(reference: ModuleType) -> None:
    cells = [line.split(" | ")[0] for line in _page(reference).splitlines() if line[:3] == "| `"]
    shown = {
        re.sub(r"\.(NAME|OPTION|VARIABLE)$", "", key) for cell in cells for key in cell.split("`")
    }
    typed = {key: re.sub(rf"^cluster\.({STAGES})\.", "cluster.STAGE.", key) for key in all_keys()}
    assert [key for key, name in typed.items() if name not in shown] == []


def test_every_key_has_its_sentence(reference: ModuleType) -> None:
    rows = [line.split(" | ") for line in _page(reference).splitlines() if line[:3] == "| `"]
    assert [cells[0] for cells in rows if len(cells) == 4 and not cells[3].strip(" |")] == []


def test_what_stands_for_names_is_listed(reference: ModuleType) -> None:
    page = _page(reference)
    stages = ", ".join(f"`{stage}`" for stage in STAGES.split("|"))
    assert f"STAGE: {stages}." in page
    assert f"NAME is one of {', '.join(f'`{name}`' for name in REWARD_NAMES)}" in page
    assert all(f"| `{group}=` |" in page for group in GROUPS)


def test_rows_have_default_range_and_docstring(reference: ModuleType) -> None:
    page = _page(reference)
    assert "| `grpo.generations` | 8 | integer ≥ 2 | Group size G: " in page
    assert "| `judge.generations` | 8 | integer ≥ 2 | Group size G: " in page  # of PolicyConfig
    assert "| `grpo.top_p` | 1.0 | number > 0, ≤ 1 |" in page
    assert "| `sft.deepspeed` | `zero3` | `zero0`, `zero1`, `zero2`, `zero3`, null |" in page
    assert "| `sft.lora.rank`, `judge.lora.rank`, `grpo.lora.rank` | 64 | integer ≥ 0 |" in page


@pytest.mark.parametrize("before", ["# an older page\n", None], ids=["older", "missing"])
def test_a_page_that_is_not_current_is_told_in_one_line_and_made(
    reference: ModuleType,
    before: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = tmp_path / "config.md"
    if before is not None:
        page.write_text(before)
    monkeypatch.setattr(reference, "PAGE", page)
    assert reference.main(["--check"]) == 1
    assert re.fullmatch(r"error: .* is not current; run .*\n", capsys.readouterr().err)
    assert reference.main([]) == 0
    assert reference.main(["--check"]) == 0


def test_files_of_ones_own_are_not_on_the_page(
    reference: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cluster").mkdir()
    for name in ("mine", "shipped"):
        (tmp_path / "cluster" / f"{name}.yaml").write_text("")
    monkeypatch.setattr(reference.config, "CONFIG_ROOT", tmp_path)
    monkeypatch.setattr(reference, "_tracked", lambda: {"cluster/shipped.yaml"})
    assert reference.shipped_choices("cluster") == ["shipped"]
    monkeypatch.setattr(reference, "_tracked", set)  # no git checkout
    assert reference.shipped_choices("cluster") == ["mine", "shipped"]


def _page(reference: ModuleType) -> str:
    return str(reference.PAGE.read_text(encoding="utf-8"))
