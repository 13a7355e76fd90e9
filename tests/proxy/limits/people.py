"""Principals with limits, and what they ask for."""

from itertools import count

from contracts.limits import Held, LimitRecord
from contracts.projection import KeyRecord
from proxy.ports import Amounts, Demand, Principal

_ids = count()


def limit(meter="total_tokens", window="minute", amount=100, **fields) -> LimitRecord:
    window = None if meter == "concurrency" else window
    return LimitRecord(id=f"lim_{next(_ids)}", meter=meter, window=window, amount=amount, **fields)


def held(*limits, kind="tenant", subject="ten_a") -> tuple[Held, ...]:
    return tuple(Held(kind, subject, each) for each in limits)


def principal(*limits: Held, zone="UTC", tenant="ten_a") -> Principal:
    return Principal(KeyRecord(id="key_1", tenant=tenant, revision=1), {}, limits=limits, time_zone=zone)


def demand(who, tokens=10, bound=None, model="llama", output=0, cost=None) -> Demand:
    """`tokens`: of input, as estimated; `bound`: at most."""
    most = Amounts(tokens if bound is None else bound, output, cost)
    return Demand(f"req_{next(_ids)}", who, model, most, Amounts(tokens, output, cost))
