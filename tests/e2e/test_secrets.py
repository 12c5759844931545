"""Nothing secret is anywhere it could be read: logs, spool, database, HTTP answers, process lists, terminals.

One journey with every kind of secret in it, then a search of everything that the programs wrote, said or show, for each
secret in the spellings that it might have there.
"""

from __future__ import annotations

import base64
import contextlib
import json
import sqlite3
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import OperationFailure

from wardgate.testing.mongo import MongoDeployment
from wardgate.testing.stack import Access, Stack

Secrets = dict[str, str | bytes]
NEW_USER_PASSWORD = "made-by-the-client-7c1e0a"


@dataclass
class Journey:
    """What was done, and what must not be found."""

    stack: Stack
    access: Access
    secrets: Secrets = field(default_factory=dict)
    answers: list[str] = field(default_factory=list)


def spellings(secret: str | bytes) -> Iterator[bytes]:
    """The secret as it stands, escaped for JSON and URLs, and in base64 at each of the three alignments."""
    raw = secret.encode() if isinstance(secret, str) else secret
    yield raw
    yield json.dumps(raw.decode(errors="replace"))[1:-1].encode()
    yield urllib.parse.quote(raw, safe="").encode()
    yield raw.hex().encode()
    for shift in range(3):
        encoded = base64.b64encode(b"\0" * shift + raw)
        inner = encoded[4 * (shift > 0) : len(encoded) // 4 * 4 - 4]  # without the characters that neighbours share
        yield inner
        yield inner.replace(b"+", b"-").replace(b"/", b"_")


def leaks(secrets: Secrets, where: str, content: bytes) -> list[str]:
    """`which in where` for every secret found in `content`; never the secret itself."""
    return [
        f"{which} in {where}"
        for which, secret in secrets.items()
        if any(spelling in content for spelling in spellings(secret))
    ]


def _enrolment_parts(token: str) -> Secrets:
    packed = token.removeprefix("wge1_")
    values = json.loads(base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4)))
    secret = values["secret"]
    return {
        "enrolment token": token,
        "enrolment secret": secret,
        "enrolment secret's bytes": base64.urlsafe_b64decode(secret),
    }


@pytest.fixture(scope="module")
def journey(mongod_rs1: MongoDeployment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Journey]:
    with Stack(tmp_path_factory.mktemp("secrets")) as stack:
        stack.init_server()
        stack.start_server()
        stack.login()
        stack.create_project("shop")
        token = stack.create_gateway("near-db")
        stack.start_gateway("near-db", token)
        stack.add_resource("rs", mongod_rs1)
        stack.add_account("rw", "rs", mongod_rs1.rw)
        _wrong_inputs(stack, mongod_rs1)
        access = stack.access("rs", "rw")
        _work(access)
        journey = Journey(stack, access)
        journey.secrets = {
            "MongoDB password": mongod_rs1.rw.password,
            "user's password": stack.admin_password,
            "password in a command": NEW_USER_PASSWORD,
            **_enrolment_parts(token),
            **_login_tokens(stack),
        }
        stack.session(access.session_id)
        stack.logs(access.session_id)
        yield journey


def _login_tokens(stack: Stack) -> dict[str, str]:
    found: dict[str, str] = {}

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                if isinstance(inner, str) and name.endswith("token"):
                    found[name] = inner
                walk(inner)

    walk(json.loads((stack.wardgate.config / "logins.json").read_text()))
    assert {"access_token", "refresh_token"} <= set(found)
    return found


def _wrong_inputs(stack: Stack, mongod: MongoDeployment) -> None:
    """Errors are where secrets leak: each of these carries one."""
    project = ("--project-id", stack.project_id)
    quoted = urllib.parse.quote(mongod.rw.password, safe="")
    stack.wardgate.run(
        *("pam", "resource", "add", "leaky", *project, "--gateway", "near-db", "--no-ssl"),
        *("--connection-string", "mongodb://rw:REDACTED@127.0.0.1/".replace("REDACTED", quoted)),
        check=False,
    )
    stack.wardgate.answers.pop()  # typed into the command line by the user: the answer's argv repeats it
    stack.wardgate.run(
        *("pam", "account", "add", "x" * 80, *project, "--resource", "rs", "--username", "rw", "--password-stdin"),
        stdin=mongod.rw.password + "\n",
        check=False,
    )
    stack.wardgate.run(
        "login", "--email", "nobody@example.com", "--password-stdin", stdin=stack.admin_password + "\n", check=False
    )


