"""Every command that carries a secret, typed through a session for real: the secret is nowhere afterwards.

The list is the driver specifications' and ours beside it. Whether MongoDB takes, refuses or does not know a command is
all the same: it was sent. What is searched is everything that the programs keep or say: spool, store, database, logs,
exports in all forms (the bundle's frames opened with its keys too), log, search, live tail, terminals.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bson import Binary, Int64
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError

from wardgate.audit.chain import open_frame
from wardgate.audit.codec import decode
from wardgate.audit.frame import Kind as FrameKind
from wardgate.audit.frame import split
from wardgate.audit.parts import open_documents
from wardgate.audit.records import CommandIntent, Denied, UploadPart
from wardgate.proof.bundle import open_bundle
from wardgate.testing.stack import Access, Stack

from .test_secrets import leaks

Client = MongoClient[dict[str, Any]]
SECRET = "typed-by-a-person-93c1f7"
RAW = b"bytes-of-a-key-5b8d0e2a"
S, B = SECRET, Binary(RAW)

# (database, command); each has SECRET or RAW in it
COMMANDS: list[tuple[str, dict[str, Any]]] = [
    ("admin", {"createUser": "eve", "pwd": S, "roles": [], "mechanisms": ["SCRAM-SHA-256"]}),
    ("admin", {"updateUser": "eve", "pwd": S, "customData": {"note": "kept"}}),
    ("admin", {"createUser": "eve", "pwd": {"odd": [S]}, "roles": []}),
    ("admin", {"createuser": "eve", "pwd": S}),
    ("admin", {"explain": {"createUser": "eve", "pwd": S, "roles": []}}),
    ("shop", {"pwd": S, "createUser": "eve", "roles": []}),
    ("admin", {"authenticate": 1, "user": "eve", "nonce": S, "key": S}),
    ("admin", {"getnonce": 1, "nonce": S}),
    ("admin", {"saslStart": 1, "mechanism": "SCRAM-SHA-256", "payload": B, "autoAuthorize": 1}),
    ("admin", {"saslStart": 1, "mechanism": "MONGODB-OIDC", "payload": B}),
    ("$external", {"saslStart": 1, "mechanism": "PLAIN", "payload": Binary(b"\0eve\0" + RAW)}),
    ("admin", {"saslContinue": 1, "conversationId": 1, "payload": B}),
    ("admin", {"hello": 1, "speculativeAuthenticate": {"saslStart": 1, "mechanism": "PLAIN", "payload": B}}),
    ("admin", {"isMaster": 1, "speculativeAuthenticate": {"authenticate": 1, "user": S, "key": S}}),
    ("admin", {"copydb": 1, "fromhost": "h", "fromdb": "a", "todb": "b", "username": "eve", "nonce": S, "key": S}),
    ("admin", {"copydbsaslstart": 1, "payload": B}),
    ("admin", {"copydbgetnonce": 1, "nonce": S}),
    ("admin", {"createRole": "r", "privileges": [], "roles": [], "pwd": S}),
    ("admin", {"setParameter": 1, "ldapBindPassword": S, "ldapQueryPassword": S}),
    ("admin", {"setParameter": 1, "awsSecretAccessKey": S, "tlsClusterPassword": S}),
    ("admin", {"setClusterParameter": {"someServiceSecret": S}}),
    ("admin", {"insert": "system.users", "documents": [{"_id": "x", "credentials": {"SCRAM-SHA-256": {"k": S}}}]}),
    ("admin", {"update": "system.users", "updates": [{"q": {}, "u": {"$set": {"credentials.x": S}}}]}),
    ("admin", {"findAndModify": "system.users", "query": {"credentials.x": S}, "update": {"$set": {"x": S}}}),
    ("admin", {"delete": "system.users", "deletes": [{"q": {"credentials.x": S}, "limit": 1}]}),
    ("shop", {"aggregate": "orders", "pipeline": [{"$addFields": {"credentials": S}},
                                                  {"$merge": {"into": {"db": "admin", "coll": "system.users"}}}],
              "cursor": {}}),
    ("admin", {"applyOps": [{"op": "i", "ns": "admin.system.users", "o": {"_id": "x", "credentials": S}}]}),
    ("admin", {"doTxn": [{"op": "i", "ns": "admin.system.users", "o": {"_id": "x", "credentials": S}}]}),
    ("admin", {"_mergeAuthzCollections": 1, "tempUsersCollection": S, "tempRolesCollection": "r", "db": "", "drop": 0}),
    ("admin", {"_addShard": 1, "credentials": {"key": S}}),
    ("admin", {"importCollection": "x", "collectionProperties": {"credentials": S}}),
    ("admin", {"rotateCertificates": 1, "password": S}),
    ("admin", {"noSuchCommand": 1, "password": S, "deep": [{"PassWd": S}], "secret": S, "credentials": [S]}),
    # the project's own secrets, which its rules name
    ("shop", {"find": "people", "filter": {"passport": S, "$or": [{"passport": {"$in": [S]}}]}}),
    ("shop", {"insert": "people", "documents": [{"passport": S, "_id": Int64(1)}]}),
    ("shop", {"insert": "people", "documents": [{"_id": n, "passport": S, "pad": "x" * 5000} for n in range(100)]}),
    ("shop", {"update": "people", "updates": [{"q": {"passport": S}, "u": {"$set": {"passport": S}}}]}),
    ("shop", {"aggregate": "people", "pipeline": [{"$match": {"$expr": {"$eq": ["$passport", S]}}}], "cursor": {}}),
    ("shop", {"distinct": "people", "key": "passport", "query": {"passport": {"$ne": S}}}),
    ("shop", {"create": "typed", "validator": {"note": {"$ne": f"key={S}"}}}),
    ("shop", {"find": "typed", "filter": {"x": f"key={S}"}, "comment": f"key={S}"}),
]  # fmt: skip


@pytest.fixture(scope="module")
def typed(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, Access, dict[str, bytes]]]:
    """All of them sent, by an account that may and by one that may not; and everything that was said of it."""
    project = stack.project_id
    stack.wardgate.run("project", "masking", "add", project, "passport", "--path", "shop/people.passport")
    stack.wardgate.run("project", "masking", "add", project, "keys", "--pattern", "key=[a-z]")
    said: dict[str, bytes] = {}
    try:
        for account in ("rw", "ro"):
            opened = stack.access("single", account)
            with Client(opened.uri, retryReads=False, retryWrites=False, serverSelectionTimeoutMS=5_000) as client:
                for database, document in COMMANDS:
                    # Some are refused with the end of the connection: the driver opens another one.
                    with contextlib.suppress(PyMongoError, OperationFailure):
                        client[database].command(document)
                client.admin.command("ping")
            _wait(stack, opened.session_id)
            opened.close()
            folder = tmp_path_factory.mktemp(account)
            for form in ("jsonl", "csv", "mongosh", "bundle"):
                path = folder / f"export.{form}"
                stack.wardgate.run(
                    "pam", "session", "export", opened.session_id, "--format", form, "--output", str(path)
                )
                said[f"{account} {form}"] = path.read_bytes()
            for name, args in {
                "logs": ("pam", "session", "logs", opened.session_id, "--json"),
                "tail": ("pam", "session", "logs", opened.session_id, "--follow", "--json"),
                "search": ("pam", "search", "--session", opened.session_id, "--bodies", "--json", "--limit", "1000"),
                "events": ("audit", "list", "--json"),
            }.items():
                answer = stack.wardgate.run(*args)
                said[f"{account} {name}"] = (answer.out + answer.err).encode()
        yield stack, opened, said
    finally:
        for name in ("passport", "keys"):
            stack.wardgate.run("project", "masking", "remove", project, name)


def _wait(stack: Stack, session_id: str) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if any(each.get("command") == "ping" for each in stack.logs(session_id)):
            return
        time.sleep(0.2)


SECRETS: dict[str, str | bytes] = {"a password": SECRET, "a key": RAW}


def test_every_command_is_on_record(typed: tuple[Stack, Access, dict[str, bytes]]) -> None:
    """Otherwise nothing would be proved by its secret's absence. hello and logins are counted, not listed."""
    logged = typed[2]["rw logs"].decode()
    counted = {"authenticate", "copydbgetnonce", "copydbsaslstart", "getnonce", "hello", "isMaster"}
    counted |= {"saslContinue", "saslStart"}
    for _, document in COMMANDS:
        name = next(iter(document))
        if name not in counted:
            assert f'"command":"{name}"' in logged.replace(" ", ""), name
    assert logged.count("wardgateMasked") >= len(COMMANDS) - len(counted) - 5


