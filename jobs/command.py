"""What one types to run this program."""

from __future__ import annotations

import sys
from pathlib import Path

from geoagent.files import short


def command() -> str:
    """`python -m jobs` as one would type it here."""
    return f"{short(Path(sys.executable))} -m jobs"
