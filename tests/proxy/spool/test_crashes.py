"""Random crashes at random writes: what was synced is never lost, what is found is never invented."""

import os
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from contracts.clock import utc_now
from proxy.spool import adoption, record
from proxy.spool.header import Header
from proxy.spool.record import DRAFT, FINAL, Kind
from proxy.spool.segment import PAGE, SUFFIX
from proxy.spool.spool import SpoolFullError

SEGMENT = 8 * PAGE
EPOCH = "e" * 32
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # a power cut is simulated, so it need not be a disk


def lost(header, draft, sequence, now):
    assert header.epoch == EPOCH
    return b"lost %d " % sequence + draft.request_id + b" " + draft.body


def published(source):
    """Everything that a publisher would read from a spool: sequence to record."""
    found = {}
    for piece in [*source.backlog._sent, *source.backlog._unsent]:
        for entry in record.scan(piece.segment.read(piece.start, piece.end)):
            if entry.kind in FINAL:
                found[entry.sequence] = entry
        assert set(range(piece.first, piece.last + 1)) <= found.keys()
    return found


def contents(found):
    return {at: (each.kind, each.request_id, each.tenant, each.body, each.end) for at, each in found.items()}


class Crashes(RuleBasedStateMachine):
    @initialize()
    def start(self):
        self.home = Path(tempfile.mkdtemp(dir=MEMORY))
        self.spool = adoption.create(self.home, Header("weighbridge/x", EPOCH, 1), 40 * SEGMENT, SEGMENT)
        self.finals = {}  # sequence: (kind, id, body)
        self.drafts = {}  # id: every body in the order it was written
        self.closes = {}  # id: sequence
        self.durable_sequence = self.acked = self.count = 0
        self.durable_drafts = {}
        self.durable_end = {}
        self.now = 0.0

    def append(self, kind, request_id, size):
        body = b"%d %d " % (len(self.finals), kind) + b"x" * size
        try:
            self.spool.append(kind, request_id, b"tenant", body)
        except SpoolFullError:
            return False
        if kind in DRAFT:
            self.drafts.setdefault(request_id, []).append(body)
        if kind in FINAL:
            self.finals[self.spool.last_sequence] = (kind, request_id, body)
        return True

    @rule(size=st.integers(0, 3000), count=st.integers(1, 5))
    def request_begins(self, size, count):
        for _ in range(count):
            self.count += 1
            request_id = b"%032d" % self.count
            self.append(Kind.ADMITTED, request_id, size)

    @rule(size=st.integers(0, 3000))
    def request_is_denied(self, size):
        self.count += 1
        self.append(Kind.REQUEST, b"%032d" % self.count, size)

    @rule(data=st.data(), size=st.integers(0, 3000))
    def request_goes_on(self, data, size):
        running = sorted(self.drafts.keys() - self.closes.keys())
        if running:
            self.append(Kind.OPEN, data.draw(st.sampled_from(running)), size)

    @rule(data=st.data(), size=st.integers(0, 3000))
    def request_ends(self, data, size):
        running = sorted(self.drafts.keys() - self.closes.keys())
        if running:
            request_id = data.draw(st.sampled_from(running))
            if self.append(Kind.USAGE, request_id, size):
                self.closes[request_id] = self.spool.last_sequence

    @rule()
    def sync(self):
        self.now += 1
        group = self.spool.group(self.now)
        if group is None:
            return
        last, drafts = self.spool.last_sequence, {key: len(bodies) for key, bodies in self.drafts.items()}
        group.sync()
        before = dict(self.durable_end)
        for piece in group.pieces:
            page = piece.start - piece.start % PAGE
            assert page >= before.get(piece.segment.number, 0), "a synced page is written again"
            self.durable_end[piece.segment.number] = piece.end
        self.spool.durable(group)
        self.durable_sequence, self.durable_drafts = last, drafts

    @rule(data=st.data())
    def ledger_acknowledges(self, data):
        backlog = self.spool.backlog
        pieces = backlog.take(10**9, self.now)
        backlog.sent(pieces, self.now)
        self.acked = data.draw(st.integers(self.acked, self.durable_sequence))
        backlog.acknowledge(self.acked, self.now)
        self.spool.collect()

    @invariant()
    def what_is_on_disk_and_not_acknowledged_can_be_published(self):
        if not hasattr(self, "spool"):
            return
        found = published(self.spool)
        assert found.keys() >= set(range(self.acked + 1, self.durable_sequence + 1))
        for sequence, entry in found.items():
            assert (entry.kind, entry.request_id, entry.body) == self.finals[sequence]
        assert self.spool.bytes_used <= 40 * SEGMENT

    @rule(data=st.data(), power=st.booleans(), again=st.booleans())
    def crash(self, data, power, again):
        self.process_ends()
        if power:
            self.lose_what_was_not_synced(data)
        heir = adoption.adopt(self.home / EPOCH, lost, utc_now())
        assert adoption.adopt(self.home / EPOCH, lost, utc_now()) is None, "it has an heir already"
        if heir is None:
            assert power
            assert self.durable_sequence == 0
            assert not self.durable_drafts
        else:
            first = published(heir)
            if again and first:
                heir.close()
                heir = adoption.adopt(self.home / EPOCH, lost, utc_now())
                assert heir is not None
                assert contents(published(heir)) == contents(first), "a second heir finds what the first one did"
            self.check(heir, power)
            heir.backlog.acknowledge(10**6, 0.0)
            heir.collect()
            heir.close()
        assert not (self.home / EPOCH).exists()
        self.teardown()
        self.start()

    def check(self, heir, power):
        found = published(heir)
        ours = {sequence: entry for sequence, entry in found.items() if not entry.body.startswith(b"lost")}
        trusted = max(ours, default=self.acked)
        assert trusted >= (self.durable_sequence if power else len(self.finals))
        assert ours.keys() >= set(range(self.acked + 1, trusted + 1))
        for sequence, entry in ours.items():
            assert (entry.kind, entry.request_id, entry.body) == self.finals[sequence]
        losses = [entry for sequence, entry in sorted(found.items()) if sequence not in ours]
        if losses:
            first = losses[0].sequence
            assert [entry.sequence for entry in losses] == list(range(first, first + len(losses)))
            assert first >= trusted + 1
        names = [entry.request_id for entry in losses]
        assert len(names) == len(set(names))
        assert not [name for name in names if self.closes.get(name, 10**9) <= trusted], "it had ended"
        must = self.durable_drafts if power else {key: len(bodies) for key, bodies in self.drafts.items()}
        gone = {key for key in must if key not in self.closes or self.closes[key] > max(trusted, self.acked)}
        assert gone <= set(names), "an admitted request was lost"
        for entry in losses:
            body = entry.body.split(b" ", 3)[3]
            versions = self.drafts[entry.request_id]
            assert body in versions
            if entry.request_id in must:
                assert body in versions[must[entry.request_id] - 1 :], "an older draft than the one that was synced"

    def lose_what_was_not_synced(self, data):
        for path in sorted((self.home / EPOCH).glob(f"*{SUFFIX}")):
            start = self.durable_end.get(int(path.stem), 0)
            content = bytearray(path.read_bytes())
            for page in range(start, len(content), PAGE):
                if not any(content[page : page + PAGE]):
                    continue
                fate = data.draw(st.sampled_from(["kept", "zeros", "torn", "flipped", "cut"]))
                if fate == "zeros":
                    content[page : page + PAGE] = bytes(PAGE)
                elif fate == "torn":
                    tear = data.draw(st.integers(page, page + PAGE - 1))
                    content[tear : page + PAGE] = bytes(page + PAGE - tear)
                elif fate == "flipped":
                    content[data.draw(st.integers(page, page + PAGE - 1))] ^= 0x40
                elif fate == "cut":
                    del content[data.draw(st.integers(page, page + PAGE - 1)) :]
                    break
            path.write_bytes(content)

    def process_ends(self):
        spool = self.__dict__.pop("spool")
        spool._disk.shutdown()
        prepared = [spool._prepared.result()] if spool._prepared is not None else []
        for segment in [*spool._segments, *prepared]:
            segment.close()
        os.close(spool._lock)

    def teardown(self):
        if hasattr(self, "spool"):
            self.process_ends()
        if hasattr(self, "home"):
            shutil.rmtree(self.home, ignore_errors=True)


Crashes.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestCrashes = Crashes.TestCase
