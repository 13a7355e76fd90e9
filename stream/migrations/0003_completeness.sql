-- Which sequences of an epoch the ledger holds. Every writer keeps one row an epoch: the union of what all rows said when it
-- read them and of what it stored itself. So a row only ever grows, and the union over the writers is the truth.

CREATE TABLE IF NOT EXISTS producer_sequences (
    producer LowCardinality(String),
    epoch String,
    writer String,
    covered UInt64,
    ranges Array(Tuple(first UInt64, last UInt64)),
    stored_at DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(covered)
ORDER BY (producer, epoch, writer)
SETTINGS fsync_after_insert = 1;

CREATE VIEW IF NOT EXISTS producers AS
WITH
    arrayFold(
        (state, range) -> (
            greatest(state.1, range.2),
            if(range.1 > state.1 + 1, arrayPushBack(state.2, (toUInt64(state.1 + 1), toUInt64(range.1 - 1))), state.2)
        ),
        arraySort(groupUniqArrayArray(ranges)),
        (toUInt64(0), CAST([], 'Array(Tuple(UInt64, UInt64))'))
    ) AS walked
SELECT
    producer,
    epoch,
    if(empty(walked.2), walked.1, toUInt64(walked.2[1].1 - 1)) AS contiguous,
    walked.1 AS highest,
    arraySum(gap -> toUInt64(gap.2 - gap.1 + 1), walked.2) AS missing,
    CAST(walked.2, 'Array(Tuple(first UInt64, last UInt64))') AS gaps,
    max(stored_at) AS last_stored_at
FROM producer_sequences FINAL
GROUP BY producer, epoch;
