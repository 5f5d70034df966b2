"""An image for the mini cluster: Debian's files and Python in a SquashFS file.

It stands in for what `make images` builds, which needs Apptainer and a registry: the interpreter is
at the same place, but the packages are those of this environment, which jobs see through a bind.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Final

from jobs.container.enter import PYTHON
from jobs.rundir import ROOT

_DEVICES: Final = ("-wildcards", "-e", "dev/*")
PROGRAMS: Final = ("ch-run", "debootstrap", "mksquashfs", "unsquashfs")
_MIRROR: Final = "http://deb.debian.org/debian"
SETTINGS: Final = (
    "container.runtime=charliecloud",
    f"container.binds=[{sys.prefix}:{sys.prefix}:ro,{ROOT}:{ROOT}:ro]",
)


def missing() -> list[str]:
    return [program for program in PROGRAMS if shutil.which(program) is None]


def make_image(folder: Path) -> Path:
    """Build it (a minute); returns the file."""
    root = folder / "root"
    _bootstrap(root)
    venv = root / Path(PYTHON).relative_to("/").parent.parent
    folder = venv / "lib" / "python3.11" / "site-packages"
    folder.mkdir(parents=True)
    (venv / "pyvenv.cfg").write_text("home = /usr/bin\n")
    (venv / "bin").mkdir()
    (venv / "bin" / "python").symlink_to("/usr/bin/python3.11")
    (folder / "there.pth").write_text(f"{sysconfig.get_path('purelib')}\n{ROOT}\n")
    return squash(root, root.with_name("train.sqfs"))


def _bootstrap(root: Path, tries: int = 3) -> None:
    """Debian's files. debootstrap gives up at the first of its many downloads that is refused."""
    system = ("--variant=minbase", "--include=python3,libgomp1", "bookworm")
    try:
        _run("debootstrap", *system, str(root), _MIRROR)
    except AssertionError:
        if tries == 1:
            raise
        shutil.rmtree(root, ignore_errors=True)
        _bootstrap(root, tries - 1)


def squash(root: Path, image: Path, *without: str) -> Path:
    """Pack a folder; device files are left out, since only root could unpack them."""
    _run(
        "mksquashfs",
        str(root),
        str(image),
        "-noappend",
        "-quiet",
        "-comp",
        "lzo",
        *_DEVICES,
        *without,
    )
    return image


def _run(*command: str) -> None:
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
