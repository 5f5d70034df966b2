"""Where was this photo taken? One model, some image files."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from geoagent.answer import LEVELS, Completion, parse
from geoagent.evaluate.rows import located

if TYPE_CHECKING:
    from geoagent.evaluate.predict import Predictor
    from geoagent.rollout.environment import Episode

BATCH: Final = 8


def check_image(path: Path) -> None:
    """The file can be decoded as an image; ValueError says why not."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
    except Image.UnidentifiedImageError as error:
        raise ValueError("not an image, or of an unknown kind") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(f"cannot be read as an image ({reason})") from error


def locate(
    images: Sequence[Path], predictor: Predictor, question: str, max_new_tokens: int
) -> Iterator[dict[str, Any]]:
    """A result an image, in order, for images that have passed `check_image`.

    Keys: image, address (of an answer in coordinates, the names that these are in), latitude,
    longitude (degrees; null if the answer is nowhere), level and matched (how it was found),
    reasoning (stage → clues, reasoning, conclusion, uncertainty) and the raw completion.
    """
    for start in range(0, len(images), BATCH):
        some = images[start : start + BATCH]
        with redirect_stdout(sys.stderr):  # libraries' chatter is not a result
            texts = predictor.complete([path.resolve() for path in some], question, max_new_tokens)
        for path, text in zip(some, texts, strict=True):
            yield _result(path, text)


def locate_with_tools(
    episode: Episode,
    predictor: Predictor,
    max_new_tokens: int,
    watch: Callable[[Episode], None],
) -> dict[str, Any]:
    """The result of an image whose model may zoom and search; `watch` is called after each turn.

    Keys as in `locate`, of the last completion, and how it came about: `ended` (see
    `geoagent.rollout.environment.Observation`), turns, crops, searches. Raises what
    `Episode.step` raises; there is then no result.
    """
    from geoagent.rollout.environment import play_together

    def complete(live: Sequence[Episode]) -> list[str]:
        with redirect_stdout(sys.stderr):
            asked = [(each.messages, each.images) for each in live]
            return predictor.reply(asked, max_new_tokens)

    play_together([episode], complete, watch)
    return {
        **_result(episode.image, episode.turns[-1].completion),
        "ended": episode.why,
        "turns": len(episode.turns),
        "crops": episode.crops,
        "searches": episode.searches,
    }


def _result(path: Path, text: str) -> dict[str, Any]:
    completion = parse(text)
    place = located(completion)
    return {
        "image": str(path),
        "address": _address(completion),
        "latitude": place["predicted_latitude"],
        "longitude": place["predicted_longitude"],
        "level": place["level"],
        "matched": place["matched"],
        "reasoning": _reasoning(completion),
        "completion": text,
    }


def _address(completion: Completion) -> str | None:
    """The answer; of coordinates, the country, region and city that they are in, if on land."""
    if completion.coordinates is None:
        return "; ".join(completion.parts) or None
    from geoagent.geo.reverse import reverse

    return reverse(*completion.coordinates).address or None


def _reasoning(completion: Completion) -> dict[str, dict[str, Any]]:
    return {
        level: {
            "clues": list(stage.clues),
            "reasoning": stage.reasoning,
            "conclusion": stage.conclusion,
            "uncertainty": stage.uncertainty,
        }
        for level in LEVELS
        if (stage := completion.stages.get(level)) is not None
    }


def as_text(result: dict[str, Any]) -> str:
    """A result for a person to read."""
    lines = [result["image"], f"  address      {result['address'] or '(no answer)'}"]
    lines.append(f"  coordinates  {_coordinates(result)}")
    for level, stage in result["reasoning"].items():
        text = f"  {level:<11}  {stage['conclusion'] or '–'}: {stage['reasoning'] or '–'}"
        lines.append(textwrap.fill(text, 100, subsequent_indent=" " * 15))
    if result["address"] is None:
        lines.append(f"  the model wrote: {result['completion'][:300]!r}")
    return "\n".join(lines)


def _coordinates(result: dict[str, Any]) -> str:
    if result["latitude"] is None:
        return "(none: the answer names no place that is known)"
    shown = f"{result['latitude']:.5f}, {result['longitude']:.5f}"
    if result["level"] == "coordinates":
        return f"{shown} (as the model wrote them)"
    return f"{shown} (the {result['level']} {result['matched']})"
