"""Runs of several seeds on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from geoagent.run import Run
from jobs.cli import main

TINY = ("recipe=demo", "cluster=local", "data.scenes_per_country=4", "sft.max_steps=1")


def test_one_that_fails_leaves_the_others_alone(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    place = [f"runs_dir={tmp_path}", "name=x"]
    assert main(["submit", "prepare", *TINY, "sft.batch_size=2", *place, "--seeds", "0,1"]) == 0
    zero, one = (Run(tmp_path / "x" / f"seed-{k}") for k in (0, 1))
    weights = [(run.model / "model.safetensors").read_bytes() for run in (zero, one)]
    assert weights[0] != weights[1]
    zero.dataset("sft").write_text("not JSON\n")
    capfd.readouterr()
    assert main(["submit", "sft", "--resume", *place]) == 1
    said = capfd.readouterr()
    assert "seed-0: run 1 of 2" in said.out
    assert "sft failed" in said.err
    assert "error: failed: seed-0 of 2 runs" in said.err
    assert not zero.done_file("sft").is_file()
    assert one.done_file("sft").is_file()
