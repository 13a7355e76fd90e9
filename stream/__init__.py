"""The stream: Faust agents that turn Kafka's events into rows, roll-ups and acknowledgements.

The raw tables are the ledger and everything else is a function of them. Read `ledger` first: it holds the order of effects
of one batch. `decode`, `rows`, `windows`, `completeness`, `quota` and `scaling` are pure; `clickhouse`, `publish` and
`feedback` perform effects; `app` and `service` wire them.
"""
