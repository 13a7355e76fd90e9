import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.spool.backlog import KEPT_BYTES, PIECE, RESEND_AFTER, RESEND_AFTER_MOST, RESEND_BYTES, Backlog, Piece
from proxy.spool.record import Kind, Record


class Paper:
    """A segment as far as a backlog cares."""

    def __init__(self):
        self.pending = 0


def span(segment, start, end, first, last, size, now):
    return Piece(segment, start, end, first, last, size, now)


def piece(segment, first, last, size=1000):
    return Piece(segment, first * 1000, last * 1000 + 1000, first, last, size, written_at=float(first))


def test_small_neighbours_become_one_piece():
    backlog, segment = Backlog(), Paper()
    for sequence in range(1, 200):
        backlog.add(piece(segment, sequence, sequence))
    taken = backlog.take(10**9, 1.0)
    assert len(taken) == segment.pending == -(-199 * 1000 // (PIECE // 1000 * 1000))
    assert (taken[0].first, taken[-1].last) == (1, 199)
    assert sum(each.size for each in taken) == 199_000


def test_what_is_being_sent_does_not_grow():
    backlog, segment = Backlog(), Paper()
    backlog.add(piece(segment, 1, 1))
    taken = backlog.take(10**9, 1.0)
    backlog.add(piece(segment, 2, 2))
    assert taken[0].last == 1
    backlog.sent(taken, 2.0)
    assert [each.first for each in backlog.take(10**9, 3.0)] == [2]


def test_silence_is_answered_by_sending_again_and_waiting_longer():
    backlog, segment = Backlog(), Paper()
    backlog.add(piece(segment, 1, 9))
    backlog.sent(backlog.take(1, 100.0), 100.0)
    assert backlog.overdue(100.0 + RESEND_AFTER - 0.1) == []
    now, waits = 100.0, []
    for _ in range(6):
        due = backlog.resend_at()
        assert due is not None
        waits.append(due - now)
        now = due
        assert [each.first for each in backlog.overdue(now)] == [1]
        assert backlog.overdue(now) == []
    assert waits == [RESEND_AFTER, 20.0, 40.0, RESEND_AFTER_MOST, RESEND_AFTER_MOST, RESEND_AFTER_MOST]
    assert backlog.acknowledge(9, now)
    assert backlog.resend_at() is None
    assert not backlog


def test_progress_resets_the_patience():
    backlog, one, two = Backlog(), Paper(), Paper()
    backlog.add(piece(one, 1, 9))
    backlog.add(piece(two, 10, 19))
    backlog.sent(backlog.take(10**9, 0.0), 0.0)
    assert len(backlog.overdue(RESEND_AFTER)) == 2
    assert backlog.acknowledge(9, 25.0)
    assert backlog.resend_at() == 25.0 + RESEND_AFTER
    assert (one.pending, two.pending) == (0, 1)


def test_only_so_much_is_sent_again_at_once():
    backlog = Backlog()
    for sequence in range(1, 300):
        backlog.add(piece(Paper(), sequence, sequence, size=PIECE))
    backlog.sent(backlog.take(10**9, 0.0), 0.0)
    assert sum(each.size for each in backlog.overdue(100.0)) == RESEND_BYTES


def test_acknowledged_while_it_is_sent():
    backlog, segment = Backlog(), Paper()
    backlog.add(piece(segment, 1, 5))
    taken = backlog.take(1, 0.0)
    assert backlog.acknowledge(5, 1.0)
    backlog.sent(taken, 2.0)
    assert (backlog.in_flight, segment.pending, bool(backlog)) == (0, 0, False)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 3), st.integers(1, PIECE)),
        st.tuples(st.just("send"), st.integers(1, 3 * PIECE)),
        st.tuples(st.just("ack"), st.integers(0, 60)),
        st.tuples(st.just("turn")),
        st.tuples(st.just("again")),
    ),
    max_size=60,
)


@given(STEPS)
def test_no_event_is_forgotten_before_its_acknowledgement(steps):
    backlog, segments, last, acked, now = Backlog(), [Paper()], 0, 0, 0.0
    sizes = {}
    sent = set()
    for step in steps:
        now += 1.0
        if step[0] == "add":
            fresh = span(segments[-1], last, last + step[1], last + 1, last + step[1], step[2], now)
            backlog.keep(fresh, [Record(Kind.USAGE, last + at, b"", b"", b"", 0) for at in range(1, step[1] + 1)])
            backlog.add(fresh)
            sizes[last + step[1]] = step[2]
            last += step[1]
        elif step[0] == "send":
            taken = backlog.take(step[1], now)
            backlog.sent(taken, now)
            sent |= {number for each in taken for number in range(each.first, each.last + 1)}
        elif step[0] == "ack":
            acked = max(acked, min(step[1], last))
            backlog.acknowledge(min(step[1], last), now)
        elif step[0] == "turn":
            segments.append(Paper())
        else:
            now += RESEND_AFTER_MOST
            again = backlog.overdue(now)
            if not sent <= set(range(1, acked + 1)):
                assert again[0].first <= acked + 1 <= again[0].last
        everything = [*backlog._sent, *backlog._unsent]
        covered = [number for each in everything for number in range(each.first, each.last + 1)]
        assert covered == sorted(set(covered))
        assert set(covered) >= set(range(acked + 1, last + 1))
        assert sum(segment.pending for segment in segments) == len(everything)
        assert backlog.in_flight == sum(each.size for each in backlog._sent)
        kept = [each for each in everything if each.events is not None]
        assert backlog._kept == sum(each.size for each in kept) <= KEPT_BYTES
        for each in kept:
            assert [entry.sequence for entry in each.events or []] == list(range(each.first, each.last + 1))
        assert all(each.events is None for each in backlog._sent)
        assert backlog.oldest == (everything[0].written_at if everything else None)


def test_only_so_much_is_kept_in_memory():
    backlog, segment = Backlog(), Paper()
    for sequence in range(1, 100):
        fresh = piece(segment, sequence, sequence, size=PIECE)
        backlog.keep(fresh, [Record(Kind.USAGE, sequence, b"", b"", b"", 0)])
        backlog.add(fresh)
    assert len([each for each in backlog._unsent if each.events is not None]) == KEPT_BYTES // PIECE
    backlog.sent(backlog.take(1, 1.0), 1.0)
    assert len([each for each in backlog._unsent if each.events is not None]) == KEPT_BYTES // PIECE - 1


@pytest.mark.parametrize("size", [1, 5000, 10**7])
def test_at_least_one_piece_is_taken(size):
    backlog = Backlog()
    backlog.add(piece(Paper(), 1, 1, size=PIECE * 2))
    assert len(backlog.take(size, 0.0)) == 1
