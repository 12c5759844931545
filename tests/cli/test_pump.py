"""One client connection: nothing lost, nothing hoarded, one end ends the other."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import socket
from collections.abc import Callable

import pytest
import uvloop

from wardgate.cli.access.pump import Side, TunnelSide, join

_FAR_TOO_MUCH = 64 * 1024 * 1024


class _Pair:
    """Two joined sides between two plain sockets that the test holds the far ends of."""

    def __init__(self) -> None:
        self.client_end, self._client = socket.socketpair()
        self.tunnel_end, self._tunnel = socket.socketpair()
        self.closed: asyncio.Future[tuple[int, int]] = asyncio.get_running_loop().create_future()

    async def __aenter__(self) -> _Pair:
        loop = asyncio.get_running_loop()
        for sock in (self.client_end, self._client, self.tunnel_end, self._tunnel):
            sock.setblocking(False)
        client, tunnel = Side(), TunnelSide(lambda up, down: self.closed.set_result((up, down)))
        await loop.create_connection(lambda: client, sock=self._client)
        assert client.transport is not None
        client.transport.pause_reading()
        await loop.create_connection(lambda: tunnel, sock=self._tunnel)
        join(client, tunnel)
        self.client, self.tunnel = client, tunnel
        return self

    async def __aexit__(self, *_: object) -> None:
        for side in (self.client, self.tunnel):
            assert side.transport is not None
            side.transport.abort()
        self.client_end.close()
        self.tunnel_end.close()
        await asyncio.sleep(0)


async def _read(sock: socket.socket, size: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = bytearray()
    while len(data) < size:
        piece = await loop.sock_recv(sock, 65536)
        if not piece:
            break
        data += piece
    return bytes(data)


@pytest.mark.parametrize("size", [1, 16, 100_000, 5_000_000])
async def test_bytes_go_both_ways_unchanged(size: int) -> None:
    loop = asyncio.get_running_loop()
    data = hashlib.shake_128(b"pump").digest(size)
    async with _Pair() as pair:
        for source, sink in ((pair.client_end, pair.tunnel_end), (pair.tunnel_end, pair.client_end)):
            sending = asyncio.create_task(loop.sock_sendall(source, data))
            assert await _read(sink, size) == data
            await sending


async def test_a_slow_reader_slows_the_writer() -> None:
    """What nobody reads must pile up in the sender's socket, not in our memory."""
    async with _Pair() as pair:
        sent = 0
        with contextlib.suppress(BlockingIOError):
            while sent <= _FAR_TOO_MUCH:
                sent += pair.client_end.send(bytes(65536))
                await asyncio.sleep(0)
        assert sent < _FAR_TOO_MUCH
        assert pair.tunnel.transport is not None
        assert pair.tunnel.transport.get_write_buffer_size() < 1024 * 1024


async def test_a_clean_end_flushes_what_was_read() -> None:
    loop = asyncio.get_running_loop()
    async with _Pair() as pair:
        await loop.sock_sendall(pair.client_end, b"last words")
        pair.client_end.shutdown(socket.SHUT_WR)
        assert await _read(pair.tunnel_end, 1000) == b"last words"
        assert await asyncio.wait_for(pair.closed, 5) == (10, 0)


async def test_the_end_of_the_tunnel_ends_the_client() -> None:
    async with _Pair() as pair:
        pair.tunnel_end.close()
        assert await _read(pair.client_end, 1) == b""


async def test_a_client_that_was_gone_before_the_join_ends_the_tunnel() -> None:
    loop = asyncio.get_running_loop()
    near, far = socket.socketpair()
    other, other_far = socket.socketpair()
    for sock in (near, far, other, other_far):
        sock.setblocking(False)
    client = Side()
    await loop.create_connection(lambda: client, sock=near)
    far.close()
    while not client.lost:
        await asyncio.sleep(0.001)
    tunnel = TunnelSide(lambda up, down: None)
    await loop.create_connection(lambda: tunnel, sock=other)
    join(client, tunnel)
    assert await _read(other_far, 1) == b""
    other_far.close()


@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_client_that_speaks_before_the_tunnel_is_there_is_heard(
    factory: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    """Found with a real driver: uvloop reads although reading was paused in connection_made."""

    async def story() -> None:
        loop = asyncio.get_running_loop()
        near, far = socket.socketpair()
        other, other_far = socket.socketpair()
        for sock in (near, far, other, other_far):
            sock.setblocking(False)

        class Pausing(Side):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                assert self.transport is not None
                self.transport.pause_reading()

        client, tunnel = Pausing(), TunnelSide(lambda up, down: None)
        await loop.sock_sendall(far, b"hello")
        await loop.create_connection(lambda: client, sock=near)
        for _ in range(5):
            await asyncio.sleep(0)
        await loop.create_connection(lambda: tunnel, sock=other)
        join(client, tunnel)
        await loop.sock_sendall(far, b" again")
        assert await _read(other_far, 11) == b"hello again"
        for side in (client, tunnel):
            assert side.transport is not None
            side.transport.abort()
        far.close()
        other_far.close()
        await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(story())
