"""Resources and accounts over HTTP."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query

from ...api.models import (
    Account,
    AccountCreate,
    AccountUpdate,
    DraftCheck,
    Page,
    Resource,
    ResourceCreate,
    ResourceDraft,
    ResourceUpdate,
    TestResult,
)
from ..identity import Actor, Permission, requires
from ..paging import Paging, paging
from .accounts import AccountService
from .service import Listing, ResourceService

_NoTest = Annotated[bool, Query(description="Save without a connection test.")]
_MAY_ADD = requires(Permission.PROJECT_RESOURCE_CREATE)
_Adder = Annotated[Actor, Depends(_MAY_ADD)]
_Paging = Annotated[Paging, Depends(paging)]


def build(resources: ResourceService, accounts: AccountService) -> APIRouter:
    """The routes below `/projects/{project_id}/resources`, and those of drafts."""
    router = APIRouter(prefix="/projects/{project_id}/resources")
    _resources(router, resources)
    _accounts(router, accounts)
    whole = APIRouter()
    _drafts(whole, resources)
    whole.include_router(router)
    return whole


def _drafts(router: APIRouter, resources: ResourceService) -> None:
    @router.post("/projects/{project_id}/resource-checks", tags=["resources"], dependencies=[Depends(_MAY_ADD)])
    async def check_resource(project_id: str, body: ResourceDraft) -> DraftCheck:
        """Look at a resource form without trying it."""
        return resources.drafts.check(body)

    @router.post("/projects/{project_id}/resource-tests", tags=["resources"])
    async def try_resource(project_id: str, body: ResourceDraft, actor: _Adder) -> TestResult:
        """Try every hop of a resource form without saving it."""
        return await resources.drafts.attempt(actor, project_id, body)


def _resources(router: APIRouter, resources: ResourceService) -> None:
    @router.post("", status_code=201, tags=["resources"])
    async def create_resource(
        project_id: str,
        body: ResourceCreate,
        actor: Annotated[Actor, Depends(requires(Permission.PROJECT_RESOURCE_CREATE))],
        no_test: _NoTest = False,
    ) -> Resource:
        """Save a resource whose connection test passes."""
        return await resources.create(actor, project_id, body, no_test=no_test)

    @router.get("", tags=["resources"])
    async def list_resources(
        project_id: str,
        actor: Annotated[Actor, Depends(requires(Permission.RESOURCE_DETAILS_READ, within=True))],
        page: _Paging,
        q: Annotated[str, Query(max_length=200, description="In the name, the connection string or the gateway.")] = "",
        sort: Annotated[Literal["created", "name"], Query()] = "created",
    ) -> Page[Resource]:
        """The resources that you see."""
        return await resources.list_visible(actor, project_id, page, Listing(q.strip(), sort == "name"))

    @router.get("/{resource}", tags=["resources"])
    async def get_resource(
        project_id: str,
        resource: str,
        actor: Annotated[Actor, Depends(requires(Permission.RESOURCE_DETAILS_READ, within=True))],
    ) -> Resource:
        """One resource."""
        return await resources.get(actor, project_id, resource)

    @router.patch("/{resource}", tags=["resources"])
    async def update_resource(
        project_id: str,
        resource: str,
        body: ResourceUpdate,
        actor: Annotated[Actor, Depends(requires(Permission.RESOURCE_DETAILS_UPDATE, within=True))],
        no_test: _NoTest = False,
    ) -> Resource:
        """Change a resource whose connection test still passes."""
        return await resources.update(actor, project_id, resource, body, no_test=no_test)

    @router.delete("/{resource}", status_code=204, tags=["resources"])
    async def delete_resource(
        project_id: str,
        resource: str,
        actor: Annotated[Actor, Depends(requires(Permission.RESOURCE_DETAILS_DELETE, within=True))],
    ) -> None:
        """Remove a resource and its accounts."""
        await resources.delete(actor, project_id, resource)

    @router.post("/{resource}/test", tags=["resources"])
    async def test_resource(
        project_id: str,
        resource: str,
        actor: Annotated[Actor, Depends(requires(Permission.RESOURCE_DETAILS_TEST, within=True))],
    ) -> TestResult:
        """Try every hop to a resource."""
        return await resources.test(actor, project_id, resource)


def _accounts(router: APIRouter, accounts: AccountService) -> None:
    @router.post("/{resource}/accounts", status_code=201, tags=["accounts"])
    async def create_account(
        project_id: str,
        resource: str,
        body: AccountCreate,
        actor: Annotated[Actor, Depends(requires(Permission.RESOURCE_ACCOUNT_CREATE, within=True))],
        no_test: _NoTest = False,
    ) -> Account:
        """Save an account whose login works."""
        return await accounts.create(actor, project_id, resource, body, no_test=no_test)

    @router.get("/{resource}/accounts", tags=["accounts"])
    async def list_accounts(
        project_id: str,
        resource: str,
        actor: Annotated[Actor, Depends(requires(Permission.ACCOUNT_DETAILS_READ, within=True))],
        page: _Paging,
    ) -> Page[Account]:
        """The accounts that you see."""
        return await accounts.list_visible(actor, project_id, resource, page)

    @router.get("/{resource}/accounts/{account}", tags=["accounts"])
    async def get_account(
        project_id: str,
        resource: str,
        account: str,
        actor: Annotated[Actor, Depends(requires(Permission.ACCOUNT_DETAILS_READ, within=True))],
    ) -> Account:
        """One account."""
        return await accounts.get(actor, project_id, resource, account)

    @router.patch("/{resource}/accounts/{account}", tags=["accounts"])
    async def update_account(
        project_id: str,
        resource: str,
        account: str,
        body: AccountUpdate,
        actor: Annotated[Actor, Depends(requires(Permission.ACCOUNT_DETAILS_UPDATE, within=True))],
        no_test: _NoTest = False,
    ) -> Account:
        """Change an account."""
        return await accounts.update(actor, project_id, resource, account, body, no_test=no_test)

    @router.delete("/{resource}/accounts/{account}", status_code=204, tags=["accounts"])
    async def delete_account(
        project_id: str,
        resource: str,
        account: str,
        actor: Annotated[Actor, Depends(requires(Permission.ACCOUNT_DETAILS_DELETE, within=True))],
    ) -> None:
        """Remove an account."""
        await accounts.delete(actor, project_id, resource, account)

    @router.post("/{resource}/accounts/{account}/test", tags=["accounts"])
    async def test_account(
        project_id: str,
        resource: str,
        account: str,
        actor: Annotated[Actor, Depends(requires(Permission.ACCOUNT_DETAILS_TEST, within=True))],
    ) -> TestResult:
        """Try every hop and the login of an account."""
        return await accounts.test(actor, project_id, resource, account)
