"""What the services agree on: events, topics, keys, money, Redis and ClickHouse names, metrics, settings.

Everything here is pure: values in, values out. Nothing here imports a service, opens a socket or reads a clock; the one
exception is `settings`, which reads the environment once, when a service starts.
"""
