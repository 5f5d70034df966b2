"""How a process that has trained ends."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import atexit, os
from geoagent.train.__main__ import end

class Tensor:
    def __del__(self):
        os.abort()

held = Tensor()
atexit.register(print, "and written")
print("trained")
end(3)
"""


def test_what_is_held_at_the_end_cannot_abort_it() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, "trained\nand written\n")
    taken_apart = PROGRAM.replace("end(3)", "raise SystemExit(3)")
    aborted = subprocess.run([sys.executable, "-c", taken_apart], capture_output=True)
    assert aborted.returncode < 0  # so there was something to be spared
