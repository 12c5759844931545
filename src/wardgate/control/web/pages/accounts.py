"""Accounts: getting in (the command to copy, how to set a client up), and the form of an account."""

from __future__ import annotations

import shlex
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from .... import durations
from ....api.approvals import AccessRequest, AccessRequestCreate, RequestStatus
from ....api.models import Account, AccountCreate, AccountUpdate, Mechanism, Resource, TestResult
from ....api.problems import ProblemCode, ProblemError
from ...identity import Actor, Permission
from ...identity.actor import Scope
from ...paging import Paging
from ..browser import viewer
from ..forms import Filled, Form
from ..site import Site

_OFFERED = ("15m", "30m", "1h", "2h", "4h", "8h", "1d")
_USUAL = "1h"
_TEXTS = ("name", "description", "mechanism", "username", "max_duration", "idle_timeout", "max_sessions")
_FLAGS = ("require_mfa", "require_reason", "require_approval", "allow_admin")
_SHOWN = (*_TEXTS, *_FLAGS)
_BLAME = {ProblemCode.CONFLICT: "name"}
_UNTESTED = frozenset({ProblemCode.CONNECTION_TEST_FAILED, ProblemCode.GATEWAY_OFFLINE})
_MECHANISMS = (
    (Mechanism.AUTO, "Password (SCRAM, the newest that the server offers)"),
    (Mechanism.SCRAM_SHA_256, "SCRAM-SHA-256"),
    (Mechanism.SCRAM_SHA_1, "SCRAM-SHA-1"),
    (Mechanism.X509, "MONGODB-X509: a client certificate"),
    (Mechanism.PLAIN, "PLAIN: a password at an LDAP server"),
    (Mechanism.AWS, "MONGODB-AWS: an access key"),
    (Mechanism.OIDC, "MONGODB-OIDC: the gateway’s own token"),
)

_PLACE = "/projects/{project_id}/resources/{resource}"
_Reader = Annotated[Actor, Depends(viewer(Permission.ACCOUNT_DETAILS_READ, within=True))]
_Adder = Annotated[Actor, Depends(viewer(Permission.RESOURCE_ACCOUNT_CREATE, within=True))]
_Editor = Annotated[Actor, Depends(viewer(Permission.ACCOUNT_DETAILS_UPDATE, within=True))]
_Asker = Annotated[Actor, Depends(viewer(Permission.ACCOUNT_OWN_SESSION_CREATE, within=True))]


def build(site: Site) -> APIRouter:
    """The pages below a resource's accounts."""
    router = APIRouter()
    _one(router, site)
    _asking(router, site)
    _adding(router, site)
    _editing(router, site)
    return router


def _one(router: APIRouter, site: Site) -> None:
    @router.get(_PLACE + "/accounts/{account}")
    async def account_page(request: Request, project_id: str, resource: str, account: str, actor: _Reader) -> Response:
        """How to get into an account, and what it asks for."""
        return await show(site, request, actor, project_id, resource, account)

    @router.post(_PLACE + "/accounts/{account}/test")
    async def test_account_now(
        request: Request,
        project_id: str,
        resource: str,
        account: str,
        actor: Annotated[Actor, Depends(viewer(Permission.ACCOUNT_DETAILS_TEST, within=True))],
    ) -> Response:
        """Try its login as it is saved."""
        url = _url(project_id, resource, account)
        try:
            result = await site.services.accounts.test(actor, project_id, resource, account)
        except ProblemError as refused:
            return site.redirect(request, url, flash=refused.problem.detail, tone="bad")
        words = "Its login works." if result.ok else "The test failed: see which hop below."
        return site.redirect(request, url, flash=words, tone="ok" if result.ok else "bad")

    @router.post(_PLACE + "/accounts/{account}/delete")
    async def delete_account_now(
        request: Request,
        project_id: str,
        resource: str,
        account: str,
        actor: Annotated[Actor, Depends(viewer(Permission.ACCOUNT_DETAILS_DELETE, within=True))],
    ) -> Response:
        """Remove it, if its name was typed."""
        if (await Form.of(request)).text("name") != account:
            words = "Nothing was deleted: what was typed is not the account’s name."
            return site.redirect(request, _url(project_id, resource, account), flash=words, tone="warn")
        await site.services.accounts.delete(actor, project_id, resource, account)
        return site.redirect(
            request, f"/projects/{project_id}/resources/{resource}", flash=f"The account {account} is deleted."
        )


