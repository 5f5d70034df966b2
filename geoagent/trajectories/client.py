"""Asks a vision model for the next turn of an episode."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from geoagent.agent.endpoint import Endpoint
from geoagent.agent.vision import Picture, VisionClient, VisionLimits, encode, sample_picture
from geoagent.rollout.environment import IMAGE_TAG
from geoagent.rollout.zoom import ImageError, open_image, shown_size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from PIL.Image import Image

MAX_TOKENS: Final = 2048
"""Of a completion."""
_STOP: Final = "<tool_response>"
"""Some models go on and make up what the tool would say."""


@dataclass(frozen=True)
class Conversation:
    """The messages of an episode so far, `role` and `content`, and its images, one for each
    IMAGE_TAG in what users say."""

    messages: tuple[Mapping[str, str], ...]
    images: tuple[Picture, ...]
    seed: int = 0


class TrajectoryClient(VisionClient[Conversation, str]):
    """Asks for the completion that comes next; any text is one, whatever it says."""

    able = "sees images"

    def __init__(
        self,
        endpoint: Endpoint,
        limits: VisionLimits,
        temperature: float,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        question = {"role": "user", "content": f"{IMAGE_TAG}What does this picture show?"}
        super().__init__(endpoint, limits, Conversation((question,), (sample_picture(),)), on_wait)
        self._temperature = temperature

    def _body(self, endpoint: Endpoint, question: Conversation, attempt: int) -> dict[str, Any]:
        return {
            "model": endpoint.model,
            "messages": chat(question),
            "max_tokens": MAX_TOKENS,
            "temperature": self._temperature,
            "seed": question.seed + attempt,
            "stop": [_STOP],
        }

    def _read(self, question: Conversation, content: str) -> str:
        if not content.strip():
            raise ValueError("reply is empty")
        return content.strip()


def chat(question: Conversation) -> list[dict[str, Any]]:
    """Messages as OpenAI's API has them: images are parts of what users say."""
    images = iter(question.images)
    return [
        {"role": message["role"], "content": _content(message, images)}
        for message in question.messages
    ]


def _content(message: Mapping[str, str], images: Iterator[Picture]) -> str | list[dict[str, Any]]:
    if message["role"] != "user":
        return message["content"]
    before, *after = message["content"].split(IMAGE_TAG)
    parts: list[dict[str, Any]] = [{"type": "text", "text": before}] if before else []
    for text in after:
        parts.append({"type": "image_url", "image_url": {"url": next(images).data_url}})
        if text:
            parts.append({"type": "text", "text": text})
    return parts


def shown(image: Path | Image) -> Picture:
    """An image of an episode as the model gets it: the picture scaled to its `shown_size` and not
    turned upright, as the model in training sees it and as boxes count; a crop as it is.
    ImageError if it cannot be decoded."""
    if not isinstance(image, Path):
        return encode(image)
    with open_image(image) as opened:
        try:
            pixels = opened.convert("RGB")
        except (OSError, SyntaxError, ValueError) as error:
            raise ImageError(f"{image}: the image cannot be decoded ({error})") from error
    size = shown_size(pixels.size)
    return encode(pixels if size == pixels.size else pixels.resize(size, reducing_gap=2.0))
