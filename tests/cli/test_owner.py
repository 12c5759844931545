"""Only our own user's connections are ours."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from wardgate.cli.access import owner
from wardgate.cli.access.owner import Owner, owner_of_peer

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells whose a socket is")


@pytest.fixture(params=["sock_diag", "/proc/net/tcp"], autouse=True)
def source(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test with either way to ask."""
    if request.param == "/proc/net/tcp":
        monkeypatch.setattr(owner, "_ask", _refuse)
    else:
        monkeypatch.setattr(owner, "_look_up", _refuse)


def _refuse(*_: object) -> None:
    raise OSError("not to be had")


@linux
@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_our_own_connection_is_ours(family: socket.AddressFamily, address: str) -> None:
    with socket.socket(family) as server, socket.socket(family) as client:
        server.bind((address, 0))
        server.listen()
        client.connect(server.getsockname())
        accepted, peer = server.accept()
        with accepted:
            assert owner_of_peer(family, peer[:2], accepted.getsockname()[:2]) is Owner.OURS


@linux
def test_a_connection_by_ipv4_from_an_ipv6_socket_is_ours() -> None:
    """How Java connects: to the kernel such a socket is one of IPv6 with addresses that stand for those of IPv4."""
    with socket.socket() as server, socket.socket(socket.AF_INET6) as client:
        server.bind(("127.0.0.1", 0))
        server.listen()
        client.connect(("::ffff:127.0.0.1", server.getsockname()[1]))
        accepted, peer = server.accept()
        with accepted:
            assert owner_of_peer(socket.AF_INET, peer, accepted.getsockname()) is Owner.OURS
            client.close()
            assert owner_of_peer(socket.AF_INET, peer, accepted.getsockname()) is Owner.GONE


@linux
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_users_connection_is_not() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        script = f"import socket,sys; s=socket.create_connection(('127.0.0.1',{port})); sys.stdin.read()"
        child = subprocess.Popen(
            ["/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-I", "-c", script]
            if os.access(sys.executable, os.X_OK) and _others_can_run(sys.executable)
            else [
                "/usr/bin/setpriv",
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                "/bin/bash",
                "-c",
                f"exec 3<>/dev/tcp/127.0.0.1/{port}; read",
            ],
            stdin=subprocess.PIPE,
        )
        try:
            accepted, peer = server.accept()
            with accepted:
                assert owner_of_peer(socket.AF_INET, peer[:2], accepted.getsockname()[:2]) is Owner.OTHERS
        finally:
            assert child.stdin is not None
            child.stdin.close()
            child.wait()


def _others_can_run(program: str) -> bool:
    return (
        subprocess.run(
            ["/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", program, "-I", "-c", ""],
            capture_output=True,
            check=False,
        ).returncode
        == 0
    )


@linux
def test_a_connection_that_was_closed_at_once_belongs_to_nobody() -> None:
    """The kernel lists it as root's, and what it sent can still be read."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        with socket.socket() as client:
            client.connect(server.getsockname())
            client.sendall(b"a whole command that waits for no reply")
        accepted, peer = server.accept()
        with accepted:
            assert owner_of_peer(socket.AF_INET, peer[:2], accepted.getsockname()[:2]) is Owner.GONE
            assert accepted.recv(7) == b"a whole"


@linux
def test_a_connection_that_is_gone_belongs_to_nobody() -> None:
    assert owner_of_peer(socket.AF_INET, ("127.0.0.1", 1), ("127.0.0.1", 2)) is Owner.GONE


@linux
def test_a_listener_is_no_connection() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        assert owner_of_peer(socket.AF_INET, server.getsockname(), ("127.0.0.1", 2)) is Owner.GONE


def test_a_family_that_is_not_listed_is_unknown() -> None:
    assert owner_of_peer(socket.AF_UNIX, ("", 0), ("", 0)) is Owner.UNKNOWN


@linux
def test_a_system_that_tells_nothing_is_said_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(owner, "_ask", _refuse)
    monkeypatch.setattr(owner, "_look_up", _refuse)
    assert owner_of_peer(socket.AF_INET, ("127.0.0.1", 1), ("127.0.0.1", 2)) is Owner.UNKNOWN
