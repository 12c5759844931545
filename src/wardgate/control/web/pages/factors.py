"""One's own second factors: which there are, setting them up, and taking them away.

Whoever changes one shows one first: the page asks for it (`_Proving`), with a passkey or with a code, and the form
brings the answer together with the change.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import segno
from fastapi import APIRouter, Depends, Request, Response

from ....api.mfa import (
    ChangeRequest,
    CodeRequest,
    FactorChange,
    MfaChallenge,
    MfaKind,
    MfaMethod,
    MfaStatus,
    PasskeyAddition,
    PasskeyRename,
    Proof,
    SetUpRequest,
)
from ....api.problems import ProblemCode, ProblemError
from ....api.webauthn import PasskeyAssertion, PasskeyCredential
from ....secret import Secret
from ...identity import Actor, Permission
from ...identity.actor import not_found
from ...mfa.changes import who
from .. import passkeys
from ..browser import viewer
from ..forms import Filled, Form
from ..site import Site

_Reader = Annotated[Actor, Depends(viewer(Permission.SELF_IDENTITY_READ))]
_Changer = Annotated[Actor, Depends(viewer(Permission.SELF_MFA_UPDATE))]
_HERE = "/factors"
_BLAME = {ProblemCode.INVALID_CREDENTIALS: "password", ProblemCode.MFA_CODE_WRONG: "code"}
Change = Callable[[Form, Proof], Awaitable[Response]]


def build(site: Site) -> APIRouter:
    """Everything below `/factors`."""
    router = APIRouter()
    _list(router, site)
    _passkeys(router, site)
    _app(router, site)
    _others(router, site)
    return router


# --- asking for the present factor ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Proving:
    """The page that asks for what a change needs: the password, the present factor, or both."""

    site: Site
    actor: Actor
    change: FactorChange
    action: str
    title: str
    button: str
    method: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    async def show(self, request: Request, form: Filled | None = None) -> Response:
        """The page; each showing asks a question of its own."""
        status = await self.site.services.mfa.status(self.actor)
        form = form or Filled()
        return await self.site.page(
            request,
            "factors/prove.html",
            form=form,
            proving=self,
            factors=status,
            challenge=await self._challenge(status),
            asks_password=self._sets_up and status.has_password,
            status=200 if form.problem is None else form.problem.status,
            **passkeys.facts(self.site, request),
        )

    @property
    def _sets_up(self) -> bool:
        return self.change in (FactorChange.ADD_PASSKEY, FactorChange.ADD_TOTP)

    async def _challenge(self, status: MfaStatus) -> MfaChallenge | None:
        if not any(each.kind is MfaKind.PASSKEY for each in status.methods):
            return None  # a code is judged together with the change
        wanted = ChangeRequest(change=self.change, method=self.method)
        return await self.site.services.factor_changes.challenge(self.actor, wanted)

    async def answered(self, request: Request, change: Change) -> Response:
        """Make the change with what the form brings; the page once more where that is refused."""
        form = await Form.of(request)
        try:
            return await change(form, await self._proof(form))
        except ProblemError as refused:
            return await self.show(request, Filled.again(form, refused, (), _BLAME))

    async def _proof(self, form: Form) -> Proof:
        signed = passkeys.answer_in(form, PasskeyAssertion)
        if signed is None:
            return form.read(Proof, only=("code",))
        challenge = form.text("challenge_id")[:64]
        await self.site.services.verification.verify(who(self.actor), challenge, signed)
        return Proof(challenge_id=challenge)


def _set_up(form: Form, proof: Proof) -> SetUpRequest:
    given: dict[str, Any] = {name: getattr(proof, name) for name in proof.model_fields_set}
    return form.read(SetUpRequest, only=("password",), **given)


# --- the list ---------------------------------------------------------------------------------------------------------


def _list(router: APIRouter, site: Site) -> None:
    @router.get(_HERE)
    async def factors_page(request: Request, actor: _Reader) -> Response:
        """Which there are."""
        status = await site.services.mfa.status(actor)
        return await site.page(request, "factors/list.html", factors=status, **passkeys.facts(site, request))


async def _method(site: Site, actor: Actor, method: str) -> MfaMethod:
    status = await site.services.mfa.status(actor)
    found = next((each for each in status.methods if each.id == method), None)
    if found is None:
        raise not_found(f"second factor {method[:64]} of yours")
    return found


# --- passkeys ---------------------------------------------------------------------------------------------------------


def _passkeys(router: APIRouter, site: Site) -> None:
    enrolment = site.services.passkey_enrolment

    def proving(actor: Actor) -> _Proving:
        place = f"{_HERE}/add-passkey"
        return _Proving(site, actor, FactorChange.ADD_PASSKEY, place, "Add a passkey", "Go on")

    @router.get("/factors/add-passkey")
    async def add_passkey_page(request: Request, actor: _Changer) -> Response:
        """Ask for what setting a passkey up needs."""
        return await proving(actor).show(request)

    @router.post("/factors/add-passkey")
    async def begin_passkey_page(request: Request, actor: _Changer) -> Response:
        """Have the browser make one."""

        async def begin(form: Form, proof: Proof) -> Response:
            begun = await enrolment.begin(actor, _set_up(form, proof))
            name = f"Passkey {len((await site.services.mfa.status(actor)).methods) + 1}"
            return await site.page(request, "factors/make.html", begun=begun, form=Filled({"name": name}))

        return await proving(actor).answered(request, begin)

    @router.post("/factors/passkeys")
    async def keep_passkey(request: Request, actor: _Changer) -> Response:
        """Keep the one that was made."""
        form = await Form.of(request)
        try:
            made = passkeys.answer_in(form, PasskeyCredential)
            if made is None:
                return site.redirect(request, f"{_HERE}/add-passkey")
            added = await enrolment.finish(actor, form.read(PasskeyAddition, only=("id", "name"), credential=made))
        except ProblemError as refused:
            return site.redirect(request, f"{_HERE}/add-passkey", flash=refused.message, tone="bad")
        if added.recovery_codes:
            return await site.page(request, "factors/codes.html", codes=added.recovery_codes)
        return site.redirect(request, _HERE, flash=f"The passkey {added.method.name} is set up.")

    @router.post("/factors/{method}/rename")
    async def rename_passkey(request: Request, method: str, actor: _Changer) -> Response:
        """Call it something else."""
        form = await Form.of(request)
        try:
            named = await enrolment.rename(actor, method, form.read(PasskeyRename).name)
        except ProblemError as refused:
            if refused.problem.code is ProblemCode.NOT_FOUND:
                raise
            return site.redirect(request, _HERE, flash=refused.message, tone="bad")
        return site.redirect(request, _HERE, flash=f"It is called {named.name} now.")


# --- an authenticator app ---------------------------------------------------------------------------------------------


def _app(router: APIRouter, site: Site) -> None:
    mfa = site.services.mfa

    def proving(actor: Actor) -> _Proving:
        title = "Set an authenticator app up"
        return _Proving(site, actor, FactorChange.ADD_TOTP, f"{_HERE}/add-app", title, "Go on")

    @router.get("/factors/add-app")
    async def add_app_page(request: Request, actor: _Changer) -> Response:
        """Ask for what setting an app up needs."""
        return await proving(actor).show(request)

    @router.post("/factors/add-app")
    async def begin_app_page(request: Request, actor: _Changer) -> Response:
        """Show the secret, and ask for its first code."""

        async def begin(form: Form, proof: Proof) -> Response:
            begun = await mfa.begin_totp(actor, _set_up(form, proof))
            facts: dict[str, Any] = {"id": begun.id, "secret": begun.secret, "picture": _picture(begun.uri)}
            return await site.page(request, "factors/app.html", form=Filled(), **facts)

        return await proving(actor).answered(request, begin)

    @router.post("/factors/apps/{method}")
    async def confirm_app(request: Request, method: str, actor: _Changer) -> Response:
        """The app's first code."""
        form = await Form.of(request)
        try:
            code = Secret(form.read(CodeRequest).code.get_secret_value())
            made = await mfa.confirm_totp(actor, method, code)
        except ProblemError as refused:
            if refused.problem.code is ProblemCode.NOT_FOUND:
                raise
            filled = Filled.again(form, refused, (), {ProblemCode.MFA_CODE_WRONG: "code"})
            facts: dict[str, Any] = {"id": method, "secret": None, "picture": None}
            status = refused.problem.status
            return await site.page(request, "factors/app.html", form=filled, status=status, **facts)
        return await site.page(request, "factors/codes.html", codes=made.codes)


