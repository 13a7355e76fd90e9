"""Limits, held by all proxies together: counters in Redis, slices of them in each process (docs/limits.md)."""
