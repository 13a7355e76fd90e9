"""The model and Redis behind one face, `now` given by the test; microseconds as everywhere in the store."""

from pathlib import Path
from typing import Any

import redis

import proxy.limits
from contracts.quota_feedback import SET_LEDGERED
from proxy.limits import wire
from proxy.limits.model import Store
from proxy.limits.wire import Ask

FOLDER = Path(proxy.limits.__file__).parent
MINUTE = 60_000_000 // 64


def ask(key="k", kind="S", amount=100, **fields) -> Ask:
    width = MINUTE if kind == "S" else 0
    common: dict[str, Any] = {
        "width": width,
        "gone_at": 4_000_000_000 if kind == "C" else 0,
        "number": 0,
        "floor": 0,
        "give": 0,
    }
    common |= {"need": 0, "want": 0, "beyond": "B", "declare": False, "reports": ()}
    made = common | fields
    made["want"] = max(made["want"], made["need"])
    return Ask(key=key, kind=kind, amount=amount, **made)


class Both:
    """Does everything in the model and in a real Redis, and compares."""

    def __init__(self, address: str) -> None:
        self.model = Store()
        self.redis = redis.Redis.from_url(address, protocol=2, decode_responses=True)
        self._exchange = self.redis.register_script((FOLDER / "exchange.lua").read_text())
        self._ledgered = self.redis.register_script(SET_LEDGERED)

    def exchange(self, process, asks, now, life=1, lease=5_000_000):
        expected = self.model.exchange(process, life, lease, asks, now)
        arguments = [now, process, life, lease, *wire.arguments(asks)]
        assert wire.reply(self._exchange(keys=[one.key for one in asks], args=arguments)) == expected
        for one in asks:
            self.compare(one.key)
        return expected

    def set_ledgered(self, key, generation, amount, contiguous, complete=0):
        expected = self.model.set_ledgered(key, generation, amount, contiguous, complete)
        pairs = [part for pair in contiguous.items() for part in pair]
        assert bool(self._ledgered(keys=[key], args=[generation, amount, complete, 4_000_000_000, *pairs])) == expected
        self.compare(key)
        return expected

    def compare(self, key):
        row = self.model.counters[key]
        there: Any = self.redis.hgetall(key)
        held = {
            name[2:]: int(amount) for name, amount in there.items() if name.startswith(("b:", "p:")) and int(amount)
        }
        held |= {name: int(amount) for name, amount in there.items() if name.startswith("x:") and int(amount)}
        assert held == {place: amount for place, amount in row.entries.items() if amount}
        leases = {name[2:]: int(amount) for name, amount in there.items() if name.startswith("l:")}
        assert leases == {name: lease.amount for name, lease in row.leases.items()}
        sums = [int(there.get(name, 0)) for name in ("sum", "pending", "lost")]
        assert sum(sums) == sum(row.entries.values())
        assert int(there.get("leased", 0)) == sum(leases.values())
        assert int(there.get("ledgered", 0)) == row.ledgered

    def close(self):
        self.redis.flushall()
        self.redis.close()
