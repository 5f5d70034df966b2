"""The question has a version, and annotations say which one they answer."""

from __future__ import annotations

import hashlib
import json

from geoagent.annotate.prompt import MAX_PIXELS, PROMPT_VERSION, messages, schema
from geoagent.data.annotations import ELEMENTS

ASKED = {1: "cde04558554d3451"}
"""SHA-256 (16 digits) of all that a model gets, by version."""


def test_a_changed_question_has_a_new_version() -> None:
    asked = json.dumps([messages("data:"), schema(), MAX_PIXELS]).encode()
    assert hashlib.sha256(asked).hexdigest()[:16] == ASKED[PROMPT_VERSION], (
        "the question has changed: raise PROMPT_VERSION and add its hash here"
    )


def test_the_text_comes_before_the_image() -> None:
    """Servers that keep the state of a common prefix read it once."""
    system, user = messages("data:x")
    assert system["role"] == "system"
    assert [part["type"] for part in user["content"]] == ["text", "image_url"]
    assert all(f"\n- {name}: " in user["content"][0]["text"] for name in ELEMENTS)
    assert messages("data:y")[0] == system
