"""Bodies of the API that are about people: users, their passwords, and the roles that are bound to them.

The same rules as in `models`: requests refuse unknown fields, answers are the contract that the CLI prints.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field, SecretStr

from .models import Request, User

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


class UserDetails(User):
    """A user as an administrator sees them."""

    status: Literal["active", "disabled"]
    created_at: datetime
    disabled_at: datetime | None = None


class BindingCreate(Request):
    """One role at one place, for ever or for a while."""

    user: str = Field(min_length=1, max_length=254, description="The user's id or e-mail address.")
    role: RoleName
    scope: str = Field(max_length=64, description="`organisation`, or the id of a project, resource or account.")
    duration: str | None = Field(default=None, max_length=32, description="As `30d`; null: until it is revoked.")


class Binding(BaseModel):
    """One role at one place, as it is now."""

    id: str
    user_id: str
    user: str = Field(description="E-mail address.")
    role: RoleName
    scope: str
    created_at: datetime
    created_by: str | None = Field(default=None, description="Id of who granted it; null: it came with the server.")
    expires_at: datetime | None = None
