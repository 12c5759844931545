"""A client that logs in: answered at the gateway in every form, and never heard of by the server.

The database stands behind a wiretap: whatever a client said of a login, none of it is among the bytes that went there.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import bson
import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from wardgate.scram.client import ScramClient
from wardgate.scram.primitives import Mechanism
from wardgate.testing import servers
from wardgate.testing.mongo import STANDALONE, MongoDeployment, MongoFactory
from wardgate.testing.stack import Access, Stack
from wardgate.testing.wiretap import Wiretap
from wardgate.wire.message import build_msg, parse_reply, parse_request
from wardgate.wire.reader import MessageReader

NAME = "intruder-7f3a"  # a user name and a password that stand in no other bytes
GUESS = "guessed-5b1c"
CLIENTS = Path(__file__).parent / "clients"


@pytest.fixture(scope="module")
def tapped(stack: Stack, mongod: MongoFactory) -> Iterator[tuple[Wiretap, MongoDeployment]]:
    """The resource `tapped`: a standalone in clear behind a wiretap, with the account `rw`."""
    deployment = mongod(replace(STANDALONE, tls=False))
    with Wiretap(deployment.members[0].port) as tap:
        stack.wardgate.run(
            *("pam", "resource", "add", "tapped", "--project-id", stack.project_id, "--gateway", "near-db"),
            *("--connection-string", f"mongodb://127.0.0.1:{tap.port}", "--no-ssl"),
        )
        stack.add_account("rw", "tapped", deployment.rw)
        yield tap, deployment


class Raw:
    """A client of one connection, which says what no driver says."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self._reader = MessageReader(1 << 20)

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def run(self, document: dict[str, Any], database: str = "admin") -> dict[str, Any]:
        self._socket.sendall(build_msg(bson.encode({**document, "$db": database}), 7))
        head = self._socket.recv(16, socket.MSG_WAITALL)
        rest = self._socket.recv(struct.unpack_from("<i", head)[0] - 16, socket.MSG_WAITALL)
        return dict(bson.decode(parse_reply(head + rest).body))

    def scram(self, mechanism: Mechanism, password: str, user: str = NAME) -> dict[str, Any]:
        """A whole conversation; the last reply, in which the server proves itself where it accepts."""
        client = ScramClient(mechanism, user, password, base64.b64encode(os.urandom(18)))
        reply = self.run({"saslStart": 1, "mechanism": mechanism.value, "payload": client.start(),
                          "options": {"skipEmptyExchange": True}})  # fmt: skip
        while reply["ok"] and (payload := client.step(reply["payload"])) is not None:
            reply = self.run({"saslContinue": 1, "conversationId": reply["conversationId"], "payload": payload})
        return reply


def commands(sent: bytes) -> list[bson.raw_bson.RawBSONDocument]:
    """The commands of one connection's bytes, in order."""
    reader = MessageReader(48_000_000)
    reader.feed(sent)
    found = []
    while (raw := reader.next()) is not None:
        found.append(bson.raw_bson.RawBSONDocument(parse_request(raw).body))
    return found


def nothing_of_it_went_there(tap: Wiretap, deployment: MongoDeployment, *secrets: str) -> None:
    """Only the gateway's own login did: as the account's user, at most once on a connection, before any command."""
    for sent in tap.sent():
        for word in (NAME, GUESS, *secrets):
            assert word.encode() not in sent
            assert base64.b64encode(word.encode()) not in sent
        names = [next(iter(each)) for each in commands(sent)]
        assert names.count("saslStart") <= 1
        assert not {"authenticate", "logout", "getnonce"}.intersection(names)
        for each in commands(sent):
            assert "speculativeAuthenticate" not in each
            if next(iter(each)) == "saslStart":
                assert deployment.rw.username.encode() in each["payload"]


def password_of(stack: Stack, session: Access) -> str:
    found = stack.wardgate.run("pam", "db", "uri", session.session_id, "--json").json()
    password: str = found["password"]
    return password


def insert(uri: str, **options: Any) -> None:
    with MongoClient[dict[str, Any]](uri, serverSelectionTimeoutMS=15_000, **options) as client:
        client.login_forms.things.insert_one({"options": sorted(options)})


# --- a session as it is by default


