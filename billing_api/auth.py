"""Who is asking. So far one admin, by the token of the settings; roles come with tokens of their own."""

import hmac
from typing import Final

from fastapi import Request
from fastapi.security import HTTPBearer

from billing_api.errors import Problem
from billing_api.settings import ApiSettings

ADMIN: Final = "admin"
documented = HTTPBearer(auto_error=False, description="The admin token (`WEIGHBRIDGE_API_TOKEN`).")
"""Declares the scheme in OpenAPI; `authenticate` does the check, before anything else happens."""


def authenticate(request: Request, settings: ApiSettings) -> str:
    """Return the name under which the caller acts; raises a 401 problem."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    expected = settings.api_token.get_secret_value().encode()
    given = token.strip().encode("utf-8", "surrogateescape")
    if scheme.lower() != "bearer" or not hmac.compare_digest(given, expected):
        raise Problem(
            401, "invalid_token", "send the admin token as `Authorization: Bearer …`", {"www-authenticate": "Bearer"}
        )
    return ADMIN
