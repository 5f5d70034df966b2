"""`geoagent locate`"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geoagent.commands.common import command, line
from geoagent.config import Config
from geoagent.errors import UsageError
from geoagent.modelfolder import stay_offline
from geoagent.run import Run
from geoagent.stages import TRAINING

if TYPE_CHECKING:
    from geoagent.evaluate.models import Candidate
    from geoagent.evaluate.predict import Predictor


def _locate(options: argparse.Namespace) -> int:
    from geoagent.locate import as_text, check_image

    if options.trace is not None and not options.tools:
        raise UsageError("--trace: writes what --tools does; give both")
    images = []
    for image in options.images:
        try:
            check_image(image)
            images.append(image)
        except ValueError as error:
            print(f"error: {image}: {error}", file=sys.stderr)
    if images:
        for result in (_with_tools if options.tools else _at_once)(options, images):
            print(line(result) if options.json else as_text(result), flush=True)
    return 0 if len(images) == len(options.images) else 2


def _at_once(options: argparse.Namespace, images: list[Path]) -> Iterator[dict[str, Any]]:
    from geoagent.data.prompt import question
    from geoagent.locate import locate

    model = _model(options)
    asked = question(model.config.data.answer)
    yield from locate(images, _load(model), asked, model.config.eval.max_new_tokens)


def _with_tools(options: argparse.Namespace, images: list[Path]) -> Iterator[dict[str, Any]]:
    """Image by image, so that each loop can be watched; what was found first is kept in the trace
    if a later image fails."""
    from geoagent.locate import locate_with_tools
    from geoagent.rollout.environment import Episode
    from geoagent.rollout.search import provider
    from geoagent.rollout.trace import Trace, as_text
    from geoagent.rollout.zoom import ImageError

    trace = Trace(options.trace) if options.trace is not None else None
    model = _model(options)
    if model.config.data.answer == "coordinates":
        raise UsageError(f"--tools: asks for an address, and {options.run} answers in coordinates")
    rollout, max_new_tokens = model.config.rollout, model.config.eval.max_new_tokens
    searches = provider(rollout.search)  # what is wrong with it is told before the model loads
    predictor = _load(model)

    def watch(episode: Episode) -> None:
        crop = trace.add(episode) if trace else None
        print(as_text(episode, crop), file=sys.stderr, flush=True)

    for image in images:
        print(image, file=sys.stderr, flush=True)
        try:
            episode = Episode(image, rollout, searches)
            yield locate_with_tools(episode, predictor, max_new_tokens, watch)
        except ImageError as error:
            raise UsageError(str(error)) from error


@dataclass(frozen=True)
class _Model:
    """The model that was chosen, the settings of its run, and the size of images in training."""

    candidate: Candidate
    config: Config
    max_pixels: int | None


def _model(options: argparse.Namespace) -> _Model:
    from geoagent.evaluate.models import choose, from_folder, trained_pixels

    stay_offline()
    if options.model is not None:
        if options.stage is not None:
            raise UsageError("--stage: belongs to --run; --model is one model already")
        return _Model(from_folder(options.model), Config(), trained_pixels(options.model))
    run = Run.open(options.run)
    config = run.config()
    return _Model(choose(config, run, options.stage), config, config.model.max_pixels)


def _load(model: _Model) -> Predictor:
    with redirect_stdout(sys.stderr):  # libraries' chatter is not a result
        from geoagent.evaluate.predict import Predictor

        return Predictor(model.candidate, model.config.model, model.max_pixels)


def add(commands: Any) -> None:
    parser = command(
        commands,
        "locate",
        _locate,
        "say where photographs were taken: address, coordinates, reasoning",
        """%(prog)s photo.jpg --run runs/first
        %(prog)s *.jpg --run runs/first --stage sft --json > places.jsonl
        %(prog)s photo.jpg --model checkpoints/checkpoint-800
        %(prog)s photo.jpg --run runs/geovista --tools --trace photo.json""",
    )
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE")
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--run", metavar="RUN", help="use the last model of this run")
    model.add_argument("--model", type=Path, metavar="DIR", help="use this checkpoint")
    parser.add_argument(
        "--stage", choices=("base", *TRAINING), help="use this model of the run instead"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object an image and line")
    parser.add_argument(
        "--tools", action="store_true", help="let the model zoom and search; shown as it happens"
    )
    parser.add_argument(
        "--trace", type=Path, metavar="FILE", help="write the loop as JSON, its crops beside it"
    )
