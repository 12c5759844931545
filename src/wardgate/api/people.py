"""Bodies of the API that are about people: users, their passwords, and the roles that are bound to them.

The same rules as in `models`: requests refuse unknown fields, answers are the contract that the CLI prints.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, SecretStr, model_validator

from .models import Name, Request, RoleBinding, User

RoleName = Literal["admin", "auditor", "connector"]
# NIST SP 800-63B: length is what counts; composition rules do harm.
NewPassword = Annotated[SecretStr, Field(min_length=8, max_length=1024, description="8 to 1,024 characters.")]


class UserCreate(Request):
    """A new user, who has no role yet."""

    email: str = Field(max_length=254)
    password: NewPassword


class PasswordReset(Request):
    """A new password for somebody else."""

    password: NewPassword


class PasswordChange(Request):
    """A new password for oneself."""

    current_password: SecretStr = Field(min_length=1, max_length=1024)
    new_password: NewPassword


class Invitation(Request):
    """Who is invited."""

    email: str = Field(max_length=254)


class PasswordForgotten(Request):
    """Whose password was forgotten."""

    email: str = Field(max_length=254)


class PasswordLink(Request):
    """The token of a link by mail, and the password to be."""

    token: SecretStr = Field(min_length=1, max_length=256)
    password: NewPassword


class UserDetails(User):
    """A user as an administrator sees them."""

    status: Literal["active", "disabled"]
    created_at: datetime
    disabled_at: datetime | None = None


class GroupCreate(Request):
    """A new group, without members and roles."""

    name: Name
    description: str = Field(default="", max_length=500)


class GroupUpdate(Request):
    """The fields that are to change."""

    name: Name = Field(default="")
    description: str = Field(default="", max_length=500)


class Group(BaseModel):
    """Users who hold roles together."""

    id: str
    name: str
    description: str
    created_at: datetime
    members: int
    roles: list[RoleBinding] = Field(default_factory=list)


class GroupMember(BaseModel):
    """A user in a group."""

    user_id: str
    user: str = Field(description="E-mail address.")
    source: str | None = Field(default=None, description="The provider of single sign-on that says so; null: by hand.")
    added_at: datetime


class GroupDetails(Group):
    """A group with its members."""

    users: list[GroupMember]


class BindingCreate(Request):
    """One role of one user, group or service at one place, for ever or for a while."""

    user: str | None = Field(default=None, min_length=1, max_length=254, description="The user's id or e-mail address.")
    group: str | None = Field(default=None, min_length=1, max_length=64, description="The group's id or name.")
    service: str | None = Field(default=None, min_length=1, max_length=64, description="The service's id or name.")
    role: RoleName
    scope: str = Field(max_length=64, description="`organisation`, or the id of a project, resource or account.")
    duration: str | None = Field(default=None, max_length=32, description="As `30d`; null: until it is revoked.")

    @model_validator(mode="after")
    def _one_holder(self) -> Self:
        if [self.user, self.group, self.service].count(None) != 2:
            raise ValueError("Name one user, one group or one service.")
        return self


class Binding(BaseModel):
    """One role at one place, as it is now."""

    id: str
    kind: Literal["group", "service", "user"] = "user"
    holder_id: str = Field(default="", description="Id of the user, group or service.")
    holder: str = Field(default="", description="Of a user the e-mail address, of others the name.")
    user_id: str | None = Field(default=None, description="As `holder_id`, of a user.")
    user: str | None = Field(default=None, description="As `holder`, of a user.")
    role: RoleName
    scope: str
    created_at: datetime
    created_by: str | None = Field(default=None, description="Id of who granted it; null: it came with the server.")
    expires_at: datetime | None = None
