"""Rollouts with tools in GRPO: ms-swift asks after each turn what follows it, an Episode answers.

Needs ms-swift at import, so only what runs inside its training may import this.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swift.rollout import MultiTurnScheduler

from geoagent.config import RolloutConfig
from geoagent.errors import OutageError, UsageError
from geoagent.rollout.environment import Episode
from geoagent.rollout.zoom import ImageError, as_png

if TYPE_CHECKING:
    from collections.abc import Callable

    from geoagent.rollout.search import SearchProvider


class ToolScheduler(MultiTurnScheduler):
    """Takes each request of a batch through an Episode; subclasses say with which limits.

    Searches and crops of a batch run at the same time. `leave` is called with an error after which
    no reward may be computed, and does not return (an outage of the search service would otherwise
    be a low reward).
    """

    limits: RolloutConfig
    provider: SearchProvider
    leave: Callable[[OutageError | UsageError], None]

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._episodes: dict[str, Episode] = {}

    async def on_trajectory_start(self, requests: list[Any]) -> None:
        """The question becomes that of an episode, which tells of the tools."""
        for request in requests:
            try:
                episode = Episode(Path(request.images[0]), self.limits, self.provider)
            except ImageError as error:
                self.leave(UsageError(str(error)))
            self._episodes[request.uuid] = episode
            request.messages = [dict(message) for message in episode.messages]

    async def on_turn_end(self, request: Any, choice: Any, turn: int) -> dict[str, Any]:
        """Run the call of a completion. One that was cut off at its maximum length is the last.

        `rollout_infos` has all images: ms-swift would otherwise train on the first alone, with as
        many place-holders as there are images. At the end it has what the rewards are told.
        """
        done = choice.finish_reason == "length"
        episode, said = self._episodes[request.uuid], choice.message.content
        if not done:
            try:
                observation = await episode.step(said)
            except (OutageError, UsageError) as error:
                self.leave(error)
            except ImageError as error:
                self.leave(UsageError(str(error)))
            done = observation.done
        infos: dict[str, Any] = {"images": list(request.images)}
        if done:
            del self._episodes[request.uuid]
            trace = [turn.completion for turn in episode.turns]
            if not episode.done:  # what was cut off is no turn of the episode
                trace.append(said)
            infos |= {"trace": trace, "answered": float(episode.why == "answer")}
            infos |= {"crops": episode.crops, "searches": episode.searches}
        return {"done": done, "rollout_infos": infos}

    def step(self, request: Any, choice: Any, turn: int) -> dict[str, Any]:
        """What the tool gave becomes the next message, a user's: no token of it is trained on."""
        observation = self._episodes[request.uuid].turns[-1].observation
        request.messages.append({"role": "user", "content": observation.text})
        if observation.image is not None:
            request.images.append(base64.b64encode(as_png(observation.image)).decode())
        return {"infer_request": request}
