"""A control plane that may send to this machine, and receivers with certificates."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
import trustme

from ..conftest import Control
from ..records.conftest import make_session, recorded
from .receivers import Http, Syslog, Webhook

__all__ = ["make_session", "recorded"]


@pytest.fixture(autouse=True)
def _this_machine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARDGATE_PRIVATE_HOSTS", "localhost,127.0.0.1")


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="session")
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture(scope="session")
def ca_pem(authority: trustme.CA) -> str:
    return authority.cert_pem.bytes().decode()


@dataclass
class Streams:
    """Streams through the API, and deliveries when the test says so."""

    control: Control
    admin: httpx2.AsyncClient

    async def add(self, name: str, kind: str, url: str, *, project: str | None = None, **more: Any) -> dict[str, Any]:
        place = "/api/v1/streams" if project is None else f"/api/v1/projects/{project}/streams"
        answer = await self.admin.post(place, json={"name": name, "kind": kind, "url": url, **more})
        assert answer.status_code == 201, answer.text
        created: dict[str, Any] = answer.json()
        return created

    async def deliver(self, created: dict[str, Any]) -> None:
        await self.control.services.deliveries.deliver(created["stream"]["id"])

    async def get(self, created: dict[str, Any]) -> dict[str, Any]:
        stream = created["stream"]
        project = stream["project_id"]
        place = "/api/v1/streams" if project is None else f"/api/v1/projects/{project}/streams"
        answer = await self.admin.get(f"{place}/{stream['name']}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture
async def streams(control: Control, admin: httpx2.AsyncClient) -> AsyncIterator[Streams]:
    yield Streams(control, admin)
    await control.services.deliveries.close()


@pytest.fixture
async def syslog() -> AsyncIterator[Syslog]:
    async with Syslog() as receiver:
        yield receiver


@pytest.fixture
async def webhook(control: Control, server_tls: ssl.SSLContext) -> AsyncIterator[tuple[Http, Webhook]]:
    checks = Webhook(lambda: control.clock().timestamp())
    async with Http(server_tls, checks.take) as receiver:
        yield receiver, checks
