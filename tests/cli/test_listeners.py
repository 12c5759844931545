"""Loopback listeners."""

from __future__ import annotations

import socket

import pytest

from wardgate.cli.access.listeners import bind
from wardgate.cli.exits import Exit, ExitError


def test_a_free_port_is_the_same_on_both_families() -> None:
    listener = bind(None, 0)
    try:
        assert {sock.getsockname()[1] for sock in listener.sockets} == {listener.port}
        assert listener.address == f"127.0.0.1:{listener.port}"
        assert all(sock.getsockname()[0] in ("127.0.0.1", "::1") for sock in listener.sockets)
    finally:
        listener.close()


def test_a_port_in_use_is_said_in_one_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ExitError, match=f"Port {port} is in use") as refused:
            bind(None, port)
    assert refused.value.exit_code is Exit.FAILED
    assert "--port" in refused.value.message


def test_a_port_in_use_on_ipv6_only_is_refused_too() -> None:
    """`localhost` may mean ::1 first, and would lead to a stranger."""
    with socket.socket(socket.AF_INET6) as taken:
        try:
            taken.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6 loopback")
        taken.listen()
        with pytest.raises(ExitError, match="is in use on ::1"):
            bind(None, taken.getsockname()[1])


def test_a_closed_listener_gives_its_port_back() -> None:
    first = bind(None, 0)
    first.close()
    assert first.port is not None
    second = bind(None, first.port)
    second.close()
