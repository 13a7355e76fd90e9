"""Whose turn it is: what holds for any requests, tenants, weights and workers."""

from typing import get_args

from hypothesis import example, given, settings
from hypothesis import strategies as st

from contracts.limits import Priority
from proxy.queue.board import FLOWS
from proxy.queue.order import BATCH_EVERY, SCALE, SILENT
from tests.proxy.queue.model import Instance, Sent

MOST = 100
"""Tokens of a request."""
TOKENS = st.integers(1, MOST)


def tenants(instance: Instance) -> str:
    return "".join(sent.flow for sent in instance.let_in)


@given(st.data())
@settings(max_examples=60)
def test_there_is_never_room_while_somebody_waits_and_never_more_run_than_there_is_room_for(data):
    workers = data.draw(st.integers(1, 3))
    instance = Instance(data.draw(st.integers(1, 4)), workers, length=data.draw(st.integers(1, 8)))
    for _ in range(data.draw(st.integers(1, 40))):
        instance.heard_of()
        waiting = [sent for lines in instance.lines for line in lines.values() for sent in line]
        act = data.draw(st.sampled_from(["send", "send", "end", "leave"]))
        if act == "end" and instance.running:
            instance.end(data.draw(st.sampled_from(instance.running)), data.draw(TOKENS))
        elif act == "leave" and waiting:
            instance.leave(data.draw(st.sampled_from(waiting)))
        elif act == "send":
            flow, worker = data.draw(st.sampled_from("abcde")), data.draw(st.integers(0, workers - 1))
            sent = Sent(flow, worker, data.draw(TOKENS), data.draw(st.sampled_from(get_args(Priority))))
            idle = len(instance.running) < instance.capacity
            assert instance.send(sent) or not idle, "idle capacity was refused"
        assert len(instance.running) == instance.board.in_flight <= instance.capacity
        assert not instance.waiting or len(instance.running) == instance.capacity
        assert instance.waiting <= instance.board.length
        assert instance.board.words[FLOWS] <= instance.board.rows
    for flow in "abcde":  # whoever came first of a tenant's goes first
        for priority in get_args(Priority):
            numbers = [sent.number for sent in instance.let_in if (sent.flow, sent.priority) == (flow, priority)]
            assert numbers == sorted(numbers)


@given(st.data())
@settings(max_examples=20)
def test_tenants_that_always_wait_are_served_by_their_weights(data):
    """The bound: what is in flight, and one request, of either side."""
    capacity, workers = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 3))
    instance = Instance(capacity, workers)
    weights = data.draw(st.dictionaries(st.sampled_from("abcd"), st.sampled_from([50, 100, 300]), min_size=2))
    served = dict.fromkeys(weights, 0)
    draw = data.draw(st.randoms(use_true_random=False))

    def refill() -> None:
        instance.heard_of()
        for flow, weight in weights.items():
            while sum(sent.flow == flow for lines in instance.lines for line in lines.values() for sent in line) < 2:
                assert instance.send(Sent(flow, draw.randrange(workers), draw.randint(1, MOST), "interactive", weight))

    refill()
    begun = {flow: instance.counter(Sent(flow, 0, 0)) for flow in weights}
    bound = 2 * (capacity + 1) * MOST / min(weights.values())
    for _ in range(200):
        sent = draw.choice(instance.running)
        tokens = draw.randint(1, MOST)
        instance.end(sent, tokens)
        served[sent.flow] += tokens
        refill()
        shares = [served[flow] / weights[flow] for flow in weights]
        assert max(shares) - min(shares) <= bound
        charged = [(instance.counter(Sent(flow, 0, 0)) - begun[flow]) / SCALE for flow in weights]
        assert max(charged) - min(charged) <= bound
    assert min(served.values()) > 0


def test_who_was_away_has_saved_nothing():
    instance = Instance(1)
    for number in range(10):
        instance.send(Sent("a", 0, 10))
        if number == 0:
            instance.send(Sent("b", 0, 10))
    for _ in range(6):  # b has had its one turn, and is away while a has five more
        instance.end(instance.running[0], 10)
    for _ in range(5):
        instance.send(Sent("b", 0, 10))
    for _ in range(6):
        instance.end(instance.running[0], 10)
    assert tenants(instance)[7:] in {"bababa", "ababab"}


def test_who_was_away_while_nobody_waited_has_saved_nothing_either():
    instance = Instance(1)
    for _ in range(4):
        instance.send(Sent("a", 0, 10))
    while instance.running:
        instance.end(instance.running[0], 10)
    instance.send(Sent("c", 0, 10))
    for flow in "bbbaaa":
        instance.send(Sent(flow, 0, 10))
    for _ in range(6):
        instance.end(instance.running[0], 10)
    assert tenants(instance)[5:] in {"bababa", "ababab"}


@given(st.integers(1, 6), st.integers(0, 30))
def test_batch_waits_for_interactive_but_has_one_turn_in_ten(capacity, others):
    instance = Instance(capacity)
    for _ in range(capacity):
        instance.send(Sent("running", 0, 1))
    for _ in range(3):
        instance.send(Sent("batch", 0, 1, "batch"))
    for number in range(others):
        instance.send(Sent(f"i{number % 3}", 0, 1))
    while instance.running:
        instance.end(instance.running[0], 1)
    turns = instance.let_in[capacity:]
    first = min(others, BATCH_EVERY - 1)
    assert [sent.priority for sent in turns[:first]] == ["interactive"] * first
    places = [number for number, sent in enumerate(turns) if sent.priority == "batch"]
    assert places == [min(others + n, BATCH_EVERY * (n + 1) - 1) for n in range(3)]


