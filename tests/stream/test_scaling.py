from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from contracts.events import InstanceData
from stream.scaling import Load
from tests.stream.factory import NOON, sample


def load(*samples: Any) -> Load:
    found = Load(timedelta(seconds=30))
    for event in samples:
        found.observe(event.data)
    return found


def test_adds_up_instances_of_a_model() -> None:
    (signal,) = load(
        sample("gpu-1", in_flight=3, queued=1, waiting=2, kv_cache_usage=0.5),
        sample("gpu-2", in_flight=4, waiting=None, kv_cache_usage=0.7),
        sample("gpu-3", in_flight=1, kv_cache_usage=None),
    ).signals(NOON)
    assert (signal.model, signal.instances, signal.in_flight, signal.waiting) == ("llama", 3, 8, 3)
    assert signal.kv_cache_usage == 0.6


def test_workers_of_one_proxy_add_up_but_their_engine_counts_once() -> None:
    (signal,) = load(
        sample(producer="proxy-1", in_flight=3, waiting=5, kv_cache_usage=0.4),
        sample(producer="proxy-2", at=NOON + timedelta(seconds=1), in_flight=2, waiting=6, kv_cache_usage=0.5),
    ).signals(NOON + timedelta(seconds=1))
    assert (signal.instances, signal.in_flight, signal.waiting, signal.kv_cache_usage) == (1, 5, 6, 0.5)


def test_models_are_apart_and_unknown_ones_left_out() -> None:
    signals = load(sample("gpu-1", model="b"), sample("gpu-2", model="a"), sample("gpu-3", model=None)).signals(NOON)
    assert [signal.model for signal in signals] == ["a", "b"]


def test_unknown_cache_use_stays_unknown() -> None:
    (signal,) = load(sample()).signals(NOON)
    assert signal.kv_cache_usage is None


def test_a_silent_instance_leaves() -> None:
    found = load(sample("gpu-1"), sample("gpu-2", at=NOON + timedelta(seconds=20)))
    assert [s.instances for s in found.signals(NOON + timedelta(seconds=30))] == [1]
    assert found.signals(NOON + timedelta(seconds=50)) == []


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 20)), unique=True), st.randoms())
def test_the_order_of_samples_does_not_matter(places: list[tuple[str, int]], random: Any) -> None:
    samples: list[InstanceData] = [
        sample(name, at=NOON + timedelta(seconds=age), in_flight=age).data for name, age in places
    ]
    results = []
    for _ in range(2):
        found = Load(timedelta(seconds=30))
        for data in samples:
            found.observe(data)
        results.append(found.signals(NOON + timedelta(seconds=20)))
        random.shuffle(samples)
    assert results[0] == results[1]
