"""Two sockets joined, in the kernel and through memory."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvloop

from wardgate.net import dial
from wardgate.net.splice import BufferHold, Hold, Holds, PipeHold, Splice


def pytest_asyncio_loop_factories() -> dict[str, Any]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        near = socket.create_connection(listening.getsockname())
        far, _ = listening.accept()
    for sock in (near, far):
        dial.tune(sock)
    return near, far


class Joined:
    def __init__(self, make: type[Hold]) -> None:
        self.client, left = tcp_pair()
        self.server, right = tcp_pair()
        self.holds = Holds(make)
        self.splice = Splice(left, right, self.holds)
        self.done = asyncio.Event()
        self.splice.done = self.done.set


@pytest.fixture(params=[PipeHold, BufferHold])
async def joined(request: pytest.FixtureRequest) -> AsyncIterator[Joined]:
    made = Joined(request.param)
    yield made
    made.splice.abort()
    made.holds.close()
    made.client.close()
    made.server.close()
    assert made.holds.lent == 0


async def receive(sock: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        part = await asyncio.get_running_loop().sock_recv(sock, 1 << 20)
        if not part:
            break
        data += part
    return bytes(data)


async def test_bytes_cross_in_both_directions_at_once(joined: Joined) -> None:
    loop = asyncio.get_running_loop()
    up, down = os.urandom(5_000_000), os.urandom(3_000_000)
    _, _, got_up, got_down = await asyncio.gather(
        loop.sock_sendall(joined.client, up),
        loop.sock_sendall(joined.server, down),
        receive(joined.server, len(up)),
        receive(joined.client, len(down)),
    )
    assert (got_up, got_down) == (up, down)
    assert joined.splice.carried == (len(up), len(down))
    assert joined.holds.lent == 0


async def test_an_end_is_passed_on_after_all_bytes_and_the_other_way_stays_open(joined: Joined) -> None:
    loop = asyncio.get_running_loop()
    data = os.urandom(2_000_000)

    async def send_and_end() -> None:
        await loop.sock_sendall(joined.client, data)
        joined.client.shutdown(socket.SHUT_WR)

    sending = asyncio.create_task(send_and_end())
    assert await receive(joined.server, len(data)) == data
    assert await receive(joined.server, 1) == b""
    await sending
    await loop.sock_sendall(joined.server, b"answer")
    assert await receive(joined.client, 6) == b"answer"
    assert not joined.done.is_set()
    joined.server.shutdown(socket.SHUT_WR)
    assert await receive(joined.client, 1) == b""
    await joined.done.wait()


async def test_a_reset_resets_the_other_side(joined: Joined) -> None:
    joined.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    joined.client.close()
    with pytest.raises(ConnectionResetError):
        await receive(joined.server, 1)
    await joined.done.wait()


async def test_a_reader_that_stops_stops_the_writer(joined: Joined) -> None:
    loop = asyncio.get_running_loop()
    data = os.urandom(30_000_000)
    sending = asyncio.create_task(loop.sock_sendall(joined.client, data))
    while joined.holds.lent == 0:
        await asyncio.sleep(0)
    carried = -1
    while joined.splice.carried[0] != carried:
        carried = joined.splice.carried[0]
        await asyncio.sleep(0.05)
    assert carried < len(data)
    assert not sending.done()
    assert await receive(joined.server, len(data)) == data
    await sending


async def test_aborting_with_bytes_in_between_loses_no_pipe(joined: Joined) -> None:
    loop = asyncio.get_running_loop()
    sending = asyncio.create_task(loop.sock_sendall(joined.client, bytes(30_000_000)))
    while joined.holds.lent == 0:
        await asyncio.sleep(0)
    joined.splice.abort()
    joined.splice.abort()
    await joined.done.wait()
    assert joined.holds.lent == 0
    with pytest.raises(OSError):
        await sending


async def test_no_pipe_is_held_by_quiet_streams() -> None:
    holds = Holds()
    pairs = [Joined(PipeHold) for _ in range(20)]
    for pair in pairs:
        await asyncio.get_running_loop().sock_sendall(pair.client, b"x")
        assert await receive(pair.server, 1) == b"x"
        assert pair.holds.lent == 0
        pair.splice.abort()
        pair.holds.close()
        pair.client.close()
        pair.server.close()
    holds.close()
