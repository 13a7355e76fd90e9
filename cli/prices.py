"""`weighbridge price`: price books."""

from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

import msgspec
import typer

from cli.api_command import Answer, MaybeTenant, Most, Rows, api_command, check_currency, given, group
from cli.client import Api, Json
from cli.errors import CommandError
from cli.periods import moment
from contracts.clock import rfc3339, utc_now

price: Final = group("price", "Price books: what tokens cost.")

COLUMNS: Final = ("id", "name", "currency", "tenant", "effective_from", "effective_to", "prices")
MILLION: Final = 1_000_000
BookId = Annotated[str, typer.Argument(metavar="ID", help="Id of the price book (pb_…).")]
Amount = Annotated[str | None, typer.Option(help="Price of a million, such as 0.50.")]


@api_command(price, "create")
def create(
    api: Api,
    name: Annotated[str, typer.Argument(help="A name for people.")],
    *,
    currency: Annotated[str, typer.Option(help="Such as EUR.", callback=check_currency)] = "EUR",
    model: Annotated[str, typer.Option(help="The model; `*`: every model without a price of its own.")] = "*",
    input_tokens: Amount = None,
    cached_tokens: Amount = None,
    output_tokens: Amount = None,
    reasoning_tokens: Amount = None,
    file: Annotated[Path | None, typer.Option(help="A JSON file with `prices` instead of the flags.")] = None,
    effective_from: Annotated[str | None, typer.Option(help="When it comes into force. Default: now.")] = None,
    tenant: MaybeTenant = None,
) -> Answer:
    """Create a price book. Once in force, it does not change any more.

    Example: weighbridge price create 2026 --input-tokens 0.50 --output-tokens 1.50
    """
    flags = {
        "input_tokens": input_tokens,
        "cache_read_input_tokens": cached_tokens,
        "output_tokens": output_tokens,
        "reasoning_output_tokens": reasoning_tokens,
    }
    flat = [
        {"model": model, "meter": meter, "pricing": "flat", "per": MILLION, "price": amount}
        for meter, amount in flags.items()
        if amount is not None
    ]
    if bool(flat) == (file is not None):
        raise CommandError("give prices: with --input-tokens and --output-tokens, or with --file", 2)
    start = rfc3339(utc_now()) if effective_from is None else moment(effective_from)
    body = {"name": name, "currency": currency, "effective_from": start, **given(tenant=tenant)}
    made = api.post("/v1/price-books", body | ({"prices": flat} if file is None else _read(file)))
    if effective_from is not None and datetime.fromisoformat(start) < utc_now():
        typer.echo(
            f"warning: {start} is past: usage since then is priced anew, and this book replaces the former one from then on",
            err=True,
        )
    return made


@api_command(price, "list")
def list_books(api: Api, tenant: MaybeTenant = None, most: Most = 1000) -> Answer:
    """List price books.

    Example: weighbridge price list
    """
    rows = api.all("/v1/price-books", most, tenant=tenant)
    return Rows(rows, COLUMNS[:-1])


@api_command(price, "show")
def show(api: Api, wanted: BookId) -> Answer:
    """Show the prices of a book.

    Example: weighbridge price show pb_01j…
    """
    return Rows(api.all(f"/v1/price-books/{wanted}/prices"), ("id", "model", "meter", "pricing", "per", "price"))


def _read(file: Path) -> Json:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Json)
    except (OSError, msgspec.DecodeError) as error:
        raise CommandError(f"--file {file} cannot be read: {error}", 2) from error
