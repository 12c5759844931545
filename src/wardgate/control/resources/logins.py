"""How an account logs in: its mechanism and its secrets, between the form, the vault and a gateway.

Law: the secrets are in memory for one request; they are sealed when they are stored, and no shape that is printed has
a field for them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from ...api.machine import Credentials, MongoTarget
from ...api.models import AccountCreate, AccountUpdate, Mechanism
from ...secret import Secret
from ..vault import Vault
from . import client_certificates
from .mechanisms import NEEDS, SCRAMS, LoginForm, check, mechanism_of
from .model import AccountRow, ResourceRow

_TABLE = AccountRow.__tablename__
LOGIN_FIELDS = frozenset({"mechanism", "username", "password", "client_certificate"})


@dataclass(frozen=True, slots=True)
class AccountLogin:
    """The login part of an account, opened."""

    mechanism: Mechanism
    username: str
    password: Secret | None = field(default=None, repr=False)
    certificate: Secret | None = field(default=None, repr=False)
    certificate_expires_at: datetime | None = None

    def check(self, resource: ResourceRow, typed: str | None) -> None:
        """ProblemError `invalid_request` where the form is not filled in as the mechanism needs it; `typed` is the
        username that stands in it."""
        named = self.username if NEEDS[self.mechanism].username else typed or ""
        has_password, has_certificate = self.password is not None, self.certificate is not None
        check(LoginForm(self.mechanism, named, has_password, has_certificate), resource)

    def credentials(self, target: MongoTarget) -> Credentials:
        """What a gateway logs in with. `auto` is what the connection string names, else the gateway's choice."""
        mechanism: Any = self.mechanism
        if mechanism is Mechanism.AUTO:
            mechanism = target.options.get("authMechanism", Mechanism.AUTO)
        return Credentials(
            username=self.username if NEEDS[self.mechanism].username else "",
            password=self.password.reveal_text() if self.password is not None else "",
            mechanism=Mechanism(mechanism),
            client_certificate=self.certificate.reveal_text() if self.certificate is not None else None,
        )


def login_of(body: AccountCreate, now: datetime) -> AccountLogin:
    """The login of a new account's form; ProblemError for a certificate that is none."""
    login = AccountLogin(body.mechanism, body.username)
    if body.password is not None:
        login = replace(login, password=Secret(body.password.get_secret_value()))
    if body.client_certificate is not None:
        login = _with_certificate(login, body.client_certificate.get_secret_value(), now)
    return login


def changed(login: AccountLogin, body: AccountUpdate, now: datetime) -> AccountLogin:
    """The login after a change. A password stays among SCRAMs only: another mechanism would show it to the server."""
    given = body.model_fields_set
    if body.mechanism is not None and body.mechanism is not login.mechanism:
        named = NEEDS[body.mechanism].username and NEEDS[login.mechanism].username
        login = replace(
            login,
            mechanism=body.mechanism,
            username=login.username if named else "",
            password=login.password if {body.mechanism, login.mechanism} <= SCRAMS else None,
        )
    if body.username is not None:
        login = replace(login, username=body.username)
    if body.password is not None:
        login = replace(login, password=Secret(body.password.get_secret_value()))
    if body.client_certificate is not None:
        return _with_certificate(login, body.client_certificate.get_secret_value(), now)
    if "client_certificate" in given:
        return replace(login, certificate=None, certificate_expires_at=None)
    if login.certificate is not None and body.mechanism is Mechanism.X509:
        return _with_certificate(login, login.certificate.reveal_text(), now)
    return login


def _with_certificate(login: AccountLogin, pem: str, now: datetime) -> AccountLogin:
    found = client_certificates.check(pem, now)
    return replace(
        login,
        username=found.subject if login.mechanism is Mechanism.X509 else login.username,
        certificate=Secret(found.pem),
        certificate_expires_at=found.expires_at,
    )


async def open_login(session: AsyncSession, vault: Vault, account: AccountRow) -> AccountLogin:
    """An account's login out of the vault; what must be entered again is None."""
    return AccountLogin(
        mechanism_of(account),
        account.username,
        await _open(session, vault, account, "password", account.sealed_password),
        await _open(session, vault, account, "client_certificate", account.sealed_client_certificate),
        account.certificate_expires_at,
    )


async def store_login(session: AsyncSession, vault: Vault, account: AccountRow, login: AccountLogin) -> None:
    """Seal a login into an account's row."""
    account.mechanism = login.mechanism.value
    account.username = login.username
    account.sealed_password = await _seal(session, vault, account, "password", login.password)
    account.sealed_client_certificate = await _seal(session, vault, account, "client_certificate", login.certificate)
    account.certificate_expires_at = login.certificate_expires_at


async def _open(
    session: AsyncSession, vault: Vault, account: AccountRow, column: str, sealed: bytes | None
) -> Secret | None:
    if sealed is None:
        return None
    return await vault.open(session, account.project_id, _TABLE, account.id, column, sealed)


async def _seal(
    session: AsyncSession, vault: Vault, account: AccountRow, column: str, secret: Secret | None
) -> bytes | None:
    if secret is None:
        return None
    return await vault.seal(session, account.project_id, _TABLE, account.id, column, secret.reveal())
