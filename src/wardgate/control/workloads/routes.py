"""Services over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from ...api.models import Page
from ...api.workloads import (
    SecretCreate,
    SecretCreated,
    Service,
    ServiceCreate,
    ServiceDetails,
    ServiceToken,
    ServiceTokenRequest,
    ServiceUpdate,
    Trust,
    TrustCreate,
)
from ..identity import Actor, Permission, requires
from ..identity.guard import cause_of
from ..paging import Paging, paging
from .exchange import TokenExchange
from .service import WorkloadService

_Updater = Annotated[Actor, Depends(requires(Permission.ORGANISATION_SERVICE_UPDATE))]
_READS = [Depends(requires(Permission.ORGANISATION_SERVICE_READ))]


def build(workloads: WorkloadService, exchange: TokenExchange) -> APIRouter:
    """The routes below `/services`, and the exchange of their credentials for tokens."""
    router = APIRouter(tags=["services"])

    @router.post("/auth/service-token")
    async def create_service_token(body: ServiceTokenRequest, request: Request) -> ServiceToken:
        """Exchange a client secret or a signed workload token for a short token."""
        return await exchange.exchange(body, cause_of(request))

    _services(router, workloads)
    _credentials(router, workloads)
    return router


def _services(router: APIRouter, workloads: WorkloadService) -> None:
    @router.post("/services", status_code=201)
    async def create_service(
        body: ServiceCreate, actor: Annotated[Actor, Depends(requires(Permission.ORGANISATION_SERVICE_CREATE))]
    ) -> ServiceDetails:
        """Make a service, which has no role and no credential yet."""
        return await workloads.create(actor, body)

    @router.get("/services", dependencies=_READS)
    async def list_services(page: Annotated[Paging, Depends(paging)]) -> Page[Service]:
        """All services and their roles."""
        return await workloads.page(page)

    @router.get("/services/{service}", dependencies=_READS)
    async def get_service(service: str) -> ServiceDetails:
        """One service, by id or name, with its credentials."""
        return await workloads.get(service)

    @router.patch("/services/{service}")
    async def update_service(service: str, body: ServiceUpdate, actor: _Updater) -> ServiceDetails:
        """Change the fields that are given; what it loses ends at once."""
        return await workloads.update(actor, service, body)

    @router.delete("/services/{service}", status_code=204)
    async def delete_service(
        service: str, actor: Annotated[Actor, Depends(requires(Permission.ORGANISATION_SERVICE_DELETE))]
    ) -> None:
        """Remove a service; its sessions end, their records stay."""
        await workloads.delete(actor, service)

    @router.post("/services/{service}/disable")
    async def disable_service(service: str, actor: _Updater) -> ServiceDetails:
        """Keep a service out; its tokens and sessions end."""
        return await workloads.disable(actor, service)

    @router.post("/services/{service}/enable")
    async def enable_service(service: str, actor: _Updater) -> ServiceDetails:
        """Let a disabled service in again."""
        return await workloads.enable(actor, service)


def _credentials(router: APIRouter, workloads: WorkloadService) -> None:
    @router.post("/services/{service}/secrets", status_code=201)
    async def create_service_secret(service: str, body: SecretCreate, actor: _Updater) -> SecretCreated:
        """Make a further client secret, which is shown this once."""
        return await workloads.create_secret(actor, service, body)

    @router.delete("/services/{service}/secrets/{secret}", status_code=204)
    async def revoke_service_secret(service: str, secret: str, actor: _Updater) -> None:
        """Take a client secret back; its tokens and sessions end."""
        await workloads.revoke_secret(actor, service, secret)

    @router.post("/services/{service}/trusts", status_code=201)
    async def add_service_trust(service: str, body: TrustCreate, actor: _Updater) -> Trust:
        """Take an issuer's signed tokens as this service's, where they say what is asked for."""
        return await workloads.add_trust(actor, service, body)

    @router.delete("/services/{service}/trusts/{trust}", status_code=204)
    async def remove_service_trust(service: str, trust: str, actor: _Updater) -> None:
        """Take no more of an issuer's tokens; sessions that stood on them end."""
        await workloads.remove_trust(actor, service, trust)
