"""What any client of an OpenAI-compatible server reads from replies that are none."""

from __future__ import annotations

import json
import time
from email.utils import formatdate

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoagent.agent.chat import retry_after_s, said
from geoagent.agent.endpoint import Endpoint

ENDPOINT = Endpoint("http://h/v1", "m", "a-secret")


def refusal(value: str) -> httpx.Response:
    return httpx.Response(429, headers={"Retry-After": value})


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("7", 7.0), ("0.5", 0.5), ("0", 0.0), ("-3", 0.0), ("soon", 0.0), ("", 0.0), ("inf", 0.0)],
)
def test_retry_after_in_seconds(value: str, seconds: float) -> None:
    assert retry_after_s(refusal(value)) == seconds


def test_retry_after_as_a_date() -> None:
    assert 50 < retry_after_s(refusal(formatdate(time.time() + 60, usegmt=True))) <= 60
    assert retry_after_s(refusal(formatdate(time.time() - 60, usegmt=True))) == 0.0
    assert retry_after_s(httpx.Response(503)) == 0.0


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_retry_after_of_any_text(value: str) -> None:
    assert 0.0 <= retry_after_s(refusal(value)) < float("inf")


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
    response = httpx.Response(400, content=json.dumps(document).encode())
    assert said(ENDPOINT, response) == expected


def test_what_a_server_says_is_cut() -> None:
    assert len(said(ENDPOINT, httpx.Response(400, json={"error": "x" * 10_000}))) < 210
    assert said(ENDPOINT, httpx.Response(400, content=b"<html>")) == ""
