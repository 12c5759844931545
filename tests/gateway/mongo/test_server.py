"""The gateway's own connection against servers that lie, stall and talk nonsense, and against a real one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Callable
from typing import Any

import bson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pymongo.server_api import ServerApi

from wardgate.gateway.mongo.errors import CommandFailedError, MongoError
from wardgate.gateway.mongo.server import REPLY_BYTES, ServerConnection, must
from wardgate.testing.certificates import CertificateAuthority
from wardgate.testing.mongo import MongoDeployment
from wardgate.wire.header import build_msg

TargetOf = Callable[..., Any]
StartServer = Callable[..., Any]
Double = Callable[..., Any]
OK = {"ok": 1.0, "isWritablePrimary": True}
PING = bson.encode({"ok": 1})


def header(length: int, response_to: int = 1, opcode: int = 2013) -> bytes:
    return struct.pack("<iiii", length, 9, response_to, opcode)


def nested(levels: int) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for _ in range(levels):
        document = {"a": document}
    return {"ok": 1, **document}


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (header(-1), "protocol_error"),
        (header(15), "protocol_error"),
        (header(2**31 - 1), "protocol_error"),
        (header(REPLY_BYTES + 1), "protocol_error"),
        (header(16), "protocol_error"),
        (header(100, opcode=2012), "protocol_error"),
        (header(100, opcode=1), "protocol_error"),
        (build_msg(PING, 9, 4711), "protocol_error"),
        (build_msg(PING, 9, 1, flags=2), "protocol_error"),
        (build_msg(PING, 9, 1, flags=4), "protocol_error"),
        (build_msg(b"\xff\xff\xff\x7f" + PING[4:], 9, 1), "protocol_error"),
        (build_msg(bson.encode(nested(500)), 9, 1), "protocol_error"),
        (header(26) + bytes(10), "protocol_error"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "not_mongodb"),
        (b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", "protocol_error"),
        (b"", "server_silent"),
        (header(100) + b"cut", "server_silent"),
    ],
)
async def test_hostile_answers(
    target_of: TargetOf, start_server: StartServer, mongo_double: Double, answer: bytes, code: str
) -> None:
    address = await start_server(mongo_double(lambda _: answer))
    with pytest.raises(MongoError) as caught:
        await ServerConnection.open(target_of(address), address, purpose="test", timeout=0.5)
    assert caught.value.code == code
    assert str(caught.value).isprintable()


@given(garbage=st.binary(min_size=1, max_size=80))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_garbage_ends_in_a_mongo_error(garbage: bytes, target_of: TargetOf) -> None:
    async def run() -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read(1)
            writer.write(garbage)
            writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(MongoError):
            await ServerConnection.open(target_of(address), address, purpose="test")
        server.close()

    asyncio.run(run())


async def test_server_that_hangs_up(target_of: TargetOf, start_server: StartServer) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.transport.abort()

    address = await start_server(hang_up)
    with pytest.raises(MongoError) as caught:
        await ServerConnection.open(target_of(address), address, purpose="test")
    assert caught.value.code == "server_closed"


async def test_a_command_that_was_given_up_answers_no_other(
    target_of: TargetOf, start_server: StartServer, mongo_double: Double
) -> None:
    address = await start_server(mongo_double(lambda command: OK if "hello" in command else None))
    connection = await ServerConnection.open(target_of(address), address, purpose="test")
    with pytest.raises(MongoError) as caught:
        await connection.command({"ping": 1}, timeout=0.05)
    assert caught.value.code == "server_silent"
    with pytest.raises(MongoError) as caught:
        await connection.command({"ping": 1})
    assert caught.value.code == "server_closed"


async def test_api_version_is_sent_where_it_is_demanded(
    target_of: TargetOf, start_server: StartServer, mongo_double: Double
) -> None:
    seen: list[dict[str, Any]] = []

    def answer(command: dict[str, Any]) -> dict[str, Any]:
        seen.append(command)
        if command.get("apiVersion") != "1":
            return {"ok": 0, "errmsg": "API parameters are required", "code": 498870}
        return OK

    address = await start_server(mongo_double(answer))
    async with await ServerConnection.open(target_of(address), address, purpose="test") as connection:
        await connection.command({"ping": 1})
    assert [command.get("apiVersion") for command in seen] == [None, "1", "1"]


async def test_a_server_before_hello(target_of: TargetOf, start_server: StartServer, mongo_double: Double) -> None:
    def answer(command: dict[str, Any]) -> dict[str, Any]:
        if next(iter(command)) == "hello":
            return {"ok": 0, "errmsg": "no such command: 'hello'", "code": 59}
        return {"ok": 1, "ismaster": True}

    address = await start_server(mongo_double(answer))
    async with await ServerConnection.open(target_of(address), address, purpose="test") as connection:
        assert connection.hello["ismaster"] is True
        assert connection.hello_command == "isMaster"


async def test_client_certificate_demanded_after_the_handshake(target_of: TargetOf, server_context_of: Any) -> None:
    """In TLS 1.3 the client has finished before the server complains. asyncio's servers swallow that alert."""
    ca = CertificateAuthority.create()
    context = server_context_of(ca.issue(), client_ca=ca.pem)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            peer, _ = listener.accept()
            with peer, contextlib.suppress(ssl.SSLError):
                context.wrap_socket(peer, server_side=True)

        serving = asyncio.create_task(asyncio.to_thread(serve))
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        target = target_of(address, tls=True, ca_certificate=ca.pem)
        with pytest.raises(MongoError) as caught:
            await ServerConnection.open(target, address, purpose="test")
        await serving
    assert caught.value.code == "tls_client_certificate"


async def test_real_server(target_of: TargetOf, mongod_rs1: MongoDeployment) -> None:
    target = target_of(mongod_rs1)
    async with await ServerConnection.open(target, target.seeds[0], purpose="test") as connection:
        assert connection.hello["setName"] == "rs0"
        refused = await connection.command({"find": "c", "$db": "shop"})
        assert refused["code"] == 13
        with pytest.raises(CommandFailedError) as caught:
            must(refused, "find")
        assert caught.value.server_code == 13
        assert must(await connection.command({"ping": 1}), "ping")["ok"] == 1


async def test_real_server_that_demands_an_api_version(target_of: TargetOf, mongod_rs1: MongoDeployment) -> None:
    target = target_of(mongod_rs1)
    with mongod_rs1.client() as root:
        root.admin.command("setParameter", 1, requireApiVersion=True)
    try:
        async with await ServerConnection.open(target, target.seeds[0], purpose="test") as connection:
            assert (await connection.command({"ping": 1}))["ok"] == 1
    finally:
        with mongod_rs1.client(server_api=ServerApi("1")) as root:
            root.admin.command("setParameter", 1, requireApiVersion=False)
