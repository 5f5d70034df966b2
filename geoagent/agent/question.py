"""What can be asked of the agent: chats whose replies are JSON of a fixed form."""

from __future__ import annotations

import hashlib
import json
import string
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Protocol

_LETTERS: Final = string.ascii_lowercase


class Asked(Protocol):
    """A question as the client sees it; equal questions have equal answers and are asked once."""

    @property
    def form(self) -> str:
        """Name of the form of the reply."""

    @property
    def order(self) -> tuple[Any, ...]:
        """Questions are sent in this order: servers reuse what neighbours have in common."""

    def messages(self) -> list[dict[str, Any]]:
        """The chat that asks it."""

    def schema(self) -> dict[str, Any]:
        """JSON schema of the reply."""

    def read(self, content: str) -> str:
        """What the reply says; ValueError tells why it is not usable."""


class FormQuestion(ABC):
    """A question whose reply is an object of truth values and choices. Subclasses are frozen
    dataclasses with the texts that differ from question to question."""

    form: ClassVar[str]
    system: ClassVar[str]
    examples: ClassVar[tuple[tuple[str, Mapping[str, Any]], ...]]
    """Texts and their replies, without ids."""

    @property
    @abstractmethod
    def text(self) -> str:
        """What differs from question to question."""

    @property
    @abstractmethod
    def fields(self) -> Mapping[str, tuple[Any, ...]]:
        """What the reply has to say, and which values each may have."""

    @property
    def id(self) -> str:
        """Of the question and of its reply."""
        return short_id(json.dumps([self.form, self.text]))

    @property
    def order(self) -> tuple[Any, ...]:
        return self.form, self.text

    def messages(self) -> list[dict[str, Any]]:
        chat: list[dict[str, Any]] = [{"role": "system", "content": self.system}]
        for text, reply in self.examples:
            name = short_id(text)
            said = json.dumps({"id": name, **reply}, ensure_ascii=False)
            chat.append({"role": "user", "content": f"{text}\nid: {name}"})
            chat.append({"role": "assistant", "content": said})
        return [*chat, {"role": "user", "content": f"{self.text}\nid: {self.id}"}]

    def schema(self) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": {
                "id": {"const": self.id},
                **{name: {"enum": list(values)} for name, values in self.fields.items()},
            },
            "required": ["id", *self.fields],
            "additionalProperties": False,
        }

    def read(self, content: str) -> str:
        """The fields of the reply, as JSON."""
        value = reply_of(content, self.id)
        for name, values in self.fields.items():
            said = value.get(name)  # which may be 1, and that is no truth value
            if not any(type(said) is type(known) and said == known for known in values):
                raise ValueError(f"reply has no usable {name}")
        return json.dumps({name: value[name] for name in self.fields})


def short_id(text: str) -> str:
    """Three letters (17,576 ids), which are three tokens, made from a text: a reply to another
    question is known by its id."""
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return "".join(_LETTERS[byte % 26] for byte in digest[:3])


def reply_of(content: str, name: str) -> dict[str, Any]:
    """The JSON object of a reply; ValueError if it is none, or of another question than `name`."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError("reply is not JSON") from error
    if not isinstance(value, dict) or value.get("id") != name:
        raise ValueError("reply does not repeat the id")
    return value


def clip(text: str, limit: int) -> str:
    """A text that is cut in the middle if it is longer than `limit` characters; it can be
    encoded as UTF-8."""
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= limit else f"{text[: limit // 2]} … {text[-limit // 2 :]}"
