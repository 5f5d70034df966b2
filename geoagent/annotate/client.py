"""Asks a vision model about images, through any server that speaks OpenAI's API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from geoagent.agent.endpoint import Endpoint
from geoagent.agent.vision import Picture, VisionClient, VisionLimits, sample_picture
from geoagent.annotate.prompt import messages, read_reply, schema
from geoagent.data.annotations import Annotation

MAX_TOKENS: Final = 1024
"""Of a reply: some models think aloud first."""
AGAIN_TEMPERATURE: Final = 0.5
"""Of what is asked again: at 0 the same reply would come again."""


class AnnotationClient(VisionClient[Picture, Annotation]):
    """Asks for the annotation of a picture."""

    able = "sees images and writes JSON"

    def __init__(
        self,
        endpoint: Endpoint,
        limits: VisionLimits,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        super().__init__(endpoint, limits, sample_picture(), on_wait)

    def _body(self, endpoint: Endpoint, question: Picture, attempt: int) -> dict[str, Any]:
        form = {"name": "annotation", "strict": True, "schema": schema()}
        return {
            "model": endpoint.model,
            "messages": messages(question.data_url),
            "max_tokens": MAX_TOKENS,
            "temperature": AGAIN_TEMPERATURE if attempt else 0.0,
            "seed": attempt,
            "response_format": {"type": "json_schema", "json_schema": form},
        }

    def _read(self, question: Picture, content: str) -> Annotation:
        return read_reply(content)
