"""Wrong input is answered in one helpful sentence, with the exit code that scripts can rely on."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from wardgate.testing.certificates import CertificateAuthority
from wardgate.testing.mongo import MongoDeployment
from wardgate.testing.ports import free_port
from wardgate.testing.stack import Answer, Stack

USAGE, FAILED, REFUSED, UNREACHABLE = 2, 1, 4, 5


def _problem(answer: Answer, status: int) -> dict[str, Any]:
    assert answer.status == status, answer.err or answer.out
    problem: dict[str, Any] = json.loads(answer.err)
    assert problem["code"]
    assert problem["detail"].endswith(".")
    assert "\n" not in problem["detail"]
    return problem


def _add_resource(stack: Stack, *options: str | Path, gateway: str = "near-db") -> Answer:
    return stack.wardgate.run(
        *(
            "pam",
            "resource",
            "add",
            "wrong",
            "--project-id",
            stack.project_id,
            "--gateway",
            gateway,
            *options,
            "--json",
        ),
        check=False,
    )


@pytest.mark.parametrize(
    ("connection_string", "words"),
    [
        ("mongodb://user:hunter2@127.0.0.1:27017/", ("password", "account")),
        ("mongodb://127.0.0.1:27017/shop", ("database",)),
        ("mongodb://127.0.0.1:27017/?replicaset=rs0&frobnicate=1", ("frobnicate",)),
        ("mongodb+srv://cluster.example.com:27017/", ("mongodb+srv", "port")),
        ("http://127.0.0.1/", ("mongodb://",)),
        ("mongodb://127.0.0.1:99999/", ("port",)),
    ],
)
def test_connection_strings(stack: Stack, connection_string: str, words: Sequence[str]) -> None:
    answer = _add_resource(stack, "--connection-string", connection_string, "--no-ssl")
    problem = _problem(answer, USAGE)
    assert all(word in json.dumps(problem) for word in words), problem
    assert "hunter2" not in answer.err + answer.out


def test_a_ca_that_is_none(stack: Stack, tmp_path: Path) -> None:
    bad = tmp_path / "ca.pem"
    bad.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    answer = _add_resource(stack, "--connection-string", "mongodb://127.0.0.1:27017/", "--ca-certificate", bad)
    _problem(answer, USAGE)


def test_a_certificate_of_another_authority(stack: Stack, mongod_rs1: MongoDeployment, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_text(CertificateAuthority.create("somebody else").pem)
    answer = _add_resource(stack, "--connection-string", mongod_rs1.connection_string, "--ca-certificate", other)
    assert "tls_untrusted" in json.dumps(_problem(answer, FAILED))


def test_an_unreachable_host(stack: Stack) -> None:
    answer = _add_resource(stack, "--connection-string", f"mongodb://127.0.0.1:{free_port()}/", "--no-ssl")
    assert "tcp_refused" in json.dumps(_problem(answer, FAILED))


def test_a_wrong_mongodb_password(stack: Stack) -> None:
    answer = stack.wardgate.run(
        *("pam", "account", "add", "wrong", "--project-id", stack.project_id, "--resource", "rs", "--username", "ro"),
        *("--password-stdin", "--json"),
        stdin="guess\n",
        check=False,
    )
    assert "login_failed" in json.dumps(_problem(answer, FAILED))
    assert "guess" not in answer.err + answer.out


def test_a_gateway_that_is_offline(stack: Stack) -> None:
    stack.create_gateway("never-started")
    string = "mongodb://127.0.0.1:27017/"
    answer = _add_resource(stack, "--connection-string", string, "--no-ssl", gateway="never-started")
    assert _problem(answer, UNREACHABLE)["code"] == "gateway_offline"


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"--resource": "absent"}, REFUSED),
        ({"--account": "absent"}, REFUSED),
        ({"--project-id": "prj_00000000000000000000000000"}, REFUSED),
        ({"--duration": "soon"}, USAGE),
        ({"--duration": "1s"}, USAGE),
        ({"--duration": "31d"}, USAGE),
    ],
)
def test_access(stack: Stack, changes: dict[str, str], status: int) -> None:
    options = {"--resource": "rs", "--account": "ro", "--project-id": stack.project_id, "--duration": "1h", **changes}
    words = [word for pair in options.items() for word in pair]
    _problem(stack.wardgate.run("pam", "db", "access", *words, "--json", check=False), status)


def test_a_port_in_use(stack: Stack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        answer = stack.wardgate.run(
            *("pam", "db", "access", "--resource", "rs", "--account", "ro", "--project-id", stack.project_id),
            *("--duration", "1h", "--port", str(taken.getsockname()[1]), "--json"),
            check=False,
        )
    _problem(answer, FAILED)


def test_nobody_is_logged_in(stack: Stack, tmp_path: Path) -> None:
    answer = stack.wardgate.run("project", "list", "--json", env={"WARDGATE_CONFIG_DIR": str(tmp_path)}, check=False)
    assert _problem(answer, 3)["code"] == "not_logged_in"


def test_no_control_plane(stack: Stack) -> None:
    answer = stack.wardgate.run("project", "list", "--domain", f"http://127.0.0.1:{free_port()}", "--json", check=False)
    assert answer.status in {3, 6}
