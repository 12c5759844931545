from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
import uvloop

from wardgate.net import dial
from wardgate.net.peek import PeerGoneError, look, wait


def pytest_asyncio_loop_factories() -> dict[str, Any]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        near = socket.create_connection(listening.getsockname())
        far, _ = listening.accept()
    for sock in (near, far):
        dial.tune(sock)
    return near, far


class Judge:
    """Wants ten bytes; counts how often it was asked."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, data: bytes) -> bytes | int:
        self.calls += 1
        return data if len(data) >= 10 else 10


async def test_nothing_is_consumed() -> None:
    near, far = tcp_pair()
    near.send(b"0123456789")
    assert await wait(far, 100, Judge()) == b"0123456789"
    assert look(far, 100, Judge()) == b"0123456789"
    assert far.recv(100) == b"0123456789"
    assert look(far, 100, Judge()) == 1
    near.close()
    far.close()


async def test_a_dribbling_peer_does_not_make_us_spin() -> None:
    near, far = tcp_pair()
    judge = Judge()
    waiting = asyncio.create_task(wait(far, 100, judge))
    for byte in b"0123456789":
        near.send(bytes([byte]))
        for _ in range(20):
            await asyncio.sleep(0)
    assert await waiting == b"0123456789"
    assert judge.calls <= 2
    near.close()
    far.close()


@pytest.mark.parametrize("said", [b"", b"0123"])
async def test_a_peer_that_leaves_is_noticed(said: bytes) -> None:
    near, far = tcp_pair()
    near.send(said)
    waiting = asyncio.create_task(wait(far, 100, Judge()))
    await asyncio.sleep(0)
    near.close()
    with pytest.raises(PeerGoneError):
        await waiting
    far.close()


async def test_the_low_water_mark_is_put_back() -> None:
    near, far = tcp_pair()
    waiting = asyncio.create_task(wait(far, 100, Judge()))
    near.send(b"01")
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert far.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT) == 1
    near.close()
    far.close()
