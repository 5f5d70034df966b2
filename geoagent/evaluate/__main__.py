"""`python -m geoagent.evaluate --run DIR`: the evaluation stage of a run.

Exit codes as in geoagent.train: 0 done, 2 usage, 75 a service was away.
"""

from __future__ import annotations

import argparse
import sys
import time

from geoagent.errors import UsageError, exit_code
from geoagent.evaluate.completions import MARK, STAGE, Shard
from geoagent.files import short, write_json
from geoagent.modelfolder import stay_offline
from geoagent.run import Run
from geoagent.stages import asks_agent


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m geoagent.evaluate", description=__doc__)
    parser.add_argument("--run", required=True, metavar="DIR", help="run directory")
    parser.add_argument(
        "--shard",
        metavar="K/N",
        help="only predict every N-th batch from the K-th (from 0) on; without, what is missing is "
        "predicted, then all is scored",
    )
    options = parser.parse_args(arguments)
    stay_offline()
    if options.shard:
        return exit_code(lambda: run_shard(Run.open(options.run), Shard.parse(options.shard)))
    return exit_code(lambda: run_stage(Run.open(options.run)))


def run_shard(run: Run, shard: Shard) -> int:
    """Predict, and write the shard's done.json: how many completions of other shards are missing,
    and what the evaluation is made with; returns 0."""
    from geoagent.evaluate.benchmark import made_with, predict
    from geoagent.train.halving import skipped

    config = run.config()
    why = skipped(config, run)
    if why:
        raise UsageError(f"{run.path}: {why}; there is nothing to evaluate")
    missing = predict(config, run, shard)
    document = {"missing": missing, MARK: made_with(config, run)}
    write_json(run.done_file(shard.stage), document)
    return 0


def run_stage(run: Run) -> int:
    """Evaluate, print the tables, and write done.json; returns 0. A model whose training was
    stopped early is not evaluated."""
    from geoagent.evaluate.benchmark import evaluate, made_with
    from geoagent.train.halving import skipped
    from geoagent.train.rewards import make_agent

    started = time.time()
    config = run.config()
    why = skipped(config, run)
    if why:
        print(f"nothing is evaluated: {why}")
        write_json(run.done_file(STAGE), {"seconds": time.time() - started, "skipped": why})
        return 0
    agent = make_agent(config, run, STAGE) if asks_agent(config, STAGE) else None
    results = evaluate(config, run, agent)
    for name in results:
        print((run.evaluation(name) / "table.txt").read_text(encoding="utf-8"))
    seconds = round(time.time() - started, 1)
    models = list(results[config.eval.benchmark]["models"])
    done = {"seconds": seconds, "models": models, MARK: made_with(config, run)}
    write_json(run.done_file(STAGE), done)
    _report(run)
    return 0


def _report(run: Run) -> None:
    """The run's page. The evaluation is done and counts, whatever becomes of its report."""
    from geoagent.report.page import make_report, place

    try:
        print(f"report: {short(make_report([run], place([run])))}")
    except Exception as error:
        reason = str(error).strip() or type(error).__name__
        print(
            f"warning: the report could not be made ({reason}); the evaluation is complete, and "
            f"'geoagent report {short(run.path)}' makes it again",
            file=sys.stderr,
            flush=True,
        )


if __name__ == "__main__":
    raise SystemExit(main())