def test_whoever_stays_within_the_present_weight_gets_its_share_when_weights_change():
    instance = Instance(1)
    for weight in (100, 300):
        for _ in range(40):
            instance.send(Sent("a", 0, 10, weight=weight))
            instance.send(Sent("b", 0, 10, weight=100))
    for _ in range(80):
        instance.end(instance.running[0], 10)
    assert 38 <= tenants(instance)[:80].count("a") <= 42
    for _ in range(40):
        instance.end(instance.running[0], 10)
    assert 28 <= tenants(instance)[80:120].count("a") <= 32


@example(length=3, greedy=1)
@given(st.integers(1, 40), st.integers(1, 6))
def test_greedy_tenants_leave_room_for_one_that_was_not_there(length, greedy):
    instance = Instance(1, length=length)
    instance.send(Sent("running", 0, 1))
    for number in range(greedy):
        while instance.send(Sent(f"greedy-{number}", 0, 1)):
            pass
    assert instance.waiting <= length
    if greedy < length.bit_length():
        assert instance.send(Sent("late", 0, 1))


@given(st.data())
@settings(max_examples=30)
def test_no_number_of_tenants_takes_more_memory(data):
    instance = Instance(2, length=4)
    for number in range(30):
        instance.send(Sent(f"t{number}", 0, data.draw(TOKENS)))
        if data.draw(st.booleans()):
            instance.end(instance.running[0], data.draw(TOKENS))
        assert instance.board.words[FLOWS] <= instance.board.rows
        assert instance.waiting <= 4
    while instance.running:
        instance.end(instance.running[0], 1)
    assert not instance.waiting


def test_a_tenant_s_requests_go_in_the_order_in_which_they_came_whichever_worker_has_them():
    instance = Instance(1, workers=3)
    instance.heard_of()
    instance.send(Sent("running", 0, 1))
    for worker in (2, 0, 1, 1, 0, 2):
        instance.send(Sent("a", worker, 1))
    while instance.running:
        instance.end(instance.running[0], 1)
    assert [sent.worker for sent in instance.let_in[1:]] == [2, 0, 1, 1, 0, 2]


def test_who_comes_again_when_told_finds_a_turn():
    """A turn each second, three tenants with many requests: the pace and the shares say when one more would have its turn."""
    instance = Instance(1, length=90)
    for _ in range(20):
        for flow, weight in (("a", 100), ("b", 100), ("c", 200)):
            instance.send(Sent(flow, 0, 10, weight=weight))
    told = None
    for second in range(60):
        instance.now += 1000
        instance.end(instance.running[0], 10)
        if second == 30:
            late = Sent("d", 0, 10)
            order = instance.orders[0]
            told = order.wait_seconds(order.flow(late.name, late.priority), late.weight, instance.now)
            instance.send(late)
        if told is not None and late in instance.let_in:
            break
    assert told is not None
    assert 1 <= second - 30 <= told <= 6


def test_nobody_can_say_when_where_nobody_was_let_in():
    instance = Instance(1)
    instance.send(Sent("a", 0, 10))
    order = instance.orders[0]
    row = order.flow(Sent("a", 0, 10).name, "interactive")
    assert order.wait_seconds(row, 100, instance.now) == 1.0  # one had its turn a moment ago
    assert order.wait_seconds(row, 100, instance.now + 60_000) is None


def test_a_worker_that_is_not_heard_of_holds_nobody_up():
    instance = Instance(1, workers=2)
    instance.heard_of()
    for flow, worker in (("running", 1), ("a", 0), ("b", 1)):
        instance.send(Sent(flow, worker, 1))
    instance.now += SILENT + 1
    instance.end(instance.running[0], 1)  # at worker 1
    assert tenants(instance) == "runningb"
    instance.heard_of()
    instance.end(instance.running[0], 1)
    assert tenants(instance) == "runningba"


@given(st.data())
@settings(max_examples=30)
def test_a_worker_that_is_gone_gives_back_what_it_had(data):
    instance = Instance(3, workers=2)
    instance.heard_of()
    for _ in range(data.draw(st.integers(0, 12))):
        instance.send(Sent(data.draw(st.sampled_from("abc")), data.draw(st.integers(0, 1)), data.draw(TOKENS)))
    words = instance.board.words
    broken = data.draw(st.integers(instance.board.first, instance.board.first + 8))
    if (broken - instance.board.first) >= 5:  # it died between two words: sums and its own words are of no use
        words[broken] += 1 if (broken - instance.board.first) in {5, 7} else 0
    instance.board.clear(1)
    instance.lines[1].clear()
    instance.running = [sent for sent in instance.running if sent.worker == 0]
    instance.look(0)
    assert instance.board.in_flight == len(instance.running)
    assert not instance.waiting or len(instance.running) == 3
    while instance.running:
        instance.end(instance.running[0], 1)
    assert not instance.waiting
