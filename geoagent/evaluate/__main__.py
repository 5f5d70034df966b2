"""`python -m geoagent.evaluate --run DIR`: the evaluation stage of a run.

Exit codes as in geoagent.train: 0 done, 2 usage, 75 a service was away.
"""

from __future__ import annotations

import argparse
import time

from geoagent.errors import exit_code
from geoagent.files import write_json
from geoagent.modelfolder import stay_offline
from geoagent.run import Run


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m geoagent.evaluate", description=__doc__)
    parser.add_argument("--run", required=True, metavar="DIR", help="run directory")
    options = parser.parse_args(arguments)
    stay_offline()
    return exit_code(lambda: run_stage(Run.open(options.run)))


def run_stage(run: Run) -> int:
    """Evaluate, print the tables, and write done.json; returns 0."""
    from geoagent.evaluate.benchmark import STAGE, evaluate
    from geoagent.rewards.registry import weighted
    from geoagent.train.rewards import make_agent

    started = time.time()
    config = run.config()
    asks = config.eval.rewards and "consistency" in weighted(config.rewards)
    results = evaluate(config, run, make_agent(config, run, STAGE) if asks else None)
    for name in results:
        print((run.evaluation(name) / "table.txt").read_text(encoding="utf-8"))
    seconds = round(time.time() - started, 1)
    models = list(results[config.eval.benchmark]["models"])
    write_json(run.done_file(STAGE), {"seconds": seconds, "models": models})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
