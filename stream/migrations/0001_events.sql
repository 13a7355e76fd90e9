-- The ledger. The sorting key is the deduplication: the same event is one row however often it is delivered, and of equal
-- rows the one stored first stays (`precedence`). Rows that share a key up to `id` and differ in content are a conflict:
-- both stay, the later ones are named in `excluded_events` and count nowhere.

CREATE TABLE IF NOT EXISTS usage_events (
    id String,
    source LowCardinality(String),
    event_time DateTime64(6, 'UTC'),
    ingested_at DateTime64(6, 'UTC'),
    stored_at DateTime64(6, 'UTC'),
    content_hash UInt64,
    precedence UInt64 DEFAULT 18446744073709551615 - toUInt64(toUnixTimestamp64Micro(stored_at)),

    producer LowCardinality(String),
    epoch LowCardinality(String),
    sequence UInt64,
    request_id String,
    parent_request_id Nullable(String),
    hop LowCardinality(String) DEFAULT 'root',
    trace_id Nullable(String),
    client_request_id Nullable(String),
    tenant LowCardinality(String),
    team LowCardinality(Nullable(String)),
    `user` Nullable(String),
    `key` Nullable(String),
    end_user Nullable(String),
    tags Map(LowCardinality(String), String),
    instance LowCardinality(String),
    model LowCardinality(Nullable(String)),
    endpoint LowCardinality(String),
    dialect LowCardinality(Nullable(String)),
    stream Bool DEFAULT false,
    received_at DateTime64(6, 'UTC'),
    admitted_at Nullable(DateTime64(6, 'UTC')),
    client_address Nullable(String),
    user_agent Nullable(String),

    served_model LowCardinality(Nullable(String)),
    base_model LowCardinality(Nullable(String)),
    response_id Nullable(String),
    status Nullable(UInt16),
    upstream_status Nullable(UInt16),
    error_code LowCardinality(Nullable(String)),
    outcome LowCardinality(String),
    finish_reason LowCardinality(Nullable(String)),
    accuracy LowCardinality(String),
    input_tokens Nullable(UInt64),
    cache_read_input_tokens Nullable(UInt64),
    cache_creation_input_tokens Nullable(UInt64),
    output_tokens Nullable(UInt64),
    reasoning_output_tokens Nullable(UInt64),
    audio_seconds Nullable(Float64),
    inputs Nullable(UInt64),
    choices Nullable(UInt64),
    forwarded_at Nullable(DateTime64(6, 'UTC')),
    first_byte_at Nullable(DateTime64(6, 'UTC')),
    first_token_at Nullable(DateTime64(6, 'UTC')),
    last_byte_at Nullable(DateTime64(6, 'UTC')),
    request_bytes Nullable(UInt64),
    response_bytes Nullable(UInt64)
)
ENGINE = ReplacingMergeTree(precedence)
PARTITION BY toYYYYMM(event_time)
ORDER BY (tenant, toStartOfMinute(event_time), source, id, content_hash)
SETTINGS fsync_after_insert = 1;

CREATE TABLE IF NOT EXISTS request_events (
    id String,
    source LowCardinality(String),
    event_time DateTime64(6, 'UTC'),
    ingested_at DateTime64(6, 'UTC'),
    stored_at DateTime64(6, 'UTC'),
    content_hash UInt64,
    precedence UInt64 DEFAULT 18446744073709551615 - toUInt64(toUnixTimestamp64Micro(stored_at)),

    producer LowCardinality(String),
    epoch LowCardinality(String),
    sequence UInt64,
    request_id String,
    parent_request_id Nullable(String),
    hop LowCardinality(String) DEFAULT 'root',
    trace_id Nullable(String),
    client_request_id Nullable(String),
    tenant LowCardinality(String),
    team LowCardinality(Nullable(String)),
    `user` Nullable(String),
    `key` Nullable(String),
    end_user Nullable(String),
    tags Map(LowCardinality(String), String),
    instance LowCardinality(String),
    model LowCardinality(Nullable(String)),
    endpoint LowCardinality(String),
    dialect LowCardinality(Nullable(String)),
    stream Bool DEFAULT false,
    received_at DateTime64(6, 'UTC'),
    admitted_at Nullable(DateTime64(6, 'UTC')),
    client_address Nullable(String),
    user_agent Nullable(String),

    decision LowCardinality(String),
    status Nullable(UInt16),
    code LowCardinality(Nullable(String)),
    reason Nullable(String),
    `limit` Nullable(String),
    queue_seconds Nullable(Float64),
    reserved_tokens Nullable(UInt64)
)
ENGINE = ReplacingMergeTree(precedence)
PARTITION BY toYYYYMM(event_time)
ORDER BY (tenant, toStartOfMinute(event_time), source, id, content_hash)
SETTINGS fsync_after_insert = 1;

-- Rows of the ledger that do not count: the same id was stored before with another content.
CREATE TABLE IF NOT EXISTS excluded_events (
    kind LowCardinality(String),
    tenant LowCardinality(String),
    minute DateTime('UTC'),
    source LowCardinality(String),
    id String,
    content_hash UInt64,
    reason LowCardinality(String),
    excluded_at DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree
ORDER BY (kind, tenant, minute, source, id, content_hash)
SETTINGS fsync_after_insert = 1;

-- What no rule could read, with its bytes. `digest` tells two records apart that stood at the same offset of different brokers.
CREATE TABLE IF NOT EXISTS dead_letters (
    topic LowCardinality(String),
    partition UInt32,
    offset UInt64,
    digest UInt64,
    reason LowCardinality(String),
    detail String,
    payload String,
    stored_at DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(stored_at)
ORDER BY (topic, partition, offset, digest)
SETTINGS fsync_after_insert = 1;

CREATE VIEW IF NOT EXISTS usage AS
SELECT
    * EXCEPT (precedence),
    CAST(NULL, 'Nullable(Decimal(38, 18))') AS billed_cost,
    CAST(NULL, 'Nullable(String)') AS currency
FROM usage_events FINAL
WHERE (tenant, toStartOfMinute(event_time), source, id, content_hash) NOT IN (
    SELECT tenant, minute, source, id, content_hash FROM excluded_events WHERE kind = 'usage'
);

CREATE VIEW IF NOT EXISTS requests AS
SELECT
    * EXCEPT (precedence),
    CAST(NULL, 'Nullable(Decimal(38, 18))') AS billed_cost,
    CAST(NULL, 'Nullable(String)') AS currency
FROM request_events FINAL
WHERE (tenant, toStartOfMinute(event_time), source, id, content_hash) NOT IN (
    SELECT tenant, minute, source, id, content_hash FROM excluded_events WHERE kind = 'request'
);

CREATE VIEW IF NOT EXISTS conflicts AS
SELECT kind, tenant, minute, source, id, content_hash, min(excluded_at) AS found_at
FROM excluded_events
WHERE reason = 'conflict'
GROUP BY kind, tenant, minute, source, id, content_hash;
