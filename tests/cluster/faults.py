"""What each fault did, as the tests measured it; the table in docs/reference/faults.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "reference" / "faults.md"
_BEGIN: Final = "<!-- begin: pytest tests/cluster --fault-table -->"
_END: Final = "<!-- end -->"


@dataclass(frozen=True)
class Row:
    """`twice`: steps that were trained twice; `lost`: steps that were trained and are not in the
    result; `wrong`: rewards that were other than without the fault. None: does not apply."""

    fault: str
    result: str
    twice: int | None
    lost: int | None
    wrong: int | None


class Faults:
    """Collects the rows of a session."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}

    def __call__(
        self,
        fault: str,
        result: str,
        *,
        twice: int | None = None,
        lost: int | None = None,
        wrong: int | None = None,
    ) -> None:
        """Note a row, at the end of the test that has shown it."""
        self.rows[fault] = Row(fault, result, twice, lost, wrong)


def table(rows: Sequence[Row]) -> str:
    head = ("fault", "result", "steps trained twice", "steps lost", "wrong rewards")
    lines = [" | ".join(head), "|".join(["---"] * len(head))]
    for row in rows:
        counts = (
            "–" if count is None else str(count) for count in (row.twice, row.lost, row.wrong)
        )
        lines.append(" | ".join((row.fault, row.result, *counts)))
    return "".join(f"| {line} |\n" for line in lines)


def known(text: str) -> list[str]:
    """Faults that the document's table lists."""
    lines = _part(text)[1].splitlines()[2:]
    return [line.strip("| ").split(" | ")[0] for line in lines if line.startswith("|")]


def replace_table(text: str, rows: Sequence[Row]) -> str:
    before, _, after = _part(text)
    return f"{before}{_BEGIN}\n{table(rows)}{_END}{after}"


def _part(text: str) -> tuple[str, str, str]:
    before, _, rest = text.partition(_BEGIN)
    inside, _, after = rest.partition(_END)
    return before, inside.strip(), after
