"""`wardgate server init` and `server run` as real processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
import trustme

from wardgate.testing.ports import free_port
from wardgate.testing.processes import Process

WARDGATE = (sys.executable, "-c", "from wardgate.cli.main import main; main()")
PASSWORD = "a password with spaces "
EMAIL = "admin@example.com"
Start = Callable[..., Process]


def environment(**extra: str) -> dict[str, str]:
    return {**{name: value for name, value in os.environ.items() if not name.startswith("WARDGATE_")}, **extra}


def wardgate(*arguments: object, stdin: str = "", **extra: str) -> subprocess.CompletedProcess[str]:
    argv = [*WARDGATE, *map(str, arguments)]
    return subprocess.run(
        argv, input=stdin, capture_output=True, text=True, env=environment(**extra), timeout=60, check=False
    )


def init(
    folder: Path, *flags: object, password: str = PASSWORD + "\n", **extra: str
) -> subprocess.CompletedProcess[str]:
    flags = ("--data-dir", folder, "--admin-email", EMAIL, "--admin-password-stdin", *flags)
    return wardgate("server", "init", *flags, stdin=password, **extra)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One initialised folder; tests that change it make their own."""
    folder = tmp_path_factory.mktemp("made") / "wg"
    done = init(folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """`start("--data-dir", …)`: a `server run` that is ended after the test."""
    processes: list[Process] = []

    def run(*flags: object, ready: bool = True, **extra: str) -> Process:
        argv = [*WARDGATE, "server", "run", *map(str, flags)]
        process = Process(f"server{len(processes)}", argv, tmp_path, env=environment(**extra))
        processes.append(process)
        if ready:
            process.wait_line(bool, 30)
        return process

    yield run
    for process in processes:
        process.stop()


def test_init_makes_a_private_folder_and_one_administrator(made: Path) -> None:
    assert made.stat().st_mode & 0o777 == 0o700
    assert {entry.name for entry in made.iterdir()} <= {
        "wardgate.db",
        "master.key",
        "lock",
        "wardgate.db-wal",
        "wardgate.db-shm",
    }
    for name in ("wardgate.db", "master.key"):
        assert (made / name).stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(f"file:{made / 'wardgate.db'}?mode=ro", uri=True) as database:
        users = database.execute("SELECT email, role, project_id FROM users JOIN role_bindings ON user_id = users.id")
        assert users.fetchall() == [(EMAIL, "admin", None)]
        (phc,) = database.execute("SELECT password_hash FROM users").fetchone()
    database.close()
    assert phc.startswith("$argon2id$v=19$m=65536,t=3,p=1$")
    assert PASSWORD.encode() not in (made / "wardgate.db").read_bytes()


def test_init_refuses_a_folder_that_has_a_database(made: Path) -> None:
    before = (made / "wardgate.db").read_bytes()
    again = init(made)
    assert again.returncode == 1
    assert again.stderr == f"error: {made} has a control plane already: name another folder.\n"
    assert (made / "wardgate.db").read_bytes() == before


@pytest.mark.parametrize(
    ("flags", "password", "status", "says"),
    [
        ((), "", 2, "empty"),
        ((), "\n", 2, "empty"),
        (("--admin-email", "nobody"), "pw", 2, "not an e-mail address"),
        (("--master-key-file", "/nonexistent/master.key"), "pw", 1, "can't be written"),
    ],
)
def test_init_that_fails_leaves_nothing(
    tmp_path: Path, flags: tuple[str, ...], password: str, status: int, says: str
) -> None:
    done = init(tmp_path / "wg", *flags, password=password)
    assert done.returncode == status
    assert says in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    left = {entry.name for entry in (tmp_path / "wg").iterdir()} if (tmp_path / "wg").exists() else set()
    assert left <= {"lock"}


def test_init_without_an_administrator_leaves_a_code_to_make_one_with(tmp_path: Path, start: Start) -> None:
    folder = tmp_path / "wg"
    done = wardgate("server", "init", "--data-dir", folder)
    assert done.returncode == 0, done.stderr
    path = folder / "setup-code"
    assert str(path) in done.stdout
    assert path.stat().st_mode & 0o777 == 0o600
    code = path.read_text().strip()
    assert code.replace("-", "") not in (folder / "wardgate.db").read_bytes().hex()
    port = free_port()
    server = start("--data-dir", folder, "--listen", f"127.0.0.1:{port}", "--json")
    url = f"http://127.0.0.1:{port}"
    with httpx2.Client(base_url=url, headers={"origin": url}) as browser:
        assert browser.get("/sign-in").headers["location"] == "/set-up"
        form = {"code": code, "organisation": "Shop", "email": EMAIL, "password": PASSWORD, "project": "shop"}
        assert browser.post("/set-up", data=form | {"code": "0" * 32}).status_code == 401
        made = browser.post("/set-up", data=form)
        assert (made.status_code, made.headers["location"][-6:]) == (303, "/start")
        assert not path.exists()
        assert browser.post("/set-up", data=form | {"email": "eve@example.com"}).status_code == 404
        login = browser.post("/api/v1/auth/login", json={"email": EMAIL, "password": PASSWORD})
        assert login.status_code == 200
    assert server.stop() == 0
    assert code not in "".join(server.lines)


@pytest.mark.parametrize(
    "flags", [("--admin-email", EMAIL), ("--admin-password-stdin",), ("--organisation", "Shop")], ids=lambda f: f[0]
)
def test_init_takes_all_of_the_administrator_or_nothing(tmp_path: Path, flags: tuple[str, ...]) -> None:
    done = wardgate("server", "init", "--data-dir", tmp_path / "wg", *flags, stdin="pw")
    assert done.returncode == 2
    assert "--admin-email" in done.stderr
    assert not (tmp_path / "wg").exists()


def test_init_does_not_take_over_a_folder_that_others_use(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "theirs").touch()
    done = init(tmp_path)
    assert done.returncode == 1
    assert "chmod 700" in done.stderr


def test_run_is_ready_serves_and_stops_on_sigterm(made: Path, start: Start) -> None:
    port = free_port()
    server = start("--data-dir", made, "--listen", f"127.0.0.1:{port}", "--json")
    ready = json.loads(server.lines[0])
    assert ready == {"event": "ready", "url": f"http://127.0.0.1:{port}", "relay": None}
    with httpx2.Client(base_url=ready["url"]) as client:
        tokens = client.post("/api/v1/auth/login", json={"email": EMAIL, "password": PASSWORD}).json()
        headers = {"authorization": f"Bearer {tokens['access_token']}"}
        assert client.get("/api/v1/auth/whoami?token=visible-secret", headers=headers).json()["email"] == EMAIL
        assert client.post("/api/v1/auth/login", json={"email": EMAIL, "password": "pw"}).status_code == 401
        assert client.get("/api/v1/health", headers={"host": "evil.example"}).status_code == 421
        assert client.get("/api/v1/health", headers={"host": f"localhost:{port}"}).status_code == 200
    server.send(signal.SIGTERM)
    assert server.wait(10) == 0
    assert len(server.lines) == 1
    log = server.stderr()
    for secret in (PASSWORD, tokens["access_token"], tokens["refresh_token"], "visible-secret"):
        assert secret not in log
    assert "/auth/whoami" in log
    assert "Traceback" not in log
    assert not (made / "wardgate.db-wal").exists(), "the last connection writes its checkpoint"


def test_ctrl_c_stops_it_as_well(made: Path, start: Start) -> None:
    server = start("--data-dir", made, "--listen", "127.0.0.1:0")
    assert server.lines[0].startswith("The control plane is ready at http://127.0.0.1:")
    server.interrupt()
    assert server.wait(10) == 0


def test_what_was_written_is_there_after_kill_9(made: Path, start: Start) -> None:
    server = start("--data-dir", made, "--listen", f"127.0.0.1:{(port := free_port())}")
    login = {"email": EMAIL, "password": PASSWORD}
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}") as client:
        token = client.post("/api/v1/auth/login", json=login).json()["access_token"]
    server.kill()
    start("--data-dir", made, "--listen", f"127.0.0.1:{port}")
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}") as client:
        answer = client.get("/api/v1/auth/whoami", headers={"authorization": f"Bearer {token}"})
        assert answer.status_code == 200