def test_drivers_log_in_as_they_like(
    stack: Stack, access: Any, tapped: tuple[Wiretap, MongoDeployment], node: Path, mongosh: Path, tmp_path: Path
) -> None:
    opened: Access = access("tapped")
    password = password_of(stack, opened)
    for mechanism in ("DEFAULT", "SCRAM-SHA-256", "SCRAM-SHA-1"):
        insert(opened.uri, username=NAME, password=password, authMechanism=mechanism)
        with pytest.raises(OperationFailure) as refused:
            insert(opened.uri, username=NAME, password=GUESS, authMechanism=mechanism)
        assert refused.value.code == 18
        assert "remove user and password" in str(refused.value)
    insert(opened.uri, username=NAME, password=GUESS, authMechanism="PLAIN", authSource="$external")
    insert(opened.uri, username=f"CN={NAME}", authMechanism="MONGODB-X509", authSource="$external")
    for userinfo in (f"{NAME}:@", f"{NAME}:{password}@"):
        assert _node(node, opened.uri.replace("//", f"//{userinfo}"), tmp_path) == 1
    for words in (["--username", NAME, "--password", ""], ["--username", NAME, "--password", password]):
        assert _mongosh(mongosh, opened.uri, tmp_path, *words) == 1
    nothing_of_it_went_there(*tapped, password)


def _node(node: Path, uri: str, home: Path) -> int:
    modules = servers.node_modules()
    if modules is None:
        pytest.skip("the Node driver was not found: run “make setup”")
    script = (
        "const {MongoClient} = require('mongodb'); const c = new MongoClient(process.argv[1]);"
        "c.db('login_forms').collection('things').insertOne({}).then(async r => {"
        " console.log(JSON.stringify(Number(r.acknowledged))); await c.close() },"
        " async e => { console.log(JSON.stringify(e.code)); await c.close() })"
    )
    return int(_last_line([node, "-e", script, uri], home, NODE_PATH=str(modules)))


def _mongosh(mongosh: Path, uri: str, home: Path, *words: str) -> int:
    script = (
        "try { print(Number(db.getSiblingDB('login_forms').things.insertOne({}).acknowledged)) }"
        " catch (e) { print(e.code) }"
    )
    return int(_last_line([mongosh, uri, *words, "--quiet", "--norc", "--eval", script], home))


def _last_line(argv: list[Any], home: Path, **environment: str) -> str:
    done = subprocess.run(
        argv,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "HOME": str(home), **environment},
    )
    assert done.stdout.strip(), done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize("mechanism", list(Mechanism))
def test_logging_in_again_and_out_in_mid_connection(
    stack: Stack, access: Any, tapped: tuple[Wiretap, MongoDeployment], mechanism: Mechanism
) -> None:
    opened: Access = access("tapped")
    password = password_of(stack, opened)
    with Raw(opened.port) as client:
        speculative = {"saslStart": 1, "mechanism": mechanism.value, "payload": b"n,,n=" + NAME.encode() + b",r=x"}
        hello = client.run({"hello": 1, "saslSupportedMechs": f"admin.{NAME}", "speculativeAuthenticate": speculative})
        assert hello["ok"] == 1
        assert hello["saslSupportedMechs"] == ["SCRAM-SHA-256"]
        assert "speculativeAuthenticate" not in hello
        for given in ("", password):
            assert client.scram(mechanism, given)["ok"] == 1
            assert client.run({"find": "things"}, "login_forms")["ok"] == 1
        refused = client.scram(mechanism, GUESS)
        assert (refused["ok"], refused["code"]) == (0, 18)
        assert client.run({"logout": 1})["ok"] == 1
        assert client.run({"insert": "things", "documents": [{}]}, "login_forms")["ok"] == 1
        assert client.run({"authenticate": 1, "mechanism": "MONGODB-X509", "user": f"CN={NAME}"}, "$external")["ok"]
        assert client.run({"authenticate": 1, "mechanism": "MONGODB-CR", "user": NAME, "key": GUESS})["code"] == 18
        assert client.run({"getnonce": 1})["ok"] == 1
        unknown = client.run({"saslStart": 1, "mechanism": "GSSAPI", "payload": GUESS.encode()}, "$external")
        assert unknown["code"] == 18
        status = client.run({"connectionStatus": 1})["authInfo"]["authenticatedUsers"]
        assert [each["user"] for each in status] == [tapped[1].rw.username]
    nothing_of_it_went_there(*tapped, password)


