"""Whose address counts, and who may talk to a control plane behind a proxy."""

from __future__ import annotations

import ipaddress

import httpx2
import pytest
from starlette.requests import Request
from starlette.types import Message, Receive, Scope, Send

from wardgate.control.settings import DoorSettings
from wardgate.control.web.door import Door
from wardgate.numbers import DEFAULT

PROXIES = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("2001:db8::/32"))


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["wardgate.address"].encode()})


async def ask(settings: DoorSettings, peer: str, *forwarded: str) -> httpx2.Response:
    door = Door(echo, settings=settings, numbers=DEFAULT)
    transport = httpx2.ASGITransport(app=door, client=(peer, 1))
    async with httpx2.AsyncClient(transport=transport, base_url="http://wardgate.example") as client:
        return await client.get("/", headers=[("x-forwarded-for", value) for value in forwarded])


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("192.0.2.1", (), "192.0.2.1"),
        ("192.0.2.1", ("203.0.113.9",), "192.0.2.1"),  # not a proxy: it may claim what it likes
        ("10.0.0.1", ("203.0.113.9",), "203.0.113.9"),
        ("10.0.0.1", ("203.0.113.9, 10.0.0.2",), "203.0.113.9"),
        ("10.0.0.1", ("1.1.1.1, 203.0.113.9",), "203.0.113.9"),  # what the client wrote in front does not count
        ("10.0.0.1", ("1.1.1.1", "203.0.113.9"), "203.0.113.9"),
        ("10.0.0.1", (), "10.0.0.1"),
        ("10.0.0.1", ("nonsense",), "10.0.0.1"),
        ("10.0.0.1", ("10.0.0.3, 10.0.0.2",), "10.0.0.3"),
        ("2001:db8::1", ("2a00::5",), "2a00::5"),
    ],
)
async def test_the_address_is_the_last_that_is_no_proxy(peer: str, forwarded: tuple[str, ...], address: str) -> None:
    settings = DoorSettings(hosts=frozenset({"wardgate.example"}), proxies=PROXIES)
    assert (await ask(settings, peer, *forwarded)).text == address


@pytest.mark.parametrize(("peer", "status"), [("192.0.2.1", 403), ("10.0.0.1", 200), ("127.0.0.1", 200), ("::1", 200)])
async def test_where_tls_ends_at_a_proxy_others_are_refused(peer: str, status: int) -> None:
    settings = DoorSettings(frozenset({"wardgate.example"}), PROXIES, https=True, proxied_only=True)
    answer = await ask(settings, peer)
    assert answer.status_code == status
    assert answer.headers["strict-transport-security"]


async def test_a_client_that_goes_in_the_middle_of_its_request_is_no_bug(capfd: pytest.CaptureFixture[str]) -> None:
    """Its machine's assertion covers the body, so the body is read before anything else."""

    async def reads(scope: Scope, receive: Receive, send: Send) -> None:
        await Request(scope, receive).body()

    door = Door(reads, settings=DoorSettings(hosts=frozenset({"wardgate.example"})), numbers=DEFAULT)
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"host", b"wardgate.example")], "client": None}
    await door(scope, receive, send)
    assert sent == []
    assert "request failed" not in "".join(capfd.readouterr())
