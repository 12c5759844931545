"""A control plane whose mail is caught, and people with authenticator apps."""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

from wardgate.control.identity.actor import Scope
from wardgate.control.identity.permissions import Role
from wardgate.errors import WardgateError

from ..access.test_sessions import account, relay

__all__ = ["account", "relay"]  # fixtures

PASSWORD = "correct horse battery staple"
V1 = "/api/v1"


@dataclass
class Postbox:
    """What was mailed; with `broken`, nothing can be."""

    mails: list[tuple[str, str, str]] = field(default_factory=list)
    broken: bool = False

    async def send(self, to: str, subject: str, text: str) -> None:
        if self.broken:
            raise WardgateError("mail_failed", "The mail server did not take the message (OSError).")
        self.mails.append((to, subject, text))

    def code(self) -> str:
        """The code of the newest mail."""
        found = re.search(r"Your code is (\d{4} \d{4})", self.mails[-1][2])
        assert found is not None
        return found[1]


@dataclass
class App:
    """An authenticator app."""

    control: Any
    secret: bytes
    id: str
    recovery: list[str]
    ahead: int = 0  # seconds by which its clock is fast

    def code(self) -> str:
        """What it shows now."""
        at = int(self.control.clock().timestamp()) + self.ahead
        return TOTP(self.secret, 6, SHA1(), 30).generate(at).decode()

    def next_code(self) -> str:
        """One that it has not shown before. The first time its clock is put forward, so that the machines, which must
        be heard of every 30 s, stay online; after that, time goes on."""
        if self.ahead:
            self.control.clock.forward(seconds=30)
        self.ahead = 30
        return self.code()


async def set_up(control: Any, client: httpx2.AsyncClient, **more: str) -> App:
    """Give the client's user an authenticator app."""
    begun = await client.post(f"{V1}/mfa/totp", json={"password": PASSWORD, **more})
    assert begun.status_code == 201, begun.text
    document = begun.json()
    secret = base64.b32decode(document["secret"])
    app = App(control, secret, document["id"], [])
    confirmed = await client.post(f"{V1}/mfa/totp/{app.id}/confirm", json={"code": app.code()})
    assert confirmed.status_code == 200, confirmed.text
    app.recovery = confirmed.json()["codes"]
    return app


@pytest.fixture
def postbox(control: Any) -> Postbox:
    """The mail server."""
    box = Postbox()
    control.services.verification._mailer = box
    return box


@pytest.fixture
async def ann(control: Any, shop: str, account: dict[str, Any], admin: httpx2.AsyncClient) -> AsyncIterator[Any]:
    """Somebody who may connect to `ro`, which asks for a second factor."""
    changed = await admin.patch(f"{V1}/projects/{shop}/resources/mongo/accounts/ro", json={"require_mfa": True})
    assert changed.status_code == 200, changed.text
    async with await control.user("ann@example.com", (Role.CONNECTOR, Scope(shop))) as client:
        yield client
