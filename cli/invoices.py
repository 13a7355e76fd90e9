"""`weighbridge invoice`."""

import re
from pathlib import Path
from typing import Annotated, Final

import typer

from cli.api_command import Answer, From, MaybeTenant, Most, Rows, Tenant, To, api_command, given, group
from cli.client import Api, Json
from cli.errors import CommandError
from cli.periods import moment

invoice: Final = group("invoice", "Invoices.")

COLUMNS: Final = ("id", "number", "status", "tenant", "period_from", "period_to", "total", "currency", "finalized_at")
InvoiceId = Annotated[str, typer.Argument(metavar="ID", help="Id of the invoice (inv_…).")]
Month = Annotated[str | None, typer.Option("--period", help="A month in the tenant's time zone, such as 2026-11.")]


@api_command(invoice, "preview")
def preview(api: Api, tenant: Tenant, period: Month = None, start: From = None, end: To = None) -> Answer:
    """Say what an invoice would be now; nothing is stored.

    Example: weighbridge invoice preview --tenant ten_01j… --period 2026-11
    """
    return api.post("/v1/invoices/preview", _window(tenant, period, start, end))


@api_command(invoice, "create")
def create(api: Api, tenant: Tenant, period: Month = None, start: From = None, end: To = None) -> Answer:
    """Create the draft of a tenant's invoice, or calculate it anew.

    Example: weighbridge invoice create --tenant ten_01j… --period 2026-11
    """
    return api.post("/v1/invoices", _window(tenant, period, start, end))


@api_command(invoice, "list")
def list_invoices(
    api: Api,
    tenant: MaybeTenant = None,
    status: Annotated[str | None, typer.Option(help="draft, finalized or void.")] = None,
    most: Most = 1000,
) -> Answer:
    """List invoices.

    Example: weighbridge invoice list --status draft
    """
    return Rows(api.all("/v1/invoices", most, tenant=tenant, status=status), COLUMNS)


@api_command(invoice, "show")
def show(api: Api, wanted: InvoiceId) -> Answer:
    """Show an invoice with its lines.

    Example: weighbridge invoice show inv_01j…
    """
    return api.get(f"/v1/invoices/{wanted}")


@api_command(invoice, "finalize")
def finalize(
    api: Api,
    wanted: InvoiceId,
    accept_missing: Annotated[
        bool, typer.Option(help="Also when the ledger knows to lack events; they stay unbilled.")
    ] = False,
) -> Answer:
    """Close an invoice: it gets its number and never changes again.

    Example: weighbridge invoice finalize inv_01j…
    """
    return api.post(f"/v1/invoices/{wanted}/finalize", {"accept_missing": accept_missing})


@api_command(invoice, "void")
def void(api: Api, wanted: InvoiceId) -> Answer:
    """Take an invoice back; its number stays used.

    Example: weighbridge invoice void inv_01j…
    """
    return api.post(f"/v1/invoices/{wanted}/void")


@api_command(invoice, "download")
def download(
    api: Api,
    wanted: InvoiceId,
    file: Annotated[Path, typer.Argument(help="Where to; its ending (.csv or .json) is the format.")],
) -> Answer:
    """Save an invoice as a file.

    Example: weighbridge invoice download inv_01j… november.csv
    """
    if file.suffix not in (".csv", ".json"):
        raise CommandError(f"{file}: end the name in .csv or .json", 2)
    content = api.download(f"/v1/invoices/{wanted}{file.suffix}")
    try:
        file.write_bytes(content)
    except OSError as error:
        raise CommandError(f"{file} cannot be written: {error.strerror}", 2) from error
    return {"saved": str(file), "bytes": len(content)}


def _window(tenant: str, period: str | None, start: str | None, end: str | None) -> Json:
    if (period is None) == (start is None or end is None):
        raise CommandError("give --period 2026-11, or --from and --to", 2)
    if period is not None and re.fullmatch("20[0-9]{2}-(0[1-9]|1[0-2])", period) is None:
        raise CommandError(f"--period {period}: give a month as YYYY-MM, such as 2026-11", 2)
    times = {"from": None if start is None else moment(start), "to": None if end is None else moment(end)}
    return {"tenant": tenant, **given(period=period, **times)}
