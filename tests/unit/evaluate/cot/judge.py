"""A judge of chains behind real HTTP, with simple rules instead of a language model."""

from __future__ import annotations

import json
from typing import Any

from geoagent.agent.prompt import HEALTH
from tests.loopback import Loopback, Reply, Request


class Judge(Loopback):
    """Steps with "So" are inferences, with capitals background, all else captions; a fact is
    stated if the reasoning has its words; answers with the true name are right. Questions with
    `broken` in them get no JSON."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.broken = "\0"
        self.status = 200
        super().__init__()

    def reply(self, request: Request) -> Reply:
        said = {"choices": [{"message": {"content": self.said(json.loads(request.body))}}]}
        return Reply(self.status, json.dumps(said).encode())

    def said(self, body: dict[str, Any]) -> str:
        text = body["messages"][-1]["content"]
        form = body["response_format"]["json_schema"]
        said: dict[str, Any] = {"id": form["schema"]["properties"]["id"]["const"]}
        if said["id"] == HEALTH.id:
            return json.dumps({**said, "Conclusion": "Norway"})
        self.asked.append(text)
        if self.broken in text:
            return "so to say"
        lines = text.split("\n")
        if form["name"] == "kind":
            step = lines[0].removeprefix("Step: ")
            kind = "background" if step[0].isupper() else "caption"
            said["kind"] = "inference" if step.startswith("So") else kind
        elif form["name"] == "fact":
            said["stated"] = lines[1].removeprefix("Fact: ") in lines[0]
        else:
            for field, line in zip(
                list(form["schema"]["properties"])[1:], lines[1:-1], strict=True
            ):
                said[field] = line.partition(": ")[2] in lines[0]
        return json.dumps(said)
