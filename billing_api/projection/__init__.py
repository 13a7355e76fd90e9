"""Redis as a copy of the keys and subjects in SQL, for the proxies. SQL is written first; Redis can be rebuilt at any time."""
