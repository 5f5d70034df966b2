"""A vision model behind any server that speaks OpenAI's API: what is sent to it, and what is done
when it does not answer."""

from __future__ import annotations

import base64
import io
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, TypeVar

from geoagent.agent.chat import Answer, ChatClient, ChatStats, Failure, Question
from geoagent.agent.endpoint import Endpoint
from geoagent.agent.http import Reply, said
from geoagent.errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

TOKEN_VARIABLE: Final = "GEOAGENT_VISION_TOKEN"
"""Environment variable that holds the server's token, if it asks for one."""
_JPEG_QUALITY: Final = 90

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class VisionLimits:
    """What the client keeps to (geoagent.agent.chat.Limits)."""

    concurrency: int = 8
    retries: int = 3
    request_timeout_s: float = 300.0
    patience_s: float = 300.0


@dataclass(frozen=True)
class Picture:
    """An image as the model gets it: a data URL of a JPEG."""

    data_url: str


def picture(path: Path, max_pixels: int) -> Picture:
    """The image in a file, upright and with at most `max_pixels` pixels. It is encoded anew, so
    coordinates in the file's metadata do not reach the model. ValueError if it cannot be read."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as image:
            # Those of a JPEG are scaled down while they are decoded, which is quicker.
            pixels = image if image.format == "JPEG" else image.convert("RGB")
            scale = (max_pixels / (image.width * image.height)) ** 0.5
            if scale < 1:
                width, height = (max(1, int(side * scale)) for side in image.size)
                pixels.thumbnail((width, height))
            return encode(ImageOps.exif_transpose(pixels))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ValueError(f"image: {path.name[:80]!r} cannot be read ({reason})") from error


def encode(image: Image) -> Picture:
    """An image as a data URL of a JPEG without metadata."""
    buffer = io.BytesIO()
    pixels = image.convert("RGB")
    pixels.info.clear()
    pixels.save(buffer, "JPEG", quality=_JPEG_QUALITY)
    return Picture(f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}")


def sample_picture() -> Picture:
    """A road through a meadow: every vision model can say something of it."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (224, 224), (120, 180, 235))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 120, 224, 224), fill=(70, 150, 60))
    draw.polygon([(108, 120), (116, 120), (170, 224), (54, 224)], fill=(90, 90, 90))
    return encode(image)


class VisionClient(ChatClient[Question, Answer]):
    """Client of one server. `on_wait` gets a message now and then while it does not answer.
    Who derives from it says what is asked; `health` is asked before everything else."""

    able: ClassVar[str]
    """What the model has to be able to do, for a message."""

    def __init__(
        self,
        endpoint: Endpoint,
        limits: VisionLimits,
        health: Question,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(limits, on_wait)
        self.endpoint = endpoint
        self.health = health
        self.stats = ChatStats()
        self._heard = False

    def check(self) -> None:
        """Return once the server has answered for a picture of ours. UsageError if it refuses the
        token, the model's name or the picture, or does not reply in the form that is asked for;
        OutageError if it does not answer for `patience_s`."""
        outcome: list[Answer | Failure] = []
        self._run(self._each([self.health], self._judge, lambda _, answer: outcome.append(answer)))
        if isinstance(outcome[0], Failure):
            # HTTP 500 as well: llama.cpp sends it if the model takes no images.
            raise UsageError(
                f"{self.endpoint.model} answers, but not as it is asked to ({outcome[0].reason}); "
                f"--model needs a model that {self.able}. If it is one, see the server's log"
            )
        self._heard = True

    async def ask(self, question: Question) -> Answer | Failure:
        """The answer, or the failure if no reply was usable."""
        return await self._judge(question)

    def each(
        self,
        items: Iterable[Item],
        work: Callable[[Item], Awaitable[Result]],
        done: Callable[[Item, Result], None],
    ) -> None:
        """Work on items concurrently, within the limits, in this client's thread; `work` uses
        `ask`. Raises OutageError once the server has not answered for `patience_s`."""
        self._run(self._each(items, work, done))

    def _endpoints(self) -> Sequence[Endpoint]:
        return [self.endpoint]

    def _refused(self, endpoint: Endpoint, reply: Reply) -> None:
        status = reply.status
        if status in (401, 403):
            state = "refused" if endpoint.token else "needed"
            raise UsageError(
                f"{endpoint.url}: a token is {state} ({status}); put the right one into the "
                f"environment variable {TOKEN_VARIABLE}"
            )
        if not self._heard:
            raise UsageError(
                f"{endpoint.url}: no chat model {endpoint.model} there (HTTP {status}"
                f"{said(endpoint, reply)}); check --model, and that --url ends as the server's "
                "own documentation says, mostly in /v1"
            )

    def _outage(self, silent: float, reason: str) -> str:
        return (
            f"the vision model has not answered for {silent:.0f} s ({reason}). Stopped; what it "
            "has answered is kept, and the same command goes on from there"
        )

    def _waiting(self, silent: float, reason: str) -> str:
        return f"waiting for the vision model for {silent:.0f} s ({reason})"
