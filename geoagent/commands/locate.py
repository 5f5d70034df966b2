"""`geoagent locate`"""

from __future__ import annotations

import argparse
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoagent.commands.common import command, line
from geoagent.config import Config
from geoagent.errors import UsageError
from geoagent.modelfolder import stay_offline

if TYPE_CHECKING:
    from geoagent.evaluate.predict import Predictor


def _locate(options: argparse.Namespace) -> int:
    from geoagent.locate import as_text, check_image, locate

    images = []
    for image in options.images:
        try:
            check_image(image)
            images.append(image)
        except ValueError as error:
            print(f"error: {image}: {error}", file=sys.stderr)
    if images:
        with redirect_stdout(sys.stderr):  # libraries' chatter is not a result
            predictor, max_new_tokens = _predictor(options)
        for result in locate(images, predictor, max_new_tokens):
            print(line(result) if options.json else as_text(result), flush=True)
    return 0 if len(images) == len(options.images) else 2


def _predictor(options: argparse.Namespace) -> tuple[Predictor, int]:
    """The model that was chosen, and how many tokens it may write."""
    from geoagent.evaluate.models import choose, from_folder, trained_pixels
    from geoagent.evaluate.predict import Predictor
    from geoagent.run import Run

    stay_offline()
    if options.model is not None:
        if options.stage is not None:
            raise UsageError("--stage: belongs to --run; --model is one model already")
        config = Config()
        candidate, pixels = from_folder(options.model), trained_pixels(options.model)
    else:
        run = Run.open(options.run)
        config = run.config()
        candidate, pixels = choose(config, run, options.stage), config.model.max_pixels
    return Predictor(candidate, config.model, pixels), config.eval.max_new_tokens


def add(commands: Any) -> None:
    parser = command(
        commands,
        "locate",
        _locate,
        "say where photographs were taken: address, coordinates, reasoning",
        """%(prog)s photo.jpg --run runs/first
        %(prog)s *.jpg --run runs/first --stage sft --json > places.jsonl
        %(prog)s photo.jpg --model checkpoints/checkpoint-800""",
    )
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--run", metavar="RUN", help="use the last model of this run")
    model.add_argument("--model", type=Path, metavar="DIR", help="use this checkpoint")
    parser.add_argument(
        "--stage", choices=("base", "sft", "grpo"), help="use this model of the run instead"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object an image and line")
