"""Settings: flags, then `WEIGHBRIDGE_…` environment variables, then `weighbridge.toml`. Read once, when a service starts.

A service composes its own class from the groups below and reads it with `load`, which turns every mistake into one
`SettingsError` that names the setting. Secrets are `SecretStr`: they print as stars. A key of the file that is a setting of no
service stops the start, too.
"""

import os
import tomllib
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from contracts import spelling

ENV_PREFIX: Final = spelling.PREFIX
CONFIG_FILE_VARIABLE: Final = "WEIGHBRIDGE_CONFIG"
CONFIG_FILE: Final = "weighbridge.toml"


class SettingsError(Exception):
    """A setting is missing or wrong; the message names it and says what to do. Exit status 2."""


class Settings(BaseSettings):
    """What every service has."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="ignore", frozen=True)

    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags win, then the environment, then the file."""
        file = Path(os.environ.get(CONFIG_FILE_VARIABLE, CONFIG_FILE))
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=file)


class KafkaSettings(Settings):
    """How to reach Kafka."""

    kafka_bootstrap_servers: str = Field(
        default="127.0.0.1:9092",
        pattern=r"^[^\s,:]+:\d+(\s*,\s*[^\s,:]+:\d+)*$",
        description="host:port of brokers, comma-separated",
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    kafka_sasl_username: str | None = None
    kafka_sasl_password: SecretStr | None = None
    kafka_ssl_cafile: Path | None = Field(default=None, description="CA certificates, if not the system's")
    kafka_ssl_certfile: Path | None = None
    kafka_ssl_keyfile: Path | None = None


class RedisSettings(Settings):
    """How to reach Redis or Valkey."""

    redis_url: str = Field(default="redis://127.0.0.1:6379/0", pattern=r"^(rediss?|unix)://")


class ClickHouseSettings(Settings):
    """How to reach ClickHouse over HTTP."""

    clickhouse_url: str = Field(
        default="http://127.0.0.1:8123",
        pattern=r"^https?://",
        description="http(s)://user:password@host:port; the database is always `weighbridge`",
    )


class DatabaseSettings(Settings):
    """How to reach the SQL database of tenants, keys, prices and invoices."""

    database_url: str = Field(
        default="sqlite+aiosqlite:///weighbridge.db",
        pattern=r"^(postgresql(\+asyncpg)?|sqlite(\+aiosqlite)?)://",
        description="postgresql://… or sqlite:///FILE",
    )


class PepperSettings(Settings):
    """The installation's secret under which API keys are stored; the same for the API and every proxy."""

    key_pepper: SecretStr = Field(min_length=16, description="any secret of 16 characters or more; never change it")


S = TypeVar("S", bound=Settings)


def load(settings: type[S], **flags: Any) -> S:
    """Read the settings of a service; flags that are None were not given.

    Raises SettingsError with one line for each wrong setting.
    """
    named = os.environ.get(CONFIG_FILE_VARIABLE)
    if named is not None and not Path(named).is_file():
        raise SettingsError(f"{CONFIG_FILE_VARIABLE}: there is no file {named}")
    file = Path(named or CONFIG_FILE)
    try:
        misspelt = list(spelling.keys(str(file), tomllib.loads(file.read_text())) if file.is_file() else ())
        if misspelt:
            raise SettingsError("; ".join(misspelt))
        return settings(**{name: value for name, value in flags.items() if value is not None})
    except ValidationError as error:
        lines = [_explain(settings, details["loc"], details["msg"], details["type"]) for details in error.errors()]
        raise SettingsError("; ".join(lines)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{named or CONFIG_FILE} is no TOML: {error}") from None


def _explain(settings: type[Settings], location: tuple[int | str, ...], message: str, kind: str) -> str:
    name = str(location[0]) if location else "settings"
    variable = ENV_PREFIX + name.upper()
    field = settings.model_fields.get(name)
    hint = f" ({field.description})" if field is not None and field.description else ""
    if kind == "missing":
        return f"{variable} is not set{hint}: set it in the environment or as {name} in {CONFIG_FILE}"
    if kind == "string_pattern_mismatch" and field is not None:  # a pattern is for programs, words are for people
        return f"{variable}: not of the right form{hint or f'; such as {field.default}'}"
    return f"{variable}: {message[:1].lower()}{message[1:]}{hint}"
