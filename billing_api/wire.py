"""The JSON vocabulary of the API: strict types that refuse floats, unknown fields and text that a database cannot hold."""

import re
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Generic, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fastapi import Path
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictInt,
    StrictStr,
    StringConstraints,
    WithJsonSchema,
)

from contracts import money

_RFC3339: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_UNPRINTABLE: Final = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_YEARS: Final = range(1971, 2105)  # what ClickHouse's DateTime holds, with a year to spare for zones


_ID: Final = r"^[a-z]{1,8}_[0-9a-z]{1,64}$"
_CURRENCY: Final = r"^[A-Z]{3}$"
_TAG: Final = r"^[A-Za-z0-9_.-]{1,64}$"
KEY_FORM: Final = r"^[\x21-\x7e]{16,512}$"
MONTH: Final = r"^20\d\d-(0[1-9]|1[0-2])$"
FORMS: Final = {
    _ID: "give an id, such as ten_01j2…",
    _CURRENCY: "give an ISO 4217 code, such as EUR",
    _TAG: "the name of a tag has 1 to 64 letters, digits, dots, dashes and underscores",
    KEY_FORM: "a key has 16 to 512 printable ASCII characters and no spaces",
    MONTH: "give a month, such as 2026-11",
}
"""What each pattern asks for, in words: patterns are for programs."""


class Body(BaseModel):
    """A request's body. A field that we do not know is a mistake, not something to ignore."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class View(BaseModel):
    """An answer, read from a row's attributes."""

    model_config = ConfigDict(from_attributes=True, frozen=True)


T = TypeVar("T")


class Page(BaseModel, Generic[T]):
    """A part of a list; `next_cursor` fetches the next, null: this is the last."""

    data: list[T]
    next_cursor: str | None


def _printable(text: str) -> str:
    if _UNPRINTABLE.search(text):
        raise ValueError("control characters are not allowed")
    return text


def _moment(value: Any) -> Any:
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or not _RFC3339.fullmatch(value) or int(value[:4]) not in _YEARS:
        raise ValueError("a time is RFC 3339, such as 2026-11-01T00:00:00Z")
    return value


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError("no time zone of the IANA database, such as Europe/Berlin") from None
    return name


def _currency(code: str) -> str:
    money.minor_digits(code)
    return code


def _amount(value: Any) -> Decimal:
    if isinstance(value, Decimal):
        return value
    if not isinstance(value, str):
        raise ValueError("an amount is a decimal string such as '0.50'")  # noqa: TRY004  # pydantic wants ValueError
    return money.parse(value)


_AMOUNT_SCHEMA: Final = {"type": "string", "pattern": r"^-?\d+(\.\d+)?$", "examples": ["0.50"]}

Text = Annotated[StrictStr, StringConstraints(max_length=1024), AfterValidator(_printable)]
Name = Annotated[StrictStr, StringConstraints(min_length=1, max_length=200), AfterValidator(_printable)]
Id = Annotated[StrictStr, StringConstraints(pattern=_ID)]
Wanted = Annotated[str, Path(max_length=512), AfterValidator(_printable)]
"""An id in a path: anything that can be looked for."""

Count = Annotated[StrictInt, Field(ge=0, le=10**15)]
Moment = Annotated[AwareDatetime, BeforeValidator(_moment), AfterValidator(lambda moment: moment.astimezone(UTC))]
Zone = Annotated[StrictStr, StringConstraints(max_length=64), AfterValidator(_zone)]
Currency = Annotated[StrictStr, StringConstraints(pattern=_CURRENCY), AfterValidator(_currency)]
Tags = Annotated[
    dict[
        Annotated[StrictStr, StringConstraints(pattern=_TAG)],
        Annotated[StrictStr, StringConstraints(max_length=256), AfterValidator(_printable)],
    ],
    Field(max_length=16),
]
Amount = Annotated[
    Decimal,
    BeforeValidator(_amount),
    PlainSerializer(money.render, return_type=str, when_used="json"),
    WithJsonSchema(_AMOUNT_SCHEMA),
]
Precise = Annotated[
    Decimal,
    BeforeValidator(_amount),
    PlainSerializer(money.precise, return_type=str, when_used="json"),
    WithJsonSchema(_AMOUNT_SCHEMA),
]
