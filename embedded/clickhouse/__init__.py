"""ClickHouse's HTTP protocol in front of chDB, ClickHouse's own engine in a wheel.

`python -m embedded.clickhouse --port P --data-dir D` serves one data folder, which one process owns. A client of the real
server works unchanged: `statement` reads a request, `engine` runs it, `app` speaks HTTP, `codecs` compresses.
"""
