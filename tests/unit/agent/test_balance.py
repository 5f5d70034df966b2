"""Which server is asked next: by clock and load, without servers."""

from __future__ import annotations

from collections import Counter

import pytest

from geoagent.agent.balance import REST_S, Balance
from geoagent.agent.endpoint import Endpoint

A, B, C = (Endpoint(f"http://{name}/v1", "m", "t") for name in "abc")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def balance(clock: Clock) -> Balance:
    return Balance(clock)


def replies(balance: Balance, clock: Clock, endpoint: Endpoint, seconds: float) -> None:
    with balance.sending(endpoint):
        clock.now += seconds


def test_the_fewest_under_way(balance: Balance) -> None:
    with balance.sending(A), balance.sending(B):
        assert balance.choose([A, B, C]) == C
        with balance.sending(C), balance.sending(C), balance.sending(A):
            assert balance.choose([A, B, C]) == B


def test_as_fast_is_what_takes_up_to_twice_as_long(balance: Balance, clock: Clock) -> None:
    replies(balance, clock, A, 1.0)
    replies(balance, clock, B, 1.9)
    replies(balance, clock, C, 2.1)
    with balance.sending(A):
        assert balance.choose([A, B, C]) == B
        with balance.sending(B), balance.sending(B):
            assert balance.choose([A, B, C]) == A


def test_a_slow_one_is_tried_now_and_then_and_comes_back(balance: Balance, clock: Clock) -> None:
    replies(balance, clock, A, 0.2)
    replies(balance, clock, B, 1.0)
    chosen: Counter[str] = Counter()
    with balance.sending(A):  # it has always more to do than the other one
        for _ in range(1000):
            one = balance.choose([A, B])
            replies(balance, clock, one, 0.2 if one == A else 1.0)
            chosen[one.url] += 1
        assert 20 < chosen[B.url] <= (clock.now - 100) / REST_S
        for _ in range(20):
            clock.now += REST_S
            replies(balance, clock, balance.choose([A, B]), 0.2)
        assert balance.choose([A, B]) == B


def test_no_second_question_for_a_slow_one_that_has_one(balance: Balance, clock: Clock) -> None:
    replies(balance, clock, A, 0.2)
    replies(balance, clock, B, 1.0)
    with balance.sending(A), balance.sending(B):
        clock.now += 10 * REST_S
        assert balance.choose([A, B]) == A


def test_slow_ones_are_used_again_when_the_fast_have_too_much_to_do(
    balance: Balance, clock: Clock
) -> None:
    replies(balance, clock, A, 0.2)
    replies(balance, clock, B, 1.0)
    for _ in range(30):
        replies(balance, clock, A, 0.8)
    with balance.sending(A):
        assert balance.choose([A, B]) == B


def test_failing_at_once_is_not_fast(balance: Balance, clock: Clock) -> None:
    replies(balance, clock, A, 1.0)
    with pytest.raises(ValueError, match="no"), balance.sending(B):
        raise ValueError("no")
    with balance.sending(B), balance.sending(B):
        assert balance.choose([A, B]) == A


def test_those_that_rest_are_left_out_unless_all_do(balance: Balance, clock: Clock) -> None:
    balance.rest(A)
    with balance.sending(B):
        assert balance.choose([A, B]) == B
        balance.rest(B)
        assert balance.choose([A, B]) == A
        clock.now += 2 * REST_S
        assert balance.choose([A, B]) == A


def test_processes_do_not_all_begin_with_the_same_one() -> None:
    assert {Balance().choose([A, B, C]).url for _ in range(200)} == {A.url, B.url, C.url}
