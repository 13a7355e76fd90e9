"""How many an instance takes: what is learned from what it says."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.queue.learn import AGREE, SLACK, Learner, Reading


class Engine:
    """It runs `room` sequences at once; each request is `wide` of them, and others send it `foreign` more."""

    def __init__(self, room: int, demand: int, wide: int = 1, foreign: int = 0) -> None:
        self.room, self.demand, self.wide, self.foreign = room, demand, wide, foreign

    def reading(self, capacity: int | None) -> Reading:
        sent = self.demand if capacity is None else min(self.demand, capacity)
        all_sent = sent * self.wide + self.foreign
        return Reading(sent, self.demand - sent, min(all_sent, self.room), max(0, all_sent - self.room))


@given(st.integers(1, 512), st.integers(1, 4), st.integers(0, 20))
def test_it_settles_where_few_wait_and_stays_there(room: int, wide: int, foreign: int) -> None:
    engine = Engine(room + foreign, 10 * room + 10, wide, foreign)
    learner = Learner()
    for _ in range(60):
        learner.learn(engine.reading(learner.capacity))
    settled = learner.capacity
    assert settled is not None
    for _ in range(20):
        assert learner.learn(engine.reading(learner.capacity)) == settled
    end = engine.reading(settled)
    assert end.waiting is not None
    assert end.running is not None
    assert end.running > engine.room - wide or settled == 1, "the engine is not full"
    assert end.waiting <= max(2 * max(1, end.running // SLACK), wide + foreign)


def test_one_burst_says_nothing() -> None:
    learner = Learner()
    for _ in range(5):
        assert learner.learn(Reading(100, 0, 64, 36)) is None
        assert learner.learn(Reading(60, 0, 60, 0)) is None
    for _ in range(AGREE):
        found = learner.learn(Reading(100, 0, 64, 36))
    assert found == 68


def test_a_few_that_wait_at_the_engine_are_no_crowd() -> None:
    learner = Learner(70)
    for _ in range(5):
        assert learner.learn(Reading(70, 9, 64, 6)) == 70


def test_it_grows_only_where_that_would_help() -> None:
    learner = Learner(16)
    assert learner.learn(Reading(16, 0, 16, 0)) == 16  # nobody waits
    assert learner.learn(Reading(12, 3, 12, 0)) == 16  # there is room already
    assert learner.learn(Reading(16, 3, 15, 1)) == 16  # the engine has work
    assert learner.learn(Reading(16, 3, 16, 0)) == 20
    assert Learner(1).learn(Reading(1, 1, 1, 0)) == 2


def test_a_server_that_does_not_say_leaves_it_as_it_was() -> None:
    assert Learner().learn(Reading(5, 0, None, None)) is None
    learner = Learner(8)
    learner.learn(Reading(100, 0, 8, 92))
    assert learner.learn(Reading(8, 9, None, None)) == 8
    assert learner.learn(Reading(100, 0, 8, 92)) == 8  # counted from the beginning


def test_traffic_that_is_none_of_ours_says_nothing() -> None:
    learner = Learner(8)
    for _ in range(4):
        assert learner.learn(Reading(0, 0, 64, 200)) == 8
