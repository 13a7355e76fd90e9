"""Who did what, when: requests through the proxies (from ClickHouse) and acts of admins (from SQL)."""
