"""The emulated login against real drivers, over a server of twenty lines that knows hello, login and ping only."""

from __future__ import annotations

import contextlib
import itertools
import os
import socketserver
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
import pymongo
import pytest
from pymongo.errors import OperationFailure

from wardgate.command.facts import parse
from wardgate.secret import Secret
from wardgate.testing import servers
from wardgate.wire.errors import error_reply, ok_reply
from wardgate.wire.hello import HelloView, is_hello, read_request, rewrite_reply
from wardgate.wire.login import LoginEmulation, LoginKeys, is_login
from wardgate.wire.message import parse_reply, parse_request
from wardgate.wire.reader import MessageReader

HELLO = {
    "isWritablePrimary": True,
    "ismaster": True,
    "helloOk": True,
    "minWireVersion": 0,
    "maxWireVersion": 17,
    "maxBsonObjectSize": 16_777_216,
    "maxMessageSizeBytes": 48_000_000,
    "maxWriteBatchSize": 100_000,
    "ok": 1.0,
}
PASSWORD = "session-pass"


class Handler(socketserver.BaseRequestHandler):
    server: Server

    def handle(self) -> None:
        reader = MessageReader(48_000_000)
        login = LoginEmulation(self.server.keys, os.urandom, required=self.server.required)
        with contextlib.suppress(ConnectionError):
            while data := self.request.recv(65_536):
                reader.feed(data)
                while (raw := reader.next()) is not None:
                    self.request.sendall(self._answer(raw, login))

    def _answer(self, raw: bytes, login: LoginEmulation) -> bytes:
        request = parse_request(raw)
        name = parse(request).name
        number = next(self.server.ids)
        self.server.seen.append(name)
        if is_hello(name):
            facts = read_request(request)
            reply = ok_reply(request, number, bson.encode(HELLO))
            return rewrite_reply(parse_reply(reply), HelloView({}, asks_mechanisms=facts.asks_mechanisms))
        if is_login(name):
            return ok_reply(request, number, login.answer(name, request.body).document)
        if not login.allows(name):
            return error_reply(request, number, 13, "log in first")
        return ok_reply(request, number, bson.encode({"ok": 1.0}))


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, *, required: bool) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.keys = LoginKeys(os.urandom, Secret(PASSWORD))
        self.required = required
        self.ids = itertools.count(1)
        self.seen: list[str] = []

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"


@pytest.fixture(params=[False, True], ids=["open", "required"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with Server(required=request.param) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def ping(server: Server, **options: Any) -> None:
    with pymongo.MongoClient[Any](f"mongodb://{server.address}/", serverSelectionTimeoutMS=5_000, **options) as client:
        client.shop.command("dropDatabase")


MECHANISMS = ["DEFAULT", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"]


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_pymongo_with_the_session_password(server: Server, mechanism: str) -> None:
    ping(server, username="ada", password=PASSWORD, authMechanism=mechanism)
    assert "saslStart" in server.seen


@pytest.mark.parametrize("mechanism", MECHANISMS)
def test_pymongo_with_a_password_of_its_own(server: Server, mechanism: str) -> None:
    if mechanism == "PLAIN" and not server.required:
        ping(server, username="ada", password="own", authMechanism=mechanism)
        return
    with pytest.raises(OperationFailure) as caught:
        ping(server, username="ada", password="own", authMechanism=mechanism)
    assert caught.value.code == 18
    assert ("session password" if server.required else "remove user and password") in str(caught.value)


def test_pymongo_without_a_login(server: Server) -> None:
    if server.required:
        with pytest.raises(OperationFailure) as caught:
            ping(server)
        assert caught.value.code == 13
    else:
        ping(server)


@pytest.mark.parametrize(
    ("userinfo", "mechanism", "works_open", "works_required"),
    [
        ("ada:@", "", True, False),
        (f"ada:{PASSWORD}@", "", True, True),
        (f"ada:{PASSWORD}@", "SCRAM-SHA-1", True, True),
        ("ada:own@", "", False, False),
        ("ada:own@", "PLAIN", True, False),
        ("", "", True, False),
    ],
)
def test_the_node_driver(
    node: Path, server: Server, userinfo: str, mechanism: str, works_open: bool, works_required: bool
) -> None:
    modules = servers.node_modules()
    if modules is None:
        pytest.skip("the Node driver is not installed: make setup")
    uri = f"mongodb://{userinfo}{server.address}/?serverSelectionTimeoutMS=3000" + (
        f"&authMechanism={mechanism}" if mechanism else ""
    )
    script = (
        "const {MongoClient} = require('mongodb');"
        "(async () => { const c = new MongoClient(process.argv[1]);"
        " try { await c.connect(); await c.db('shop').command({dropDatabase: 1}); console.log('ok') }"
        " catch (e) { console.log(String(e.code) + ' ' + e.message) } finally { await c.close() } })()"
    )
    done = subprocess.run(
        [node, "-e", script, uri],
        capture_output=True,
        text=True,
        timeout=60,
        env={"NODE_PATH": str(modules)},
        check=False,
    )
    expected = works_required if server.required else works_open
    assert (done.stdout.strip() == "ok") == expected, done.stdout + done.stderr
