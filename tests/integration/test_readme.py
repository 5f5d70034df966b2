"""What the README and the Makefile promise."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
MAKE = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")  # of the `make test` that runs this
README = (ROOT / "README.md").read_text()


def run(command: str) -> subprocess.CompletedProcess[str]:
    outside = {name: value for name, value in os.environ.items() if name not in MAKE}
    return subprocess.run(
        shlex.split(command), capture_output=True, text=True, cwd=ROOT, env=outside
    )


def test_two_commands() -> None:
    blocks = re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL)
    assert [block.strip() for block in blocks] == ["make demo", "make test"]


@pytest.mark.parametrize("target", ["demo", "test"])
def test_each_sets_itself_up(target: str) -> None:
    planned = run(f"make --dry-run {target}").stdout
    assert planned.splitlines()[0] == "./scripts/setup.sh"


def test_make_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, flags=re.MULTILINE))
    shown = run("make help").stdout
    for target in targets:
        assert re.search(rf"make {target} +\S+", shown), f"{target} is not explained"


def test_set_up_a_second_time_does_nothing() -> None:
    result = run("./scripts/setup.sh")
    assert result.returncode == 0
    assert result.stdout == ""


COMMANDS = re.findall(r"^\| `(.+?)` \|", README, flags=re.MULTILINE)


def test_the_table_is_found() -> None:
    assert len(COMMANDS) >= 5


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_table(command: str, tmp_path: Path) -> None:
    """Each runs as it is, but for those that would start long work or name a run or a cluster."""
    if "tensorboard" in command:
        assert "tensorboard.main --logdir runs/first" in run(f"{command} --dry-run").stdout
        return
    if "submit-grpo" in command:
        planned = run(f"{command} --dry-run").stdout
        assert "-m jobs submit grpo recipe=geoagent cluster=slurm" in planned
        return
    if "status" in command or "report" in command:
        result = run(command)
        assert result.returncode == 2
        assert "first: not a run directory" in result.stderr
        return
    assert run(command).returncode == 0


@pytest.mark.parametrize("link", re.findall(r"\]\(((?!https?:)[^)]+)\)", README))
def test_links_lead_somewhere(link: str) -> None:
    assert (ROOT / link).exists()
