"""What a proxy needs to know to believe an identity provider's tokens."""

import ssl
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from contracts.settings import Settings
from proxy.oidc.rules import Algorithm


class OidcSettings(Settings):
    """Settings of OpenID Connect; without `oidc_issuer` there are keys alone."""

    oidc_issuer: str | None = Field(
        default=None,
        pattern=r"^https?://[^\s?#]+$",
        description="the identity provider whose tokens are taken in place of keys, as their `iss` says it",
    )
    oidc_audience: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), validate_default=True, description="names of this service, comma-separated; a token's `aud` has one"
    )
    oidc_algorithms: Annotated[tuple[Algorithm, ...], NoDecode] = Field(
        default=("RS256", "PS256", "ES256", "EdDSA"), min_length=1, description="signatures that are taken"
    )
    oidc_tenant_claim: str = Field(
        default="tenant", min_length=1, description="the claim with a tenant's id or external id; `a.b` looks inside a"
    )
    oidc_team_claim: str = Field(
        default="groups",
        min_length=1,
        description="the claim with ids or external ids of teams; the first known counts",
    )
    oidc_user_claim: str = Field(default="sub", min_length=1, description="the claim with a user's id or external id")
    oidc_tenant: str | None = Field(
        default=None, min_length=1, description="id or external id of the tenant whose the tokens are that name none"
    )
    oidc_unknown_users: Literal["allow", "deny"] = Field(
        default="allow",
        description="users that the tenant does not have: count them as the tenant alone, or refuse them",
    )
    oidc_leeway_seconds: int = Field(
        default=60, ge=0, le=600, description="how far the identity provider's clock may be off"
    )
    oidc_ca: Path | None = Field(
        default=None, description="PEM file that the identity provider is checked against, if not the system's"
    )

    @field_validator("oidc_audience", "oidc_algorithms", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("oidc_audience")
    @classmethod
    def _check_audience(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if info.data.get("oidc_issuer") is not None and not value:
            raise ValueError("must be set where oidc_issuer is: a token for another service is not for this one")
        return value

    @field_validator("oidc_ca")
    @classmethod
    def _check_ca(cls, value: Path | None) -> Path | None:
        if value is not None:
            try:
                ssl.create_default_context(cafile=value)
            except OSError as error:
                raise ValueError(f"cannot use {value}: {error}") from None
        return value
