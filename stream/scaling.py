"""Load of each model, from the latest samples of its instances. Pure but for what it remembers.

A sample counts for `horizon` after it was taken, so that an instance that fell silent leaves the figures. Proxies of one
instance each see their own requests, which add up; the engine's own figures are the same from each and are taken once.
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from contracts.events import InstanceData, ScalingData

HORIZON: Final = timedelta(seconds=30)


class Load:
    """The latest sample of each proxy of each instance."""

    def __init__(self, horizon: timedelta = HORIZON) -> None:
        self._horizon = horizon
        self._latest: dict[tuple[str, str], InstanceData] = {}

    def observe(self, sample: InstanceData) -> None:
        """Take a sample; one older than what is known of its proxy and instance changes nothing."""
        key = (sample.instance, sample.producer)
        known = self._latest.get(key)
        if known is None or known.sampled_at < sample.sampled_at:
            self._latest[key] = sample

    def signals(self, now: datetime) -> list[ScalingData]:
        """Return the load of each model with a sample within the horizon, and forget older samples."""
        since = now - self._horizon
        self._latest = {key: sample for key, sample in self._latest.items() if sample.sampled_at > since}
        models: defaultdict[str, list[InstanceData]] = defaultdict(list)
        for sample in self._latest.values():
            if sample.model is not None:
                models[sample.model].append(sample)
        return [_signal(model, samples, now) for model, samples in sorted(models.items())]


def _signal(model: str, samples: list[InstanceData], now: datetime) -> ScalingData:
    engines = _newest_by_instance(samples)
    caches = [engine.kv_cache_usage for engine in engines if engine.kv_cache_usage is not None]
    return ScalingData(
        model=model,
        as_of=now,
        instances=len(engines),
        in_flight=sum(sample.in_flight for sample in samples),
        waiting=sum(sample.queued for sample in samples) + sum(engine.waiting or 0 for engine in engines),
        kv_cache_usage=sum(caches) / len(caches) if caches else None,
    )


def _newest_by_instance(samples: Iterable[InstanceData]) -> list[InstanceData]:
    newest: dict[str, InstanceData] = {}
    for sample in sorted(samples, key=lambda sample: (sample.sampled_at, sample.producer)):
        newest[sample.instance] = sample
    return list(newest.values())
