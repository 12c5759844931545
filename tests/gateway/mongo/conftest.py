"""What the tests of the way to MongoDB share: targets, logins, and servers that misbehave on purpose."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import bson
import pytest
import uvloop

from wardgate.api.machine import MongoTarget
from wardgate.gateway.mongo.login import Login
from wardgate.gateway.mongo.target import Target
from wardgate.numbers import DEFAULT, Numbers
from wardgate.secret import Secret
from wardgate.testing import mongo as deployments
from wardgate.testing.mongo import MongoDeployment
from wardgate.wire.header import HEADER_BYTES, build_msg, header_of
from wardgate.wire.message import parse_request

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Answer = Callable[[dict[str, Any]], dict[str, Any] | bytes | None]
StartServer = Callable[..., Awaitable[str]]
TargetOf = Callable[..., Target]


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """uvloop, as in the program; a module's mark asks for plain asyncio too."""
    both = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
    marks = item.iter_markers("asyncio")
    return both if any("loop_factories" in mark.kwargs for mark in marks) else {"uvloop": uvloop.new_event_loop}


@pytest.fixture
def quick() -> Numbers:
    """Deadlines that a test can wait for."""
    return replace(DEFAULT, tcp_connect=1.0, tls_handshake=1.0, server_login=1.0, session_end=2.0, connection_test=8.0)


def model_of(deployment: MongoDeployment, **changes: Any) -> MongoTarget:
    """A deployment as the control plane would describe it."""
    tls = deployment.shape.tls
    values: dict[str, Any] = {
        "hosts": [(member.host, member.port) for member in deployment.members],
        "tls": tls,
        "reject_unauthorized": tls,
        "ca_certificate": deployment.ca.pem if deployment.ca is not None else None,
        "auth_database": "admin",
    }
    return MongoTarget(**{**values, **changes})


@pytest.fixture
def target_of(quick: Numbers) -> TargetOf:
    """`target_of(deployment, set_name=…)` or `target_of("host:port", tls=…)`."""

    def make(what: MongoDeployment | str, *, numbers: Numbers = quick, **changes: Any) -> Target:
        if isinstance(what, MongoDeployment):
            return Target.of(model_of(what, **changes), numbers)
        host, _, port = what.rpartition(":")
        values: dict[str, Any] = {
            "hosts": [(host.strip("[]"), int(port))],
            "tls": False,
            "reject_unauthorized": True,
            "auth_database": "admin",
        }
        return Target.of(MongoTarget(**{**values, **changes}), numbers)

    return make


@pytest.fixture
def login_of() -> Callable[[deployments.Login], Login]:
    """A lease's login for a deployment's user."""

    def make(user: deployments.Login) -> Login:
        return Login(user.username, Secret(user.password), user.auth_db)

    return make


@pytest.fixture
async def start_server() -> AsyncIterator[StartServer]:
    """`await start_server(handler, pem=…, host=…)` → "host:port"; everything is closed at the end."""
    servers: list[asyncio.Server] = []
    writers: list[asyncio.StreamWriter] = []

    async def start(handler: Handler, *, pem: bytes | None = None, host: str = "127.0.0.1", **options: Any) -> str:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await handler(reader, writer)

        context = server_context(pem, **options) if pem is not None else None
        server = await asyncio.start_server(serve, host, 0, ssl=context)
        servers.append(server)
        return f"{host}:{server.sockets[0].getsockname()[1]}"

    yield start
    for server in servers:
        server.close()
    for writer in writers:
        writer.transport.abort()
    await asyncio.sleep(0)


def server_context(pem: bytes, *, client_ca: str | None = None, newest: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """A server's context from one PEM with key and certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory(prefix="wardgate-test-") as folder:
        path = Path(folder) / "server.pem"
        path.write_bytes(pem)
        context.load_cert_chain(path)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=client_ca)
    if newest is not None:
        context.maximum_version = newest
    return context


@pytest.fixture
def server_context_of() -> Callable[..., ssl.SSLContext]:
    """`server_context`, for a test that serves by itself."""
    return server_context


@pytest.fixture
def mongo_double() -> Callable[[Answer], Handler]:
    """A server that answers each command with what `answer` gives: a document, raw bytes, or None for silence."""

    def make(answer: Answer) -> Handler:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                head = await reader.readexactly(HEADER_BYTES)
                header = header_of(head)
                raw = head + await reader.readexactly(header.length - HEADER_BYTES)
                reply = answer(bson.decode(parse_request(raw).body))
                if isinstance(reply, dict):
                    writer.write(build_msg(bson.encode(reply), 7, header.request_id))
                elif reply is not None:
                    writer.write(reply)

        return handle

    return make