def _picture(uri: str) -> str:
    return segno.make(uri, error="m").svg_data_uri(scale=5, border=2)


# --- recovery codes, and taking away ----------------------------------------------------------------------------------


def _others(router: APIRouter, site: Site) -> None:
    def proving_codes(actor: Actor) -> _Proving:
        place = f"{_HERE}/recovery-codes"
        return _Proving(site, actor, FactorChange.RECOVERY_CODES, place, "New recovery codes", "Make them")

    async def proving_removal(actor: Actor, method: str) -> _Proving:
        found = await _method(site, actor, method)
        title = "Take the authenticator app away" if found.name is None else f"Take {found.name} away"
        place = f"{_HERE}/{method}/remove"
        return _Proving(site, actor, FactorChange.REMOVE, place, title, "Take it away", method)

    @router.get("/factors/recovery-codes")
    async def recovery_codes_page(request: Request, actor: _Changer) -> Response:
        """Ask for the present factor."""
        return await proving_codes(actor).show(request)

    @router.post("/factors/recovery-codes")
    async def make_recovery_codes_page(request: Request, actor: _Changer) -> Response:
        """Show new ones, once."""

        async def make(form: Form, proof: Proof) -> Response:
            made = await site.services.mfa.recovery_codes(actor, proof)
            return await site.page(request, "factors/codes.html", codes=made.codes)

        return await proving_codes(actor).answered(request, make)

    @router.get("/factors/{method}/remove")
    async def remove_factor_page(request: Request, method: str, actor: _Changer) -> Response:
        """Ask for the present factor."""
        return await (await proving_removal(actor, method)).show(request)

    @router.post("/factors/{method}/remove")
    async def remove_factor(request: Request, method: str, actor: _Changer) -> Response:
        """Take it away."""
        proving = await proving_removal(actor, method)

        async def remove(form: Form, proof: Proof) -> Response:
            await site.services.mfa.remove(actor, method, proof)
            return site.redirect(request, _HERE, flash="It is taken away.")

        return await proving.answered(request, remove)