def test_a_second_one_on_the_folder_is_refused(made: Path, start: Start) -> None:
    start("--data-dir", made, "--listen", "127.0.0.1:0")
    second = wardgate("server", "run", "--data-dir", made, "--listen", "127.0.0.1:0")
    assert second.returncode == 1
    assert "in use by another wardgate program" in second.stderr


@pytest.mark.parametrize("flag", ["--listen", "--relay-listen"])
def test_a_port_in_use_is_one_sentence(made: Path, flag: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        listen = () if flag == "--listen" else ("--listen", "127.0.0.1:0")
        done = wardgate("server", "run", "--data-dir", made, flag, address, *listen)
    assert done.returncode == 1
    assert f"error: {flag} {address}: another program has that port already." in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_without_a_control_plane_says_what_to_do(tmp_path: Path) -> None:
    done = wardgate("server", "run", "--data-dir", tmp_path / "none")
    assert done.returncode == 1
    assert "wardgate server init" in done.stderr
    assert not (tmp_path / "none").exists()


def test_loopback_only_without_tls(made: Path) -> None:
    done = wardgate("server", "run", "--data-dir", made, "--listen", "0.0.0.0:8400")
    assert done.returncode == 2
    assert "--tls-cert" in done.stderr


def test_the_master_key_outside_the_folder(tmp_path: Path, start: Start) -> None:
    key, folder = tmp_path / "elsewhere.key", tmp_path / "wg"
    assert init(folder, "--master-key-file", key).returncode == 0
    assert not (folder / "master.key").exists()
    missing = wardgate("server", "run", "--data-dir", folder, "--listen", "127.0.0.1:0")
    assert missing.returncode == 1
    assert "--master-key-file" in missing.stderr
    key.chmod(0o644)
    exposed = wardgate("server", "run", "--data-dir", folder, "--listen", "127.0.0.1:0", "--master-key-file", key)
    assert exposed.returncode == 1
    assert "chmod 600" in exposed.stderr
    key.chmod(0o600)
    start("--data-dir", folder, "--listen", "127.0.0.1:0", "--master-key-file", key).stop()
    text = key.read_text()
    key.unlink()
    start("--data-dir", folder, "--listen", "127.0.0.1:0", WARDGATE_MASTER_KEY=text).stop()
    other = wardgate("server", "run", "--data-dir", folder, WARDGATE_MASTER_KEY="wgm1_" + "A" * 43)
    assert other.returncode == 1
    assert "not the one" in other.stderr


def test_tls_ends_here_where_a_certificate_is_given(tmp_path: Path, made: Path, start: Start) -> None:
    authority = trustme.CA()
    own = authority.issue_cert("127.0.0.1")
    own.private_key_pem.write_to_path(tmp_path / "key.pem")
    own.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    port = free_port()
    tls = ("--tls-cert", tmp_path / "cert.pem", "--tls-key", tmp_path / "key.pem")
    server = start("--data-dir", made, "--listen", f"127.0.0.1:{port}", *tls, "--json")
    url = json.loads(server.lines[0])["url"]
    assert url == f"https://127.0.0.1:{port}"
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with httpx2.Client(base_url=url, verify=context) as client:
        answer = client.get("/api/v1/health")
    assert answer.status_code == 200
    assert "max-age" in answer.headers["strict-transport-security"]
    swapped = ("--tls-cert", tmp_path / "key.pem", "--tls-key", tmp_path / "cert.pem")
    server.stop()
    done = wardgate("server", "run", "--data-dir", made, "--listen", f"127.0.0.1:{port}", *swapped)
    assert done.returncode == 1
    assert "PEM certificate chain" in done.stderr
