"""The store: what one step does, and that Redis does exactly what the model does, whatever is asked of them."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.proxy.limits.stores import MINUTE, Both, ask

NOW = 1_795_000_000_000_000
PROCESSES = ("a", "b", "c")


@pytest.fixture
def both(server):
    made = Both(server.address)
    yield made
    made.close()


def test_all_needs_are_granted_or_none(both):
    full = [ask("wide", need=10), ask("narrow", amount=5, need=10)]
    assert both.exchange("a", full, NOW).status == "denied"
    assert [state.lease for state in both.exchange("a", [ask("wide"), ask("narrow", amount=5)], NOW).states] == [0, 0]
    assert both.exchange("a", [ask("wide", need=10), ask("narrow", amount=10, need=10)], NOW).status == "done"


def test_slices_shrink_as_the_limit_fills(both):
    got = [both.exchange("a", [ask(amount=1000, number=i, need=1, want=100)], NOW).states[0].lease for i in range(60)]
    sizes = [after - before for before, after in zip([0, *got], got, strict=False)]
    assert sizes[0] == 100
    assert sizes == sorted(sizes, reverse=True)
    assert [size for size in sizes if size][-3:] == [1, 1, 1]
    assert got[-1] == 1000


def test_a_report_that_is_repeated_changes_nothing(both):
    both.exchange("a", [ask(need=50)], NOW)
    spent = ask(number=1, give=10, reports=((str(NOW // MINUTE), 20, 5),))
    first = both.exchange("a", [spent], NOW)
    assert both.exchange("a", [spent], NOW) == first
    assert (first.states[0].lease, first.states[0].room) == (20, 55)


def test_what_is_spent_leaves_when_no_window_touches_it_and_the_retry_time_is_true(both):
    both.exchange("a", [ask(need=100)], NOW)
    both.exchange("a", [ask(number=1, reports=((str(NOW // MINUTE), 100, 0),))], NOW)
    denied = both.exchange("b", [ask(need=1)], NOW + 1)
    assert denied.status == "denied"
    at = denied.states[0].retry_at
    assert NOW + 60_000_000 <= at <= NOW + 60_000_000 + MINUTE
    assert both.exchange("b", [ask(need=1)], at - 1).status == "denied"
    assert both.exchange("b", [ask(need=100)], at).status == "done"


def test_a_lease_that_ran_out_is_spent_when_it_ended(both):
    both.exchange("a", [ask(need=100)], NOW)
    assert both.exchange("b", [ask(need=1)], NOW + 60_000_000).status == "denied"
    assert both.exchange("b", [ask(need=1)], NOW + 5_000_000 + 60_000_000 - MINUTE).status == "denied"
    assert both.exchange("b", [ask(need=100)], NOW + 5_000_000 + 60_000_000 + MINUTE).status == "done"


def test_slots_of_a_process_that_died_come_back(both):
    both.exchange("a", [ask(kind="N", amount=2, need=2)], NOW)
    assert both.exchange("b", [ask(kind="N", amount=2, need=1)], NOW + 4_999_999).status == "denied"
    assert both.exchange("b", [ask(kind="N", amount=2, need=2)], NOW + 5_000_000).status == "done"


def test_the_ledger_sets_what_was_used_and_takes_over_exactly_the_pending_in_it(both):
    both.exchange("a", [ask("c", "C", need=60)], NOW)
    both.exchange("a", [ask("c", "C", number=1, reports=(("7", 20, 0), ("9", 30, 0)))], NOW)
    assert both.set_ledgered("c", 3, 25, {"a": 8})
    assert both.exchange("a", [ask("c", "C", number=2)], NOW).states[0].room == 100 - 25 - 30 - 10
    assert not both.set_ledgered("c", 2, 999, {"a": 9})
    assert both.set_ledgered("c", 4, 50, {"a": 9})
    assert both.exchange("a", [ask("c", "C", number=3)], NOW).states[0].room == 100 - 50 - 10


def test_what_a_dead_process_held_of_a_day_is_spent_until_the_ledger_is_complete_past_it(both):
    both.exchange("a", [ask("c", "C", need=60)], NOW)
    later = NOW + 5_000_000
    assert both.exchange("b", [ask("c", "C", need=41)], later).status == "denied"
    both.set_ledgered("c", 1, 10, {}, complete=later - 1)
    assert both.exchange("b", [ask("c", "C", need=31)], later).status == "denied"
    both.set_ledgered("c", 1, 10, {}, complete=later)
    assert both.exchange("b", [ask("c", "C", need=90)], later).status == "done"


def test_after_a_loss_the_counter_is_what_was_declared_or_what_is_there_whichever_is_more(both):
    place = str(NOW // MINUTE)
    both.exchange("a", [ask(need=60)], NOW)
    both.exchange("a", [ask(number=1, reports=((place, 30, 0),))], NOW)  # the snapshot: 30 spent, 30 held
    mine = ask(number=5, floor=10, declare=True, reports=((place, 25, 0),))
    theirs = ask(number=2, floor=5, declare=True, reports=((place, 10, 0),))
    assert both.exchange("a", [mine], NOW, life=2).states[0].room == 100 - 30 - 10
    assert both.exchange("b", [theirs], NOW, life=2).states[0].room == 100 - 35 - 10 - 5
    assert both.exchange("b", [theirs], NOW, life=2).states[0].room == 100 - 35 - 10 - 5
    assert both.exchange("b", [ask(number=3)], NOW, life=1).status == "stale"


class Agreement(RuleBasedStateMachine):
    """Random steps of three processes on three counters."""

    address = ""

    @initialize()
    def start(self):
        self.both, self.now, self.number, self.life = Both(self.address), NOW, 0, 1

    @rule(seconds=st.sampled_from([0.0, 0.01, 0.9, 3.0, 5.0, 20.0, 61.0, 700.0]))
    def wait(self, seconds):
        self.now += int(seconds * 1_000_000)

    @rule()
    def a_new_life(self):
        self.life += 1

    @rule(data=st.data(), process=st.sampled_from(PROCESSES))
    def step(self, data, process):
        chosen = data.draw(st.lists(st.sampled_from("SCN"), min_size=1, max_size=3, unique=True))
        asks = [self._ask(data, kind) for kind in chosen]
        self.both.exchange(process, asks, self.now, self.life)

    def _ask(self, data, kind):
        few = st.integers(0, 30)
        self.number += data.draw(st.integers(0, 1))
        back = st.integers(-2, 70).map(lambda n: str(self.now // MINUTE - n))
        place = {"S": back, "C": st.sampled_from(["", "1", "2", "3"]), "N": back}[kind]
        report = st.tuples(place, few, st.integers(-10, 10))
        return ask(
            kind,
            kind,
            number=self.number,
            floor=data.draw(few) if kind == "N" else 0,
            give=data.draw(few),
            need=data.draw(few),
            want=data.draw(few),
            beyond=data.draw(st.sampled_from("BBDF")),
            declare=data.draw(st.sampled_from([False, False, False, True])),
            reports=() if kind == "N" else tuple(data.draw(st.lists(report, max_size=3))),
        )

    @rule(generation=st.integers(0, 5), amount=st.integers(0, 50), sequence=st.integers(0, 3), back=st.integers(0, 9))
    def ledger(self, generation, amount, sequence, back):
        self.both.set_ledgered("C", generation, amount, {"a": sequence, "b": 1}, self.now - back * 1_000_000)

    def teardown(self):
        if hasattr(self, "both"):
            self.both.close()


def test_redis_does_what_the_model_does(server):
    class Here(Agreement):
        address = server.address

    run_state_machine_as_test(Here, settings=settings(max_examples=60, stateful_step_count=30, deadline=None))
