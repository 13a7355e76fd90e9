"""Tokens of an identity provider (OpenID Connect) in place of API keys."""
