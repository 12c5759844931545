"""The tour: from an empty folder to a verified session, line by line as a person types it (docs/cli.md).

Only what differs from machine to machine is filled in: free ports, ids, the token, the database's address and CA.
Background lines are started and not waited for, as in a shell.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from wardgate.testing.mongo import RS1, STANDALONE, MongoFactory, Shape
from wardgate.testing.ports import free_ports
from wardgate.testing.processes import Process
from wardgate.testing.stack import find_executable

TOUR = """
wardgate server init --data-dir ./wg --admin-email admin@example.com --admin-password-stdin < pw
wardgate server run  --data-dir ./wg --listen 127.0.0.1:{api} --relay-listen 127.0.0.1:{relay} &
export WARDGATE_DOMAIN=http://127.0.0.1:{api} WARDGATE_CONFIG_DIR=./me
wardgate login --email admin@example.com --password-stdin < pw
wardgate project create shop --json
wardgate gateway create near-db --project-id {project} --json
wardgate gateway run --name near-db --token {token} --data-dir ./gw &
wardgate pam resource add production-mongo --project-id {project} --gateway near-db \
    --connection-string {database} --database admin --ca-certificate ca.pem --json
wardgate pam account add readonly-user --project-id {project} --resource production-mongo --username ro \
    --password-stdin < dbpw
wardgate pam resource test production-mongo --project-id {project}
wardgate pam db access --resource production-mongo --account readonly-user --project-id {project} --duration 1h &
wardgate pam session list --project-id {project} --json
wardgate pam session logs {session} --json
wardgate pam session verify {session}
"""


@dataclass
class Shell:
    """A shell in `folder`: exported variables, background processes and the words that are filled in."""

    folder: Path
    words: dict[str, str]
    environment: dict[str, str] = field(default_factory=dict)
    background: list[Process] = field(default_factory=list)

    def __post_init__(self) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("WARDGATE_")}
        self.environment = {**kept, "PATH": f"{find_executable().parent}{os.pathsep}{kept['PATH']}"}

    def type(self, line: str) -> str:
        """Run one line; what it printed (nothing yet for one that ends with &)."""
        line = line.format(**self.words)
        if line.startswith("export "):
            for pair in shlex.split(line)[1:]:
                name, _, value = pair.partition("=")
                self.environment[name] = value
            return ""
        if line.endswith("&"):
            argv = shlex.split(line.removesuffix("&"))
            argv[0] = str(find_executable())
            name = "-".join(argv[1:4:2])
            self.background.append(Process(name, argv, self.folder / "logs", env=self.environment, cwd=self.folder))
            return ""
        done = subprocess.run(
            ["bash", "-c", line],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return done.stdout

    def close(self) -> None:
        for process in reversed(self.background):
            process.stop()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    api, relay = free_ports(2)
    opened = Shell(tmp_path, {"api": str(api), "relay": str(relay)})
    yield opened
    opened.close()


def _lines() -> list[str]:
    return [line for line in TOUR.replace("\\\n", " ").splitlines() if line]


def _words_of(line: str, printed: str) -> dict[str, str]:
    """What a person copies from one answer into the next command."""
    if line.startswith("wardgate project create"):
        return {"project": json.loads(printed)["id"]}
    if line.startswith("wardgate gateway create"):
        return {"token": json.loads(printed)["token"]}
    return {}


def _read_orders(access: Process) -> None:
    """What the person does between the access line and the next: copy the URI that stands alone on its line."""
    printed = access.wait_line(lambda line: line.strip().startswith("mongodb://"), 30)
    with MongoClient[dict[str, Any]](re.sub(r"\x1b\[[0-9;]*m", "", printed).strip()) as client:
        assert client.tour.orders.count_documents({}) == 3
        assert [order["_id"] for order in client.tour.orders.find({}, sort={"_id": 1})] == [1, 2, 3]
    access.interrupt()
    assert access.wait(15) == 0, access.stderr()


@pytest.mark.slow
@pytest.mark.parametrize("shape", [RS1, STANDALONE], ids=["rs1", "standalone"])
def test_the_tour(mongod: MongoFactory, shape: Shape, shell: Shell) -> None:
    deployment = mongod(shape)
    with deployment.client() as client:
        client.drop_database("tour")
        client.tour.orders.insert_many({"_id": number} for number in (1, 2, 3))
    (shell.folder / "pw").write_text("correct horse battery staple\n")
    (shell.folder / "dbpw").write_text(deployment.ro.password + "\n")
    shutil.copy(deployment.ca_path, shell.folder / "ca.pem")
    shell.words["database"] = shlex.quote(deployment.connection_string)
    said: dict[str, str] = {}
    for line in _lines():
        printed = said[" ".join(line.split()[1:4])] = shell.type(line)
        shell.words.update(_words_of(line, printed))
        if "db access" in line:
            _read_orders(shell.background[-1])
            [session] = json.loads(shell.type("wardgate pam session list --project-id {project} --json"))
            shell.words["session"] = session["id"]
    _check_session(json.loads(said["pam session list"]))
    _check_records([json.loads(line) for line in said["pam session logs"].splitlines()])
    assert "verified" in said["pam session verify"]
    assert {hop["hop"] for hop in json.loads(said["pam resource add"])["test"]["hops"]} >= {"dns", "tcp", "tls"}
    for process in reversed(shell.background):
        assert process.stop() == 0, process.stderr()


def _check_session(sessions: list[dict[str, Any]]) -> None:
    [session] = sessions
    assert session["user"] == "admin@example.com"
    assert (session["resource"], session["account"]) == ("production-mongo", "readonly-user")
    assert (session["status"], session["end_reason"]) == ("ended", "client_closed")
    assert session["created_at"] <= session["started_at"] <= session["ended_at"] <= session["expires_at"]
    assert session["duration_s"] > 0
    assert session["commands"] >= 2
    assert session["errors"] == 0


def _check_records(records: list[dict[str, Any]]) -> None:
    [count, find] = [
        each for each in records if each["command"] in {"aggregate", "find"} and each["database"] == "tour"
    ]
    for record in (count, find):
        assert (record["kind"], record["collection"], record["effect"], record["ok"]) == (
            "command",
            "orders",
            "read",
            1,
        )
        assert record["bytes_in"] > 0
        assert record["bytes_out"] > 0
    assert find["documents"] == 3
    assert find["body"]["find"] == "orders"
    assert not {"hello", "isMaster", "ismaster", "saslStart", "saslContinue"} & {each["command"] for each in records}
    kinds = [record["kind"] for record in records]
    assert kinds[0] == kinds[-1] == "session"
    assert "connection" in kinds
