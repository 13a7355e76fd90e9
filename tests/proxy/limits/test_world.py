"""What holds for limits whatever happens: requests, windows, crashes, lost replies, clocks that differ, leases that run out."""

import copy

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from proxy.limits.model import Store
from tests.proxy.limits.people import held, limit, principal
from tests.proxy.limits.world import World

TOKENS, REQUESTS, SLOTS, DAY = 1000, 40, 6, 3000
WHO = principal(
    *held(limit(amount=TOKENS), limit("requests", "second", REQUESTS)),
    *held(limit("concurrency", amount=SLOTS), kind="team", subject="team_1"),
    *held(limit(window="day", amount=DAY), kind="key", subject="key_1"),
)


class Limited(RuleBasedStateMachine):
    """Three processes whose clocks differ by up to a second."""

    stalls = False

    @initialize()
    def start(self):
        self.world = World()
        for skew in (0.0, 0.5, -0.5):
            self.world.process(skew)

    def alive(self, number):
        living = [process for process in self.world.processes if process.alive]
        return living[number % len(living)]

    def running(self):
        return [request for request in self.world.admitted if not request.ended]

    @rule(number=st.integers(0, 2), bound=st.integers(1, 200), times=st.integers(1, 10))
    def request(self, number, bound, times):
        for _ in range(times):
            self.world.request(self.alive(number), WHO, 1, bound)

    @precondition(lambda self: self.running())
    @rule(data=st.data())
    def settle(self, data):
        request = data.draw(st.sampled_from(self.running()))
        self.world.settle(request, data.draw(st.integers(0, request.tokens)), written=data.draw(st.booleans()))

    @precondition(lambda self: self.running())
    @rule(data=st.data())
    def release(self, data):
        request = data.draw(st.sampled_from(self.running()))
        request.process.limits.release(request.grant, self.world.clock(request.process))
        request.tokens, request.ended = 0, True

    @rule(seconds=st.sampled_from([0.01, 0.3, 1.0, 4.0, 20.0, 61.0]))
    def wait(self, seconds):
        self.world.pass_time(seconds)

    @rule(number=st.integers(0, 2))
    def look(self, number):
        self.world.look(self.alive(number))

    @precondition(lambda self: sum(process.alive for process in self.world.processes) > 1)
    @rule(number=st.integers(0, 2))
    def crash(self, number):
        self.world.kill(self.alive(number))
        self.world.process()

    @invariant()
    def no_window_is_above(self):
        if not hasattr(self, "world"):
            return
        assert self.world.within(60) <= TOKENS
        assert sum(request.at > self.world.now - 1e6 for request in self.world.admitted if request.tokens) <= REQUESTS
        assert self.world.running() <= SLOTS or self.stalls
        assert sum(request.tokens for request in self.world.admitted) <= DAY

    def teardown(self):
        if not hasattr(self, "world"):
            return
        for request in self.running():
            self.world.settle(request, request.tokens)
        for process in self.world.processes:
            process.client.lose, process.client.cut = "", False
        self.world.pass_time(75)
        minute = principal(*WHO.limits[:3])
        assert self.world.request(self.alive(0), minute, 1, TOKENS), "something leaked"


class Stalling(Limited):
    """Replies are lost, and processes stall for longer than their leases last: slots come back then, and nothing else does."""

    stalls = True

    @rule(seconds=st.sampled_from([0.5, 4.5, 6.0]))
    def all_stall(self, seconds):
        self.world.pass_time(seconds, looking=False)

    @rule(number=st.integers(0, 2), lose=st.sampled_from(["before", "after"]))
    def lose_a_reply(self, number, lose):
        self.alive(number).client.lose = lose


class LosesMemory(Limited):
    """Redis is killed too: it comes back empty, or with what it knew a while ago. Processes that live know what they let in."""

    @initialize()
    def no_snapshot(self):
        self.snapshots: list[Store | None] = [None]

    @rule()
    def save(self):
        self.snapshots.append(copy.deepcopy(self.world.store))

    @rule(data=st.data())
    def restart(self, data):
        self.world.restart_redis(data.draw(st.sampled_from(self.snapshots)))

    @rule()
    def flush(self):
        self.world.store = Store(self.world.store.server, self.world.store.started)
        self.world.pass_time(1)  # it takes a beat to find out (docs/limits.md)

    @rule(number=st.integers(0, 2), cut=st.booleans())
    def partition(self, number, cut):
        self.alive(number).client.cut = cut

    crash = None  # type: ignore[assignment]  # what the dead let in is remembered by nobody but the ledger


TestLimited = Limited.TestCase
TestLimited.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestStalling = Stalling.TestCase
TestStalling.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
TestLosesMemory = LosesMemory.TestCase
TestLosesMemory.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
