"""Users, groups and roles over HTTP."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from ...api.journal import SignIn
from ...api.models import Page
from ...api.people import (
    Binding,
    BindingCreate,
    Group,
    GroupCreate,
    GroupDetails,
    GroupUpdate,
    PasswordChange,
    PasswordReset,
    UserCreate,
    UserDetails,
)
from ...api.problems import ProblemCode, ProblemError
from ...secret import Secret
from ..identity import Actor, Permission, requires
from ..identity.groups import GroupService
from ..identity.holders import HolderKind
from ..identity.sign_ins import SignInService
from ..identity.users import UserService
from ..paging import Paging, paging
from .service import BindingService

_Paging = Annotated[Paging, Depends(paging)]
_Updater = Annotated[Actor, Depends(requires(Permission.ORGANISATION_USER_UPDATE))]

_GroupUpdater = Annotated[Actor, Depends(requires(Permission.ORGANISATION_GROUP_UPDATE))]
_GROUP_READS = [Depends(requires(Permission.ORGANISATION_GROUP_READ))]


def build(users: UserService, groups: GroupService, bindings: BindingService, sign_ins: SignInService) -> APIRouter:
    """The routes below `/users`, `/groups` and `/bindings`, and one's own password."""
    router = APIRouter()
    _users(router, users)
    _devices(router, sign_ins, users)
    _passwords(router, users)
    _groups(router, groups)
    _bindings(router, bindings)
    return router


def _users(router: APIRouter, users: UserService) -> None:
    @router.post("/users", status_code=201, tags=["users"])
    async def create_user(
        body: UserCreate, actor: Annotated[Actor, Depends(requires(Permission.ORGANISATION_USER_CREATE))]
    ) -> UserDetails:
        """Make a user, who has no role yet."""
        return await users.create(actor, body.email, Secret(body.password.get_secret_value()))

    @router.get("/users", tags=["users"], dependencies=[Depends(requires(Permission.ORGANISATION_USER_READ))])
    async def list_users(page: _Paging) -> Page[UserDetails]:
        """All users and their roles."""
        return await users.page(page)

    @router.get("/users/{user}", tags=["users"], dependencies=[Depends(requires(Permission.ORGANISATION_USER_READ))])
    async def get_user(user: str) -> UserDetails:
        """One user, by id or e-mail address."""
        return await users.get(user)

    @router.delete("/users/{user}", status_code=204, tags=["users"])
    async def delete_user(
        user: str, actor: Annotated[Actor, Depends(requires(Permission.ORGANISATION_USER_DELETE))]
    ) -> None:
        """Remove a user; their sessions end, their records stay."""
        await users.delete(actor, user)

    @router.post("/users/{user}/disable", tags=["users"])
    async def disable_user(user: str, actor: _Updater) -> UserDetails:
        """Keep a user out; their sign-ins and sessions end."""
        return await users.disable(actor, user)

    @router.post("/users/{user}/enable", tags=["users"])
    async def enable_user(user: str, actor: _Updater) -> UserDetails:
        """Let a disabled user in again, with the roles that they had."""
        return await users.enable(actor, user)


def _devices(router: APIRouter, sign_ins: SignInService, users: UserService) -> None:
    reads = Depends(requires(Permission.ORGANISATION_USER_READ))

    @router.get("/users/{user}/sign-ins", tags=["users"], dependencies=[reads])
    async def list_user_sign_ins(user: str) -> Page[SignIn]:
        """The devices that are signed in as a user, the newest use first."""
        return Page[SignIn](items=await sign_ins.page((await users.get(user)).id))

    @router.delete("/users/{user}/sign-ins/{sign_in}", status_code=204, tags=["users"])
    async def delete_user_sign_in(user: str, sign_in: str, actor: _Updater) -> None:
        """Sign a device of a user out."""
        await sign_ins.end(actor, sign_in, user_id=(await users.get(user)).id)


