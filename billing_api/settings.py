"""What the billing API needs to know to start."""

from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import NoDecode

from contracts.settings import ClickHouseSettings, DatabaseSettings, PepperSettings, RedisSettings


class ApiSettings(DatabaseSettings, RedisSettings, ClickHouseSettings, PepperSettings):
    """Settings of `weighbridge api`."""

    api_token: SecretStr = Field(min_length=16, description="token of the first admin, 16 characters or more")
    api_listen: str = Field(
        default="127.0.0.1:8090",
        pattern=r"^(\[[0-9a-fA-F:.]+\]|[^:\[\]]+):\d{1,5}$",
        description="HOST:PORT to listen on (--listen)",
    )

    free_paths: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="as proxies have it: further paths that a key's `endpoints` may name"
    )

    @field_validator("free_paths", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("api_listen")
    @classmethod
    def _real_port(cls, value: str) -> str:
        if int(value.rpartition(":")[2]) > 65535:
            raise ValueError("a port is at most 65535")
        return value

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of `api_listen`."""
        host, _, port = self.api_listen.rpartition(":")
        return host.strip("[]"), int(port)
