"""What each mechanism asks of an account and of its resource.

One table, so that the form, the lease and the list of accounts that must be filled in again can't disagree. Law: a
mechanism in which the server proves nothing (PLAIN, MONGODB-AWS, MONGODB-OIDC) is for verified TLS only, because
whoever answers would get something that opens the real database. The gateway checks that again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

from ...api.models import Mechanism
from ...api.problems import FieldError, ProblemCode, ProblemError
from .model import AccountRow, ResourceRow


@dataclass(frozen=True, slots=True)
class Needs:
    """What must be there. A client certificate may be there with every mechanism: servers can ask for one."""

    username: bool = True
    password: bool = True
    certificate: bool = False
    verified_tls: bool = False


NEEDS: dict[Mechanism, Needs] = {
    Mechanism.AUTO: Needs(),
    Mechanism.AWS: Needs(verified_tls=True),
    Mechanism.OIDC: Needs(username=False, password=False, verified_tls=True),
    Mechanism.PLAIN: Needs(verified_tls=True),
    Mechanism.SCRAM_SHA_1: Needs(),
    Mechanism.SCRAM_SHA_256: Needs(),
    Mechanism.X509: Needs(username=False, password=False, certificate=True),
}
SCRAMS = frozenset({Mechanism.AUTO, Mechanism.SCRAM_SHA_1, Mechanism.SCRAM_SHA_256})


@dataclass(frozen=True, slots=True)
class LoginForm:
    """The part of an account that logs in, as it would be saved."""

    mechanism: Mechanism
    username: str
    has_password: bool
    has_certificate: bool


def check(form: LoginForm, resource: ResourceRow) -> None:
    """ProblemError `invalid_request` with the field that is missing, too much, or impossible on this resource."""
    needs, name = NEEDS[form.mechanism], form.mechanism.value
    if needs.username and not form.username:
        what = "the access key's id" if form.mechanism is Mechanism.AWS else "the MongoDB user"
        _refuse("username", f"Give a username: {what}.")
    if not needs.username and form.username:
        whose = "certificate's subject" if form.mechanism is Mechanism.X509 else "token's own"
        _refuse("username", f"Leave the username out: with {name} it is the {whose}.")
    if needs.password and not form.has_password:
        what = "the secret access key" if form.mechanism is Mechanism.AWS else "the MongoDB user's password"
        _refuse("password", f"Give a password: {what}.")
    if not needs.password and form.has_password:
        _refuse("password", f"Leave the password out: {name} has none.")
    if needs.certificate and not form.has_certificate:
        _refuse("client_certificate", f"Give a client certificate with its private key: it is what {name} logs in by.")
    if form.has_certificate and not resource.ssl:
        _refuse("client_certificate", f"A client certificate needs TLS, and SSL is off for {resource.name}.")
    if needs.verified_tls and not (resource.ssl and resource.reject_unauthorized):
        _refuse(
            "mechanism",
            f"{name} gives away what it logs in with to whoever answers, so it is for verified TLS only: "
            f"switch on SSL and Reject Unauthorized for {resource.name}.",
        )


def mechanism_of(account: AccountRow) -> Mechanism:
    """An account's mechanism."""
    return Mechanism(account.mechanism)


def must_be_entered_again(account: AccountRow) -> bool:
    """Whether a secret that the mechanism needs is not there (any more)."""
    needs = NEEDS[mechanism_of(account)]
    return (needs.password and account.sealed_password is None) or (
        needs.certificate and account.sealed_client_certificate is None
    )


def _refuse(field: str, detail: str) -> NoReturn:
    raise ProblemError(ProblemCode.INVALID_REQUEST, detail, errors=[FieldError(field=field, message=detail)])