def _passwords(router: APIRouter, users: UserService) -> None:
    @router.post("/users/{user}/password", status_code=204, tags=["users"])
    async def reset_password(user: str, body: PasswordReset, actor: _Updater) -> None:
        """Give a user a new password; their sign-ins end."""
        await users.reset_password(actor, user, Secret(body.password.get_secret_value()))

    @router.post("/auth/password", status_code=204, tags=["identity"])
    async def change_password(
        body: PasswordChange, actor: Annotated[Actor, Depends(requires(Permission.SELF_PASSWORD_UPDATE))]
    ) -> None:
        """Change one's own password; the other sign-ins end."""
        current, new = body.current_password.get_secret_value(), body.new_password.get_secret_value()
        await users.change_password(actor, Secret(current), Secret(new))


def _groups(router: APIRouter, groups: GroupService) -> None:
    @router.post("/groups", status_code=201, tags=["groups"])
    async def create_group(
        body: GroupCreate, actor: Annotated[Actor, Depends(requires(Permission.ORGANISATION_GROUP_CREATE))]
    ) -> GroupDetails:
        """Make a group, without members and roles."""
        return await groups.create(actor, body)

    @router.get("/groups", tags=["groups"], dependencies=_GROUP_READS)
    async def list_groups(page: _Paging) -> Page[Group]:
        """All groups and their roles."""
        return await groups.page(page)

    @router.get("/groups/{group}", tags=["groups"], dependencies=_GROUP_READS)
    async def get_group(group: str) -> GroupDetails:
        """One group, by id or name, with its members."""
        return await groups.get(group)

    @router.patch("/groups/{group}", tags=["groups"])
    async def update_group(group: str, body: GroupUpdate, actor: _GroupUpdater) -> GroupDetails:
        """Change the fields that are given."""
        return await groups.update(actor, group, body)

    @router.delete("/groups/{group}", status_code=204, tags=["groups"])
    async def delete_group(
        group: str, actor: Annotated[Actor, Depends(requires(Permission.ORGANISATION_GROUP_DELETE))]
    ) -> None:
        """Remove a group; sessions that stood on its roles end."""
        await groups.delete(actor, group)

    @router.put("/groups/{group}/members/{user}", tags=["groups"])
    async def add_group_member(group: str, user: str, actor: _GroupUpdater) -> GroupDetails:
        """Put a user in: they hold the group's roles from now on."""
        return await groups.add_member(actor, group, user)

    @router.delete("/groups/{group}/members/{user}", tags=["groups"])
    async def remove_group_member(group: str, user: str, actor: _GroupUpdater) -> GroupDetails:
        """Take a user out; their sessions that stood on the group's roles end."""
        return await groups.remove_member(actor, group, user)


def _bindings(router: APIRouter, bindings: BindingService) -> None:
    @router.post("/bindings", status_code=201, tags=["roles"])
    async def create_binding(
        body: BindingCreate,
        actor: Annotated[Actor, Depends(requires(Permission.ACCOUNT_BINDING_CREATE, within=True))],
    ) -> Binding:
        """Bind a role to a user, a group or a service at a place, for ever or for a while."""
        return await bindings.grant(actor, body)

    @router.get("/bindings", tags=["roles"])
    async def list_bindings(
        actor: Annotated[Actor, Depends(requires(Permission.ACCOUNT_BINDING_READ, within=True))],
        page: _Paging,
        user: Annotated[str | None, Query(max_length=254, description="Of this user: id or e-mail address.")] = None,
        group: Annotated[str | None, Query(max_length=64, description="Of this group: id or name.")] = None,
        service: Annotated[str | None, Query(max_length=64, description="Of this service: id or name.")] = None,
        scope: Annotated[str | None, Query(max_length=64, description="At exactly this place.")] = None,
    ) -> Page[Binding]:
        """The bindings that you may read."""
        named = {HolderKind.USER: user, HolderKind.GROUP: group, HolderKind.SERVICE: service}
        holders = [(kind, name) for kind, name in named.items() if name is not None]
        if len(holders) > 1:
            raise ProblemError(ProblemCode.INVALID_REQUEST, "Ask for one user, one group or one service.")
        return await bindings.page(actor, page, holder=holders[0] if holders else None, scope=scope)

    @router.delete("/bindings/{binding}", status_code=204, tags=["roles"])
    async def delete_binding(
        binding: str, actor: Annotated[Actor, Depends(requires(Permission.ACCOUNT_BINDING_DELETE, within=True))]
    ) -> None:
        """Take a role back; sessions that stood on it end."""
        await bindings.revoke(actor, binding)