# --- a session with local authentication


@pytest.fixture
def required(stack: Stack, access: Any, tapped: tuple[Wiretap, MongoDeployment]) -> tuple[Access, str]:
    """Such a session, and its password."""
    opened: Access = access("tapped", "rw", "1h", "--local-auth")
    user, _, rest = opened.uri.removeprefix("mongodb://").partition(":")
    assert user == "rw"
    return opened, rest.partition("@")[0]


def test_the_uri_is_all_that_a_client_needs(
    required: tuple[Access, str], tapped: tuple[Wiretap, MongoDeployment], node: Path, mongosh: Path, tmp_path: Path
) -> None:
    opened, password = required
    insert(opened.uri)
    for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-1"):
        insert(opened.uri, authMechanism=mechanism)
    insert(opened.uri, authMechanism="PLAIN", authSource="$external")
    assert _node(node, opened.uri, tmp_path) == 1
    assert _node(node, opened.uri + "?authMechanism=SCRAM-SHA-1", tmp_path) == 1
    assert _mongosh(mongosh, opened.uri, tmp_path) == 1
    nothing_of_it_went_there(*tapped, password)


def test_nobody_gets_in_without_the_password(
    required: tuple[Access, str], tapped: tuple[Wiretap, MongoDeployment], node: Path, tmp_path: Path
) -> None:
    opened, password = required
    bare = f"mongodb://127.0.0.1:{opened.port}/"
    with Raw(opened.port) as client:
        assert client.run({"hello": 1})["ok"] == 1
        for command in ({"ping": 1}, {"find": "things"}, {"buildInfo": 1}, {"insert": "things", "documents": [{}]}):
            answer = client.run(command, "login_forms")
            assert (answer["ok"], answer["code"]) == (0, 13), command
        for given in ("", GUESS, password.upper(), password[:-1]):
            assert client.scram(Mechanism.SHA_256, given)["code"] == 18
        for payload in (b"\0rw\0", b"\0rw\0" + GUESS.encode()):
            plain = client.run({"saslStart": 1, "mechanism": "PLAIN", "payload": payload}, "$external")
            assert plain["code"] == 18
        x509 = client.run({"authenticate": 1, "mechanism": "MONGODB-X509", "user": f"CN={NAME}"}, "$external")
        assert x509["code"] == 18
        assert client.run({"find": "things"}, "login_forms")["code"] == 13
        assert client.scram(Mechanism.SHA_256, password)["ok"] == 1
        assert client.run({"find": "things"}, "login_forms")["ok"] == 1
        assert client.run({"logout": 1})["ok"] == 1
        assert client.run({"find": "things"}, "login_forms")["code"] == 13
    with pytest.raises(OperationFailure) as refused:
        insert(bare)
    assert refused.value.code == 13
    assert "password" in str(refused.value)
    assert _node(node, bare, tmp_path) == 13
    nothing_of_it_went_there(*tapped, password)


def test_the_session_says_that_it_requires_a_login(stack: Stack, required: tuple[Access, str], access: Any) -> None:
    opened, password = required
    shown = stack.wardgate.run("pam", "session", "show", opened.session_id, "--json")
    assert json.loads(shown.out)["local_auth"] is True
    assert password not in shown.out
    assert stack.session(access("tapped").session_id)["local_auth"] is False


def test_the_password_is_nowhere_on_record(stack: Stack, required: tuple[Access, str]) -> None:
    opened, password = required
    insert(opened.uri)
    with pytest.raises(OperationFailure):
        insert(opened.uri.replace(password, GUESS))
    opened.close()
    told = stack.wardgate.run("pam", "session", "logs", opened.session_id, "--json").out
    assert "insert" in told
    assert password not in told
    assert GUESS not in told
    for path in (stack.folder / "wg").rglob("*"):
        if path.is_file():
            assert password.encode() not in path.read_bytes(), path
    assert not list((stack.wardgate.config / "sessions").glob(f"{opened.session_id}*"))
