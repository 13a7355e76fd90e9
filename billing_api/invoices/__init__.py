"""Invoices: usage of a period, priced, numbered without gaps, then never changed."""
