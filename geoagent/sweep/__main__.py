"""`python -m geoagent.sweep HOME`: collect a sweep's results into HOME/results and print its table.

Exit codes as in geoagent.train: 0 done (also if no trial is), 2 usage.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from geoagent.errors import exit_code
from geoagent.files import short, write_json
from geoagent.modelfolder import stay_offline
from geoagent.run import Run
from geoagent.sweep.home import RESULTS, SweepHome


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m geoagent.sweep", description=__doc__)
    home = parser.add_mutually_exclusive_group(required=True)
    home.add_argument("home", nargs="?", metavar="HOME", help="folder of the sweep")
    home.add_argument("--run", metavar="HOME", help="the same, as stages are called")
    options = parser.parse_args(arguments)
    stay_offline()
    return exit_code(lambda: collect_all(Path(options.run or options.home)))


def collect_all(home: Path) -> int:
    """Write and print the results, and HOME/results/done.json; returns 0."""
    from geoagent.sweep.report import write_results

    started = time.time()
    results = write_results(SweepHome.open(home.resolve()))
    folder = results.home.path / RESULTS
    print(f"results: {short(folder)}", file=sys.stderr)
    done = {"seconds": round(time.time() - started, 1), "states": results.states()}
    write_json(Run(results.home.path).done_file(RESULTS), done)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
