"""How long a step waits for its rewards, by a clock that the test moves."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from geoagent.train.timing import StepClock


class Hand:
    """The time."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at

    def pass_(self, seconds: float) -> None:
        self.at += seconds


@pytest.fixture
def hand() -> Hand:
    return Hand()


def step(clock: StepClock, hand: Hand, others: float, *batches: float) -> dict[str, float]:
    """A step with a reward of so many seconds for each batch, and so many seconds besides."""
    clock.begin()
    for seconds in batches:
        with clock.reward("spatial"):
            hand.pass_(seconds)
    hand.pass_(others)
    return clock.end()


def test_rewards_at_the_same_time_count_once(hand: Hand) -> None:
    clock = StepClock(1, hand)
    clock.begin()
    hand.pass_(5)  # completions
    with clock.reward("consistency"):
        hand.pass_(1)
        with clock.reward("spatial"):
            hand.pass_(2)
    hand.pass_(2)  # what is learnt
    assert clock.end() == {
        "consistency_s": 3,
        "spatial_s": 2,
        "rewards_s": 3,
        "step_s": 10,
        "rewards_share": pytest.approx(0.3),
    }


def test_from_the_beginning_of_the_first_to_the_end_of_the_last(hand: Hand) -> None:
    """The one that begins first need not be the one that ends last."""
    clock = StepClock(1, hand)
    clock.begin()
    first, second = clock.reward("spatial"), clock.reward("consistency")
    first.__enter__()
    hand.pass_(1)
    second.__enter__()
    hand.pass_(1)
    first.__exit__(None, None, None)
    hand.pass_(4)
    second.__exit__(None, None, None)
    figures = clock.end()
    assert (figures["spatial_s"], figures["consistency_s"], figures["rewards_s"]) == (2, 5, 6)


def test_several_batches_of_a_step_add_up(hand: Hand) -> None:
    figures = step(StepClock(1, hand), hand, 4, 1, 3)
    assert (figures["spatial_s"], figures["rewards_s"], figures["step_s"]) == (4, 4, 8)
    assert figures["rewards_share"] == pytest.approx(0.5)


def test_nothing_is_carried_over_to_the_next_step(hand: Hand) -> None:
    clock = StepClock(1, hand)
    step(clock, hand, 1, 9)
    hand.pass_(50)  # a checkpoint is saved
    with clock.reward("spatial"):  # and something is scored that no step asked for
        hand.pass_(7)
    figures = step(clock, hand, 3, 1)
    assert figures["rewards_share"] == pytest.approx(0.25)
    assert figures["step_s"] == 4


def test_a_batch_that_several_steps_learn_from(hand: Hand) -> None:
    """The share is that of all of them, wherever among them one looks."""
    clock = StepClock(3, hand)
    shares = []
    for scored in ((4.0,), (), (), (4.0,), ()):
        figures = step(clock, hand, 2, *scored)
        assert figures["rewards_s"] == sum(scored)
        assert ("spatial_s" in figures) is bool(scored)
        shares.append(figures.get("rewards_share"))
    assert shares == [None, None, *[pytest.approx(0.4)] * 3]


def test_a_reward_that_raises_is_over(hand: Hand) -> None:
    clock = StepClock(1, hand)
    clock.begin()
    with contextlib.suppress(ValueError), clock.reward("spatial"):
        hand.pass_(1)
        raise ValueError
    hand.pass_(1)
    assert clock.end()["rewards_s"] == 1


def test_an_end_without_a_beginning_and_a_step_of_no_time(hand: Hand) -> None:
    clock = StepClock(1, hand)
    assert clock.end() == {}
    assert step(clock, hand, 0) == {"rewards_s": 0, "step_s": 0}
    assert clock.end() == {}


def test_rewards_that_are_awaited_together() -> None:
    """As ms-swift does, by the real clock; the time is that of the slowest."""
    clock = StepClock(1)

    async def score(name: str, seconds: float) -> None:
        with clock.reward(name):
            await asyncio.sleep(seconds)

    async def both() -> None:
        await asyncio.gather(score("fast", 0.05), score("slow", 0.3))

    clock.begin()
    asyncio.run(both())
    figures = clock.end()
    assert 0.29 <= figures["slow_s"] <= figures["rewards_s"] <= figures["step_s"]
    assert figures["fast_s"] >= 0.04
    assert figures["rewards_s"] < figures["fast_s"] + figures["slow_s"]