def test_no_answer_shows_it(typed: tuple[Stack, Access, dict[str, bytes]]) -> None:
    found = [leak for where, content in typed[2].items() for leak in leaks(SECRETS, where, content)]
    assert not found


def test_no_file_has_it(typed: tuple[Stack, Access, dict[str, bytes]]) -> None:
    """Spool, store, database, logs, of all programs."""
    folder = Path(typed[0].folder)
    found: list[str] = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found += leaks(SECRETS, str(path.relative_to(folder)), path.read_bytes())
    assert not found


def test_no_stored_frame_has_it_when_opened(typed: tuple[Stack, Access, dict[str, bytes]]) -> None:
    """The bundle has the epochs' keys: with them every record is plain, and so are the parts of streamed requests."""
    for account in ("rw", "ro"):
        bundle = open_bundle(typed[2][f"{account} bundle"])
        documents: list[bytes] = []
        for epoch in bundle.manifest.epochs:
            for data in bundle.objects(epoch):
                documents += [
                    open_frame(frame, epoch.key) for frame in split(data) if frame.head.kind == FrameKind.RECORD
                ]
        records = [decode(document).record for document in documents]
        parts = [record for record in records if isinstance(record, UploadPart)]
        streamed = [each.streamed for each in records if isinstance(each, CommandIntent | Denied) and each.streamed]
        assert streamed, "one of the inserts is that large"
        opened = [
            repr(open_documents(each, [part.data for part in parts if part.opened == each.opened])).encode()
            for each in streamed
            if each.key
        ]
        assert opened
        assert not leaks(SECRETS, account, b"".join(documents))
        assert not leaks(SECRETS, account, b"".join(opened))
