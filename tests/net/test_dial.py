from __future__ import annotations

import asyncio
import socket

import pytest

from wardgate.errors import WardgateError
from wardgate.net import dial


@pytest.mark.parametrize(
    ("text", "parts"),
    [("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:443", ("::1", 443)), ("relay.example:1", ("relay.example", 1))],
)
def test_addresses(text: str, parts: tuple[str, int]) -> None:
    assert dial.split_address(text) == parts
    assert dial.join_address(*parts) == text


@pytest.mark.parametrize("text", ["", "host", ":80", "host:", "host:port", "host:65536", "host:-1", "host:８"])
def test_no_addresses(text: str) -> None:
    with pytest.raises(WardgateError) as caught:
        dial.split_address(text)
    assert caught.value.code == "invalid_address"


async def test_a_port_in_use_is_told() -> None:
    with dial.listen("127.0.0.1", 0) as first:
        with pytest.raises(WardgateError) as caught:
            dial.listen("127.0.0.1", first.getsockname()[1])
        assert caught.value.code == "address_in_use"
    with pytest.raises(WardgateError) as caught:
        dial.listen("192.0.2.1", 0)
    assert "192.0.2.1" in caught.value.message


async def test_a_closed_port_and_a_silent_host_are_told_apart() -> None:
    with pytest.raises(dial.DialError, match="refused"):
        await dial.connect("127.0.0.1:1", 5)
    with socket.socket() as bound:  # bound, never listening, so nobody else answers there
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(dial.DialError):
            await dial.connect(f"127.0.0.1:{bound.getsockname()[1]}", 5)


async def test_a_name_is_resolved_and_each_address_tried() -> None:
    with dial.listen("127.0.0.1", 0) as listening:
        sock = await dial.connect(f"localhost:{listening.getsockname()[1]}", 5)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        sock.close()
    with pytest.raises(dial.DialError, match="resolved"):
        await dial.connect("no-such-host.invalid:1", 5)


async def test_a_connection_is_handed_over_with_its_first_bytes() -> None:
    """TCP_DEFER_ACCEPT, where there is one: a silent peer is not even accepted."""
    if not hasattr(socket, "TCP_DEFER_ACCEPT"):
        pytest.skip("this system hands connections over at once")
    loop = asyncio.get_running_loop()
    with dial.listen("127.0.0.1", 0) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        silent = await dial.connect(address, 5)
        speaking = await dial.connect(address, 5)
        speaking.send(b"hello")
        accepted, peer = await loop.sock_accept(listening)
        assert peer == speaking.getsockname()
        for sock in (silent, speaking, accepted):
            sock.close()
