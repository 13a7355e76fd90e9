-- Samples of the engines, and what follows from them for scaling. Not money: kept for 90 days.

CREATE TABLE IF NOT EXISTS instance_sample_rows (
    id String,
    source LowCardinality(String),
    producer LowCardinality(String),
    instance LowCardinality(String),
    model LowCardinality(Nullable(String)),
    sampled_at DateTime64(6, 'UTC'),
    healthy Bool,
    in_flight UInt64,
    queued UInt64,
    running Nullable(UInt64),
    waiting Nullable(UInt64),
    kv_cache_usage Nullable(Float64),
    prompt_tokens_total Nullable(UInt64),
    generation_tokens_total Nullable(UInt64),
    engine_started_at Nullable(DateTime64(6, 'UTC')),
    ingested_at DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(sampled_at)
ORDER BY (instance, sampled_at, source, id)
TTL toDateTime(sampled_at) + INTERVAL 90 DAY;

CREATE TABLE IF NOT EXISTS scaling_signal_rows (
    model LowCardinality(String),
    as_of DateTime64(6, 'UTC'),
    instances UInt64,
    in_flight UInt64,
    waiting UInt64,
    kv_cache_usage Nullable(Float64)
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(as_of)
ORDER BY (model, as_of)
TTL toDateTime(as_of) + INTERVAL 90 DAY;

CREATE VIEW IF NOT EXISTS instance_samples AS SELECT * FROM instance_sample_rows FINAL;

CREATE VIEW IF NOT EXISTS scaling_signals AS SELECT * FROM scaling_signal_rows FINAL;