async def show(
    site: Site,
    request: Request,
    actor: Actor,
    project_id: str,
    resource: str,
    account: str,
    *,
    form: Filled | None = None,
    status: int = 200,
) -> Response:
    """The page of an account; `form` is the request for access that was refused."""
    found = await site.services.accounts.get(actor, project_id, resource, account)
    home = await _resource(site, actor, project_id, resource)
    place = Scope(project_id, found_resource_id(home), found.id)
    asked = await _newest_request(site, actor, project_id, found) if found.require_approval else None
    offered = _durations(found)
    usual = _USUAL if _USUAL in offered else offered[-1]
    facts: dict[str, Any] = {
        "account": found,
        "resource": home,
        "resource_name": resource,
        "place": place,
        "asked": asked,
        "granted": asked is not None and asked.status is RequestStatus.APPROVED,
        "durations": offered,
        "usual": usual,
        "parts": _command(site, project_id, found, usual),
        "form": form or Filled({"duration": usual, "window": "8h"}),
        "asking": form is not None,
    }
    return await site.page(request, "accounts/show.html", status=status, **facts)


def found_resource_id(home: Resource | None) -> str | None:
    """The resource's id, where the viewer may read it: who has a role on an account alone may not."""
    return None if home is None else home.id


async def _resource(site: Site, actor: Actor, project_id: str, resource: str) -> Resource | None:
    try:
        return await site.services.resources.get(actor, project_id, resource)
    except ProblemError:
        return None


async def _newest_request(site: Site, actor: Actor, project_id: str, found: Account) -> AccessRequest | None:
    """The viewer's newest request for the account that still means something."""
    page = await site.services.approvals.page(actor, project_id, Paging(limit=100), pending=False)
    now = site.services.sources.now()
    for each in page.items:
        mine = each.user == actor.email and each.resource == found.resource and each.account == found.name
        if mine and each.status is RequestStatus.PENDING:
            return each
        if mine and each.status is RequestStatus.APPROVED and each.until is not None and each.until > now:
            return each
    return None


def _durations(found: Account) -> list[str]:
    if found.max_duration is None:
        return list(_OFFERED)
    longest = durations.parse(found.max_duration, longest=timedelta(days=3650))
    shorter = [each for each in _OFFERED if durations.parse(each) < longest]
    return [*shorter, found.max_duration]


def _command(site: Site, project_id: str, found: Account, duration: str) -> dict[str, str]:
    """The words of the command, each as a shell takes it."""
    words = {
        "resource": found.resource,
        "account": found.name,
        "project": project_id,
        "duration": duration,
        "domain": site.settings.public_url,
    }
    return {name: shlex.quote(word) for name, word in words.items()}


def _asking(router: APIRouter, site: Site) -> None:
    @router.post(_PLACE + "/accounts/{account}/request")
    async def ask_for_access(request: Request, project_id: str, resource: str, account: str, actor: _Asker) -> Response:
        """Ask to be let in, where that needs somebody's approval."""
        form = await Form.of(request)
        try:
            body = form.read(AccessRequestCreate, resource=resource, account=account)
            await site.services.approvals.create(actor, project_id, body)
        except ProblemError as refused:
            filled = Filled.again(
                form, refused, ("reason", "duration", "window"), {ProblemCode.INVALID_DURATION: "duration"}
            )
            status = refused.problem.status
            return await show(site, request, actor, project_id, resource, account, form=filled, status=status)
        words = "Your request is made. This page shows when somebody has decided."
        return site.redirect(request, _url(project_id, resource, account), flash=words)


def _adding(router: APIRouter, site: Site) -> None:
    @router.get(_PLACE + "/add-account")
    async def add_account_page(request: Request, project_id: str, resource: str, actor: _Adder) -> Response:
        """The form of a new account."""
        values = {"mechanism": Mechanism.AUTO.value, "idle_timeout": "30m", "max_duration": ""}
        return await _form(site, request, actor, project_id, resource, Filled(values))

    @router.post(_PLACE + "/add-account")
    async def add_account(request: Request, project_id: str, resource: str, actor: _Adder) -> Response:
        """Save it, if its login works."""
        form = await Form.of(request)
        try:
            body = form.read(AccountCreate, **_nullable(form))
            made = await site.services.accounts.create(actor, project_id, resource, body, no_test=form.flag("no_test"))
        except ProblemError as refused:
            return await _refused(site, request, actor, project_id, resource, form, refused)
        url = f"/projects/{project_id}/resources/{resource}"
        return site.redirect(request, url, flash=_saved(made), tone="warn" if made.warnings else "ok")


