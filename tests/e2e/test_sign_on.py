"""What is wrong between gateway and database reaches the person in one sentence: at the start of a session on the
terminal, later through the driver and within the time that it waits.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import ConnectionFailure, OperationFailure

from wardgate.testing.certificates import CertificateAuthority, write_private
from wardgate.testing.mongo import STANDALONE, MongoDeployment
from wardgate.testing.stack import Access, Answer, Stack

Client = MongoClient[dict[str, Any]]
SELECTION_MS = 6_000


@pytest.fixture(scope="module")
def broken(mongod_binary: Path) -> Iterator[MongoDeployment]:
    """A standalone whose certificate and password this module changes."""
    with MongoDeployment(STANDALONE, mongod=mongod_binary) as deployment:
        yield deployment


@pytest.fixture(scope="module")
def product(broken: MongoDeployment) -> Iterator[Stack]:
    folder = Path(tempfile.mkdtemp(prefix="wardgate-signon-"))
    try:
        with Stack(folder) as running:
            running.up()
            running.add_resource("db", broken)
            running.add_account("rw", "db", broken.rw)
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def refused_access(product: Stack, resource: str, account: str = "rw") -> Answer:
    return product.wardgate.run(
        *("pam", "db", "access", "--resource", resource, "--account", account, "--project-id", product.project_id),
        *("--duration", "1h", "--json"),
        check=False,
    )


def with_certificate(deployment: MongoDeployment, pem: bytes) -> None:
    """The server comes back with another certificate."""
    deployment.kill(0)
    write_private(deployment.members[0].folder / "server.pem", pem)
    deployment.restart(0)


Issue = Callable[[CertificateAuthority], bytes]
# (mongod itself refuses to start with an expired one; tests/gateway/mongo/test_connection.py has that case.)
CERTIFICATES: list[tuple[str, Issue, str, str]] = [
    (
        "untrusted",
        lambda _: CertificateAuthority.create("other").issue(),
        "tls_untrusted",
        "not signed by a trusted",
    ),
    ("another name", lambda ca: ca.issue(("db.elsewhere.example",)), "tls_hostname", "is for another name"),
]


@pytest.mark.parametrize(("name", "issue", "code", "words"), CERTIFICATES, ids=[each[0] for each in CERTIFICATES])
def test_a_certificate_goes_wrong_while_a_session_is_open(
    product: Stack, broken: MongoDeployment, name: str, issue: Issue, code: str, words: str
) -> None:
    assert broken.ca is not None
    right = (broken.members[0].folder / "server.pem").read_bytes()
    opened: Access = product.access("db", "rw", "1h")
    try:
        with Client(opened.uri, journal=True) as client:  # the server is killed next
            client.signon.things.insert_one({"name": name})
        with_certificate(broken, issue(broken.ca))
        started = time.monotonic()
        with (
            Client(opened.uri, serverSelectionTimeoutMS=SELECTION_MS) as client,
            pytest.raises(ConnectionFailure) as caught,
        ):
            client.admin.command("ping")
        assert words in str(caught.value)
        assert time.monotonic() - started < 30, "it came with the driver's own time-out, not after it"
        answer = refused_access(product, "db")
        assert (answer.status, answer.problem()["code"]) == (1, code)
        assert words in answer.problem()["detail"]
        with_certificate(broken, right)
        with Client(opened.uri) as client:
            assert client.signon.things.find_one({"name": name}) is not None
    finally:
        opened.process.stop()
        if (broken.members[0].folder / "server.pem").read_bytes() != right:
            with_certificate(broken, right)


def test_a_password_is_changed_while_a_session_is_open(product: Stack, broken: MongoDeployment) -> None:
    login = broken.create_login(replace(broken.rw, username="changing"), ["readWriteAnyDatabase"])
    product.add_account("changing", "db", login)
    opened: Access = product.access("db", "changing", "1h")
    try:
        with broken.client() as client:
            client.admin.command("updateUser", "changing", pwd="another")
        with Client(opened.uri) as client, pytest.raises(OperationFailure) as caught:
            client.signon.things.find_one()
        assert caught.value.code == 18
        assert "the password is wrong" in str(caught.value)
        assert login.password not in str(caught.value)
    finally:
        opened.process.stop()


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--no-ssl"], "tls_required", "perhaps it takes TLS connections only"),
        (["--ca-certificate", "OTHER"], "tls_untrusted", "not signed by a trusted authority"),
    ],
)
def test_a_resource_that_was_saved_untested(
    product: Stack, broken: MongoDeployment, options: list[str], code: str, words: str
) -> None:
    other = product.folder / "other-ca.pem"
    other.write_text(CertificateAuthority.create("somebody else").pem)
    chosen = [str(other) if option == "OTHER" else option for option in options]
    name = f"untested-{code.replace('_', '-')}"
    product.wardgate.run(
        *("pam", "resource", "add", name, "--project-id", product.project_id, "--gateway", "near-db", "--no-test"),
        *("--connection-string", broken.connection_string, *chosen),
    )
    product.add_account("rw", name, broken.rw, "--no-test")
    answer = refused_access(product, name)
    assert answer.status == 1
    assert words in answer.problem()["detail"]
    tested = product.wardgate.run(
        *("pam", "resource", "test", name, "--project-id", product.project_id, "--json"), check=False
    )
    assert [hop["code"] for hop in tested.json()["hops"] if not hop["ok"]] == [code]


def test_tls_towards_a_server_that_speaks_none(product: Stack, mongod_binary: Path) -> None:
    with MongoDeployment(replace(STANDALONE, tls=False), mongod=mongod_binary) as plain:
        product.wardgate.run(
            *("pam", "resource", "add", "plain", "--project-id", product.project_id, "--gateway", "near-db"),
            *("--connection-string", plain.connection_string, "--no-test"),
        )
        product.add_account("rw", "plain", plain.rw, "--no-test")
        answer = refused_access(product, "plain")
        assert answer.status == 1
        assert "speak TLS" in answer.problem()["detail"]
