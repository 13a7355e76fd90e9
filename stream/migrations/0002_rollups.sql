-- One row a (tenant, minute) with all its groups, replaced as a whole. `generation` counts the rows of the ledger that were
-- seen, so that of two writers the one that saw more wins, whenever it writes.

CREATE TABLE IF NOT EXISTS usage_windows (
    tenant LowCardinality(String),
    minute DateTime('UTC'),
    generation UInt64,
    groups Array(Tuple(
        team Nullable(String),
        `user` Nullable(String),
        `key` Nullable(String),
        model Nullable(String),
        endpoint String,
        instance String,
        outcome String,
        requests UInt64,
        input_tokens Nullable(UInt64),
        cache_read_input_tokens Nullable(UInt64),
        cache_creation_input_tokens Nullable(UInt64),
        output_tokens Nullable(UInt64),
        reasoning_output_tokens Nullable(UInt64),
        estimated_requests UInt64
    ))
)
ENGINE = ReplacingMergeTree(generation)
PARTITION BY toYYYYMM(minute)
ORDER BY (tenant, minute)
SETTINGS fsync_after_insert = 1;

CREATE VIEW IF NOT EXISTS usage_minute AS
SELECT
    tenant,
    minute AS bucket,
    g.team AS team,
    g.user AS `user`,
    g.key AS `key`,
    g.model AS model,
    g.endpoint AS endpoint,
    g.instance AS instance,
    g.outcome AS outcome,
    g.requests AS requests,
    g.input_tokens AS input_tokens,
    g.cache_read_input_tokens AS cache_read_input_tokens,
    g.cache_creation_input_tokens AS cache_creation_input_tokens,
    g.output_tokens AS output_tokens,
    g.reasoning_output_tokens AS reasoning_output_tokens,
    g.estimated_requests AS estimated_requests
FROM usage_windows FINAL
ARRAY JOIN groups AS g;

CREATE VIEW IF NOT EXISTS usage_hour AS
SELECT
    tenant,
    toStartOfHour(minute) AS bucket,
    team,
    `user`,
    `key`,
    model,
    endpoint,
    instance,
    outcome,
    sum(requests) AS requests,
    sum(input_tokens) AS input_tokens,
    sum(cache_read_input_tokens) AS cache_read_input_tokens,
    sum(cache_creation_input_tokens) AS cache_creation_input_tokens,
    sum(output_tokens) AS output_tokens,
    sum(reasoning_output_tokens) AS reasoning_output_tokens,
    sum(estimated_requests) AS estimated_requests
FROM (SELECT * EXCEPT (bucket), bucket AS minute FROM usage_minute)
GROUP BY tenant, bucket, team, `user`, `key`, model, endpoint, instance, outcome;

CREATE VIEW IF NOT EXISTS usage_day AS
SELECT
    tenant,
    toStartOfDay(minute) AS bucket,
    team,
    `user`,
    `key`,
    model,
    endpoint,
    instance,
    outcome,
    sum(requests) AS requests,
    sum(input_tokens) AS input_tokens,
    sum(cache_read_input_tokens) AS cache_read_input_tokens,
    sum(cache_creation_input_tokens) AS cache_creation_input_tokens,
    sum(output_tokens) AS output_tokens,
    sum(reasoning_output_tokens) AS reasoning_output_tokens,
    sum(estimated_requests) AS estimated_requests
FROM (SELECT * EXCEPT (bucket), bucket AS minute FROM usage_minute)
GROUP BY tenant, bucket, team, `user`, `key`, model, endpoint, instance, outcome;