def _editing(router: APIRouter, site: Site) -> None:
    @router.get(_PLACE + "/accounts/{account}/edit")
    async def edit_account_page(
        request: Request, project_id: str, resource: str, account: str, actor: _Editor
    ) -> Response:
        """The form of an account as it is."""
        found = await site.services.accounts.get(actor, project_id, resource, account)
        return await _form(site, request, actor, project_id, resource, Filled(_values(found)), found)

    @router.post(_PLACE + "/accounts/{account}/edit")
    async def edit_account(request: Request, project_id: str, resource: str, account: str, actor: _Editor) -> Response:
        """Save the changes, unless somebody else has changed it meanwhile."""
        form = await Form.of(request)
        found = await site.services.accounts.get(actor, project_id, resource, account)
        try:
            body = form.read(AccountUpdate, only=(*_changed(form, found), "if_updated_at"), **_nullable(form))
            made = await site.services.accounts.update(
                actor, project_id, resource, account, body, no_test=form.flag("no_test")
            )
        except ProblemError as refused:
            return await _refused(site, request, actor, project_id, resource, form, refused, found)
        url = _url(project_id, resource, account)
        return site.redirect(request, url, flash=_saved(made), tone="warn" if made.warnings else "ok")


def _nullable(form: Form) -> dict[str, Any]:
    """What is null when it is empty, and not left out."""
    fields = ("max_duration", "idle_timeout", "max_sessions")
    return {name: form.text(name) or None for name in fields}


def _changed(form: Form, found: Account) -> list[str]:
    """The fields to send: the login's only where they are new, for saving those has it tried again."""
    fields = ["description", *_FLAGS]
    if form.text("mechanism") != found.mechanism.value:
        fields.append("mechanism")
    if form.text("username") != found.username and form.text("mechanism") not in ("MONGODB-X509", "MONGODB-OIDC"):
        fields.append("username")
    return [*fields, *(name for name in ("password", "client_certificate") if form.raw(name))]


def _values(found: Account) -> dict[str, Any]:
    shown = found.model_dump(mode="json", include=set(_SHOWN))
    return {**shown, "if_updated_at": found.updated_at.isoformat()}


async def _form(
    site: Site,
    request: Request,
    actor: Actor,
    project_id: str,
    resource: str,
    form: Filled,
    found: Account | None = None,
    *,
    status: int = 200,
    test: TestResult | None = None,
    may_skip_test: bool = False,
    conflict: bool = False,
) -> Response:
    home = await site.services.resources.get(actor, project_id, resource)
    if found is None:
        actor.require(Permission.RESOURCE_ACCOUNT_CREATE, Scope(project_id, home.id), what=f"resource {resource}")
    else:
        actor.require(Permission.ACCOUNT_DETAILS_UPDATE, Scope(project_id, home.id, found.id))
    return await site.page(
        request,
        "accounts/form.html",
        status=status,
        form=form,
        account=found,
        resource=home,
        mechanisms=[(kind.value, label) for kind, label in _MECHANISMS],
        test=test,
        may_skip_test=may_skip_test,
        conflict=conflict,
    )


async def _refused(
    site: Site,
    request: Request,
    actor: Actor,
    project_id: str,
    resource: str,
    form: Form,
    refused: ProblemError,
    found: Account | None = None,
) -> Response:
    problem = refused.problem
    filled = Filled.again(form, refused, (*_SHOWN, "if_updated_at"), None if found else _BLAME)
    conflict = found is not None and problem.code is ProblemCode.CONFLICT
    if conflict and found is not None:
        filled = Filled({**filled.values, "if_updated_at": found.updated_at.isoformat()}, {}, problem)
    test = TestResult.model_validate(problem.context) if problem.code is ProblemCode.CONNECTION_TEST_FAILED else None
    return await _form(
        site,
        request,
        actor,
        project_id,
        resource,
        filled,
        found,
        status=problem.status,
        test=test,
        may_skip_test=problem.code in _UNTESTED,
        conflict=conflict,
    )


def _url(project_id: str, resource: str, account: str) -> str:
    return f"/projects/{project_id}/resources/{resource}/accounts/{account}"


def _saved(made: Account) -> str:
    return " ".join([f"The account {made.name} is saved.", *made.warnings])
