"""HTTP as the clients of chat servers need it: one POST of JSON, and a reply that is all there."""

from __future__ import annotations

import asyncio
import json
import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from geoagent.agent.endpoint import Endpoint

if TYPE_CHECKING:
    import aiohttp

_CONNECT_S: Final = 10.0
"""A node that has gone does not even refuse."""
_KEPT_S: Final = 4.0
"""An idle connection is kept for so long: less than the 5 s of uvicorn, which vLLM is served by, so
that no request meets a connection that is just being closed."""


class NoReply(Exception):
    """The server could not be reached, or broke off."""


@dataclass(frozen=True)
class Reply:
    """What a server sent back."""

    status: int
    body: bytes = b""
    retry_after: str = ""
    """Its header Retry-After, as it is."""

    def json(self) -> Any:
        """The body's document. ValueError or RecursionError if it is none."""
        return json.loads(self.body)


class Http:
    """Connections to servers, of one event loop. Neither proxies nor cookies nor redirections: a
    token goes to the server that it is for."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def post(
        self, endpoint: Endpoint, path: str, body: dict[str, Any], limit: float
    ) -> Reply:
        """The reply to this body. NoReply if there is none within `limit` seconds."""
        import aiohttp

        headers = {"Authorization": f"Bearer {endpoint.token}"} if endpoint.token else {}
        connections = self._connections()
        try:
            async with (
                asyncio.timeout(limit),
                connections.post(
                    endpoint.url + path, json=body, headers=headers, allow_redirects=False
                ) as response,
            ):
                found = response.headers.get("Retry-After", "")
                return Reply(response.status, await response.read(), found)
        except aiohttp.ClientConnectorError as error:
            reason = error.os_error.strerror or str(error.os_error)
            raise NoReply(f"{endpoint.url}: cannot be reached ({reason})") from None
        except (aiohttp.ClientError, ValueError) as error:  # some are a TimeoutError as well
            raise NoReply(f"{endpoint.url}: {type(error).__name__}") from None
        except TimeoutError:
            raise NoReply(f"{endpoint.url}: no reply within {limit:.0f} s") from None

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _connections(self) -> aiohttp.ClientSession:
        if self._session is None:
            import ssl

            import aiohttp
            import certifi

            # Authorities of this machine (SSL_CERT_FILE names others), and the known ones: an image
            # may come without.
            tls = ssl.create_default_context()
            tls.load_verify_locations(certifi.where())
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEPT_S, ssl=tls),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_S),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session


def retry_after_s(value: str) -> float:
    """Seconds that a server asks to be left alone for: the header Retry-After (RFC 9110), in
    seconds or as a date; 0 without one that makes sense."""
    from email.utils import parsedate_to_datetime

    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time.time()
        except (ValueError, OverflowError):
            return 0.0
    return max(seconds, 0.0) if math.isfinite(seconds) else 0.0


def quiet_about_connections(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An event loop's exception handler that does not tell of connections which the end of the
    process closes: whoever gives up leaves them, and has an error of its own to tell."""
    if not {"client_session", "client_connection", "connector"} & {*context}:
        loop.default_exception_handler(context)


def said(endpoint: Endpoint, reply: Reply) -> str:
    """What a server says of a request that it does not take, in brackets; empty if nothing. Never
    the token, should the server repeat it, nor what a terminal would obey."""
    try:
        error = reply.json()["error"]
        message = error["message"] if isinstance(error, dict) else error
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    text = "".join(c if c.isprintable() else "�" for c in " ".join(str(message).split()))
    if endpoint.token:
        text = text.replace(endpoint.token, "…")
    return f" ({text[:200]})" if text else ""