def _work(access: Access) -> None:
    with MongoClient[dict[str, Any]](access.uri) as client:
        list(client.shop.orders.find())
        with contextlib.suppress(OperationFailure):
            client.admin.command("createUser", "x", pwd=NEW_USER_PASSWORD, roles=[])
        with contextlib.suppress(OperationFailure):
            client.admin.command("updateUser", "x", pwd=NEW_USER_PASSWORD)
    with (
        contextlib.suppress(OperationFailure),
        MongoClient[dict[str, Any]](
            access.uri.replace("mongodb://", f"mongodb://someone:{NEW_USER_PASSWORD}@")
        ) as client,
    ):
        client.admin.command("buildInfo")


def test_the_search_finds_what_is_there() -> None:
    secret = "pw:/@%é-0123456789abcdef"
    for shift in range(3):
        assert leaks({"s": secret}, "x", base64.b64encode(b"a" * shift + secret.encode() + b"tail"))
    assert leaks({"s": secret}, "x", json.dumps({"p": secret}).encode())
    assert leaks({"s": secret}, "x", f"mongodb://u:{urllib.parse.quote(secret, safe='')}@h".encode())
    assert not leaks({"s": secret}, "x", b"nothing here")


def test_no_file(journey: Journey) -> None:
    """Logs, spool, database, records, keys: every file but the ones that are there to hold the secret."""
    meant = {journey.stack.password_path, journey.stack.wardgate.config / "logins.json"}
    found: list[str] = []
    for path in sorted(journey.stack.folder.rglob("*")):
        if path.is_file() and path not in meant:
            found += leaks(journey.secrets, str(path.relative_to(journey.stack.folder)), path.read_bytes())
    assert not found


def test_the_login_file_holds_tokens_only_for_its_owner(journey: Journey) -> None:
    path = journey.stack.wardgate.config / "logins.json"
    assert path.stat().st_mode & 0o777 == 0o600
    passwords = {which: secret for which, secret in journey.secrets.items() if "token" not in which}
    assert not leaks(passwords, "logins.json", path.read_bytes())


def test_no_database_column(journey: Journey) -> None:
    found: list[str] = []
    path = journey.stack.folder / "wg" / "wardgate.db"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        tables = [name for (name,) in database.execute("select name from sqlite_master where type = 'table'")]
        assert len(tables) > 5
        for table in tables:
            rows = database.execute(f'select * from "{table}"')
            for row in rows:
                for column, value in zip(rows.description, row, strict=True):
                    content = value if isinstance(value, bytes) else str(value).encode()
                    found += leaks(journey.secrets, f"{table}.{column[0]}", content)
    assert not found


def _descendants(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            yield from _descendants(int(child))


def test_no_process_list(journey: Journey) -> None:
    """Arguments and environments of all our processes and their children (the relay is the control plane's)."""
    found: list[str] = []
    pids = [pid for process in journey.stack.processes() for pid in _descendants(process.pid)]
    assert len(pids) >= 4  # control plane, relay, gateway, local proxy
    for pid in pids:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
        for kind in ("cmdline", "environ"):
            found += leaks(journey.secrets, f"{kind} of {name}", Path(f"/proc/{pid}/{kind}").read_bytes())
    assert not found


def test_no_terminal(journey: Journey) -> None:
    """All that the CLI printed; the enrolment token is shown once, where it is issued."""
    found: list[str] = []
    for answer in journey.stack.wardgate.answers:
        issued = answer.argv[1:3] == ("gateway", "create")
        secrets = {w: s for w, s in journey.secrets.items() if not (issued and w.startswith("enrolment"))}
        found += leaks(secrets, " ".join(answer.argv[1:4]), (answer.out + answer.err).encode())
    assert not found


def test_no_http_answer(journey: Journey) -> None:
    """Every endpoint that can be read, as the administrator, and the pages that a stranger gets."""
    tokens = _login_tokens(journey.stack)
    project, session = journey.stack.project_id, journey.access.session_id
    paths = [
        *("/auth/whoami", "/projects", f"/projects/{project}", f"/projects/{project}/gateways", "/relays"),
        *(f"/projects/{project}/resources", f"/projects/{project}/resources/rs"),
        *(f"/projects/{project}/resources/rs/accounts", f"/projects/{project}/resources/rs/accounts/rw"),
        *(f"/projects/{project}/sessions", f"/sessions/{session}", f"/sessions/{session}/records"),
        *(f"/sessions/{session}/verification", "/projects/prj_absent", "/auth/login"),
    ]
    found: list[str] = []
    for path in paths:
        for token in (tokens["access_token"], "wrong", None):
            found += leaks(journey.secrets, path, _get(journey.stack.domain, path, token))
    assert not found


def _get(domain: str, path: str, token: str | None) -> bytes:

    request = urllib.request.Request(f"{domain}/api/v1{path}")
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return bytes(answer.read()) + str(answer.headers).encode()
    except urllib.error.HTTPError as error:
        with error:
            return bytes(error.read()) + str(error.headers).encode()
