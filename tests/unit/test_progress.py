"""Bars are for people at a terminal, and take nothing from the work."""

from __future__ import annotations

import pytest

from geoagent.progress import tracked


@pytest.mark.parametrize("terminal", [False, True])
def test_tracked(
    terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if terminal:
        monkeypatch.setenv("FORCE_COLOR", "1")
    assert [*tracked([3, 1, 2], "counting")] == [3, 1, 2]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert ("counting" in captured.err) is terminal
