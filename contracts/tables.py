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

BUCKET: Final = "bucket"
"""Start of a row's minute, hour or day in the roll-ups (a UTC DateTime): the window of `admitted_at`."""

TIMES: Final = ("event_time", "ingested_at", "stored_at")
"""Columns that `usage` and `requests` have besides the event's own fields, as DateTime64(6) in UTC.

`event_time` decides the window that an event belongs to (`admitted_at`, for a denied request `received_at`);
`ingested_at` is when the stream read it; `stored_at` when the ledger first held it, which never changes.
"""

ENVELOPE: Final = ("id", "source", *TIMES, "billed_cost", "currency")
"""What a row of `usage` and `requests` has besides the fields of the event's `data`. Cost is NULL until it is rated."""
