"""Limits of tenants, teams, users and keys, and plans: limits, models and a standing that many of them share."""
