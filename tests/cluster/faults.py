"""What each fault did, as the tests measured it; the table in docs/reference/faults.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "reference" / "faults.md"
_BEGIN: Final = "<!-- begin: pytest tests/cluster --fault-table -->"
_END: Final = "<!-- end -->"
_HEAD: Final = "| fault | result | steps trained twice | steps lost | wrong rewards |"


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


def known(text: str) -> dict[str, str]:
    """Rows of the document's table, by fault."""
    lines = [line for line in _part(text)[1].splitlines() if line.startswith("| ")]
    found = {line.strip("| ").split(" | ")[0]: line for line in lines if "---" not in line}
    return {fault: line for fault, line in found.items() if line != _HEAD}


def update(text: str, rows: Sequence[Row]) -> str:
    """The document with these rows new, and others as they were."""
    before, _, after = _part(text)
    lines = known(text) | {row.fault: _line(row) for row in rows}
    table = "\n".join([_HEAD, "|---" * _HEAD.count(" | ") + "|---|", *lines.values()])
    return f"{before}{_BEGIN}\n{table}\n{_END}{after}"


def _line(row: Row) -> str:
    numbers = (row.twice, row.lost, row.wrong)
    counts = ("–" if number is None else str(number) for number in numbers)
    return f"| {' | '.join((row.fault, row.result, *counts))} |"


def _part(text: str) -> tuple[str, str, str]:
    before, _, rest = text.partition(_BEGIN)
    inside, _, after = rest.partition(_END)
    return before, inside.strip(), after
