"""The billing service: tenants, keys, prices and invoices over HTTP. SQL is the book, Redis a copy of it.

A request passes `app` (errors to problems), `unit` (who, idempotency, one transaction, projection), then a domain's
`endpoints` and `service`. Each domain has a folder.
"""
