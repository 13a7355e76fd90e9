"""What the stream can be told."""

from datetime import timedelta
from pathlib import Path

from pydantic import Field

from contracts.settings import ClickHouseSettings, KafkaSettings, RedisSettings
from stream.decode import Policy


class StreamSettings(KafkaSettings, RedisSettings, ClickHouseSettings):
    """Settings of one stream worker."""

    stream_admin: str = Field(
        default="127.0.0.1:9465",
        pattern=r"^[^:]*:\d+$|^\[.*\]:\d+$",
        description="HOST:PORT of /healthz, /readyz and /metrics",
    )
    stream_group: str = Field(default="weighbridge-stream", min_length=1, description="Kafka's consumer group")
    stream_reread: bool = Field(
        default=False,
        description="keep no offsets and read all that the broker holds at every start: for the embedded broker",
    )
    stream_batch_records: int = Field(default=2_000, ge=1, le=10_000, description="records of one batch at most")
    stream_batch_seconds: float = Field(default=0.25, gt=0, le=10, description="how long a batch gathers records")
    stream_horizon_days: int = Field(
        default=35, ge=1, le=365, description="older events are dead letters; raw rows must live longer than this"
    )
    stream_quota_feedback: bool = Field(
        default=True, description="write the ledger's figures to Redis: days, and limits' counters"
    )
    stream_scaling_seconds: float = Field(default=5.0, ge=0.1, le=300, description="time between scaling signals")
    stream_topic_partitions: int = Field(default=8, ge=1, le=1_000, description="partitions of topics it creates")
    stream_topic_replicas: int = Field(default=1, ge=1, le=9, description="replicas of topics it creates")
    stream_data_dir: Path | None = Field(default=None, description="a folder for Faust; a temporary one if not given")

    def policy(self) -> Policy:
        """Return which events are taken."""
        return Policy(horizon=timedelta(days=self.stream_horizon_days))
