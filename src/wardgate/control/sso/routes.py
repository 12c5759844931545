"""Providers of single sign-on, and the rule on passwords, over HTTP. Signing in by one is a matter of pages."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from ...api.models import Page
from ...api.sso import (
    SsoPolicy,
    SsoPolicyUpdate,
    SsoProvider,
    SsoProviderCreate,
    SsoProviderUpdate,
    SsoTest,
)
from ..identity import Actor, Permission, requires
from .providers import ProviderService

_Reader = Annotated[Actor, Depends(requires(Permission.ORGANISATION_SETTINGS_READ))]
_Changer = Annotated[Actor, Depends(requires(Permission.ORGANISATION_SETTINGS_UPDATE))]


def build(providers: ProviderService) -> APIRouter:
    """The routes below `/sso`."""
    router = APIRouter(prefix="/sso", tags=["sso"])
    _providers(router, providers)

    @router.get("/policy")
    async def get_sso_policy(actor: _Reader) -> SsoPolicy:
        """The organisation's rule on passwords."""
        return await providers.policy()

    @router.put("/policy")
    async def set_sso_policy(body: SsoPolicyUpdate, actor: _Changer) -> SsoPolicy:
        """Change it."""
        return await providers.set_policy(actor, SsoPolicy(passwords_off=body.passwords_off))

    return router


def _providers(router: APIRouter, providers: ProviderService) -> None:
    @router.post("/providers", status_code=201)
    async def create_sso_provider(body: SsoProviderCreate, actor: _Changer, no_test: bool = False) -> SsoProvider:
        """Add a provider, once it has answered."""
        return await providers.create(actor, body, test=not no_test)

    @router.get("/providers")
    async def list_sso_providers(actor: _Reader) -> Page[SsoProvider]:
        """All providers."""
        return Page[SsoProvider](items=await providers.list_all())

    @router.get("/providers/{provider}")
    async def get_sso_provider(provider: str, actor: _Reader) -> SsoProvider:
        """One provider, by name or id."""
        return await providers.get(provider)

    @router.patch("/providers/{provider}")
    async def update_sso_provider(
        provider: str, body: SsoProviderUpdate, actor: _Changer, no_test: bool = False
    ) -> SsoProvider:
        """Change a provider."""
        return await providers.update(actor, provider, body, test=not no_test)

    @router.delete("/providers/{provider}", status_code=204)
    async def delete_sso_provider(provider: str, actor: _Changer) -> None:
        """Take a provider away; whoever signed in by it is signed out."""
        await providers.delete(actor, provider)

    @router.post("/providers/{provider}/test")
    async def test_sso_provider(provider: str, actor: _Changer) -> SsoTest:
        """Ask the provider what it is."""
        return await providers.test(provider)
