"""`/v1/tenants`."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from billing_api.accounts import service
from billing_api.accounts.models import Tenant
from billing_api.accounts.schemas import SubjectQuery, TenantIn, TenantPatch, TenantView
from billing_api.paging import page
from billing_api.unit import Work, WorkRoute
from billing_api.wire import Page, Wanted

router = APIRouter(prefix="/v1/tenants", tags=["accounts"], route_class=WorkRoute)


@router.post("", status_code=201)
async def create_tenant(body: TenantIn, unit: Work) -> TenantView:
    """Create a tenant."""
    return TenantView.model_validate(await service.create(unit, Tenant, body))


@router.get("")
async def list_tenants(unit: Work, asked: Annotated[SubjectQuery, Query()]) -> Page[TenantView]:
    """List tenants; deleted ones only with `status=deleted`."""
    rows, cursor = await page(unit.session, service.listing(Tenant, asked), Tenant.id, asked)
    return Page(data=[TenantView.model_validate(row) for row in rows], next_cursor=cursor)


@router.get("/{tenant_id}")
async def show_tenant(tenant_id: Wanted, unit: Work) -> TenantView:
    """Show a tenant."""
    return TenantView.model_validate(await service.find(unit, Tenant, tenant_id))


@router.patch("/{tenant_id}")
async def change_tenant(tenant_id: Wanted, body: TenantPatch, unit: Work) -> TenantView:
    """Change a tenant. `status: suspended` is in force at the proxies within a second of the answer."""
    return TenantView.model_validate(await service.change(unit, Tenant, tenant_id, body))


@router.delete("/{tenant_id}", status_code=204)
async def delete_tenant(tenant_id: Wanted, unit: Work) -> Response:
    """End a tenant for good: its keys are refused; its usage and invoices stay."""
    await service.remove(unit, Tenant, tenant_id)
    return Response(status_code=204)
