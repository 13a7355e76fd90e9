"""ClickHouse: the database and the views that people, Grafana and the billing service may read. Other tables are private."""

from typing import Final

DATABASE: Final = "weighbridge"
USAGE: Final = "usage"
REQUESTS: Final = "requests"
USAGE_MINUTE: Final = "usage_minute"
USAGE_HOUR: Final = "usage_hour"
USAGE_DAY: Final = "usage_day"
INSTANCE_SAMPLES: Final = "instance_samples"
SCALING_SIGNALS: Final = "scaling_signals"
PRODUCERS: Final = "producers"

GROUPS: Final = ("tenant", "team", "user", "key", "model", "endpoint", "instance", "outcome")
"""Columns of the roll-ups that figures can be grouped and filtered by."""

SUMS: Final = (
    "requests",
    "input_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
    "output_tokens",
    "reasoning_output_tokens",
    "estimated_requests",
)
"""Columns of the roll-ups that are added up. A token column is NULL where no request of the group reported it."""
