"""What is read from the replies of servers that do not answer, and how they are reached."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoagent.agent.endpoint import Endpoint
from geoagent.agent.http import Http, NoReply, Reply, quiet_about_connections, retry_after_s, said

ENDPOINT = Endpoint("http://h/v1", "m", "a-secret")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7.0), ("0.5", 0.5), ("0", 0.0), ("-3", 0.0), ("soon", 0.0), ("", 0.0), ("inf", 0.0)],
)
def test_retry_after_in_seconds(value: str, seconds: float) -> None:
    assert retry_after_s(value) == seconds


def test_retry_after_as_a_date() -> None:
    assert 50 < retry_after_s(formatdate(time.time() + 60, usegmt=True)) <= 60
    assert retry_after_s(formatdate(time.time() - 60, usegmt=True)) == 0.0


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_retry_after_of_any_text(value: str) -> None:
    assert 0.0 <= retry_after_s(value) < float("inf")


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"error": {"message": "no  such\nmodel"}}, " (no such model)"),
        ({"error": "of vLLM"}, " (of vLLM)"),
        ({"error": {"message": "key a-secret is wrong"}}, " (key … is wrong)"),
        ({"error": {"message": "\x1b[2Jgone\ud800"}}, " (�[2Jgone�)"),
        ({"error": ""}, ""),
        ({"detail": "x"}, ""),
        ([], ""),
    ],
)
def test_what_a_server_says(document: object, expected: str) -> None:
    assert said(ENDPOINT, Reply(400, json.dumps(document).encode())) == expected


def test_what_a_server_says_is_cut() -> None:
    assert len(said(ENDPOINT, Reply(400, json.dumps({"error": "x" * 10_000}).encode()))) < 210
    assert said(ENDPOINT, Reply(400, b"<html>")) == ""


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def posted(serve: Serve, limit: float = 5.0, times: int = 1) -> list[Reply]:
    """Replies of a server on loopback that treats each connection like that."""

    async def talk() -> list[Reply]:
        http = Http()
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        try:
            endpoint = Endpoint(address, "m", "a-secret")
            return [await http.post(endpoint, "/x", {"é": 1}, limit) for _ in range(times)]
        finally:
            await http.close()
            server.close()

    return asyncio.run(talk())


async def read(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    return head + await reader.readexactly(
        int(head.lower().split(b"content-length: ")[1].split()[0])
    )


def test_a_token_does_not_follow_a_redirection() -> None:
    seen: list[bytes] = []

    async def elsewhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read(reader))
        writer.write(
            b"HTTP/1.1 307 Go\r\nLocation: /y\r\nSet-Cookie: a=b\r\nContent-Length: 0\r\n\r\n"
        )
        seen.append(await read(reader))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    assert [reply.status for reply in posted(elsewhere, times=2)] == [307, 200]
    assert all(b"POST /v1/x " in one and b"Bearer a-secret" in one for one in seen)
    assert json.loads(seen[0].rpartition(b"\r\n\r\n")[2]) == {"é": 1}
    assert b"Cookie" not in seen[1]


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"", "ServerDisconnectedError"),
        (b"what?\r\n\r\n", "ClientResponseError|BadStatusLine"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", "ClientPayloadError"),
        (None, "no reply within 0 s"),
    ],
)
def test_a_reply_that_is_not_all_there_is_none(sent: bytes | None, reason: str) -> None:
    async def breaks_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read(reader)
        if sent is None:
            await asyncio.sleep(1)
        writer.write(sent or b"")
        writer.close()

    with pytest.raises(NoReply, match=reason) as error:
        posted(breaks_off, limit=5.0 if sent is not None else 0.3)
    assert "a-secret" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "token"),
    [
        ("http://[", ""),
        ("gopher://h/v1", ""),
        ("http://" + "a" * 70 + ".b/v1", ""),
        ("h", ""),
        ("http://user:password@127.0.0.1:9/v1", "t"),
        ("http://127.0.0.1:9/v1", "a\nb"),
    ],
)
def test_what_cannot_be_sent_is_no_reply(url: str, token: str) -> None:
    async def talk() -> None:
        http = Http()
        try:
            await http.post(Endpoint(url, "m", token), "/x", {}, 5.0)
        finally:
            await http.close()

    with pytest.raises(NoReply):
        asyncio.run(talk())


@pytest.mark.parametrize("key", ["client_session", "client_connection", "connector"])
def test_what_is_left_open_at_the_end_is_not_told(
    key: str, caplog: pytest.LogCaptureFixture
) -> None:
    loop = asyncio.new_event_loop()
    quiet_about_connections(loop, {"message": "Unclosed", key: object()})
    assert not caplog.text
    quiet_about_connections(loop, {"message": "a bug of ours"})
    loop.close()
    assert "a bug of ours" in caplog.text
