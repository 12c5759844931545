"""Looking at the first bytes of an accepted connection without taking them.

TLS libraries can't be handed bytes that somebody else has read, and a relay must not end the TLS it routes; so who
needs to see a ClientHello peeks. SO_RCVLOWAT makes the kernel wake us only when as many bytes are there as the parser
asked for: a peer that sends one byte at a time costs nothing until its deadline.

Law: never more than one system call per wake-up, never a wake-up without a reason, and the bytes stay in the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")
_RETRY = 0.02  # where the kernel wakes us without new bytes (no SO_RCVLOWAT there), look again this much later


class PeerGoneError(Exception):
    """The peer closed before it had said enough."""


def peek(sock: socket.socket, limit: int) -> bytes | None:
    """The bytes that are there now, None if there are none yet; PeerGoneError at the end of the stream."""
    try:
        data = sock.recv(limit, socket.MSG_PEEK)
    except (BlockingIOError, InterruptedError):
        return None
    except OSError as error:
        raise PeerGoneError from error
    if not data:
        raise PeerGoneError
    return data


def look(sock: socket.socket, limit: int, judge: Callable[[bytes], Found | int]) -> Found | int:
    """One look, now: what `judge` found in the bytes that are there, or how many bytes it takes at least."""
    data = peek(sock, limit)
    return 1 if data is None else judge(data)


async def wait(sock: socket.socket, limit: int, judge: Callable[[bytes], Found | int], need: int = 1) -> Found:
    """What `judge` finds once enough bytes are there. The caller sets the deadline; PeerGoneError if they never come.

    `judge` answers with an int as long as it lacks bytes: how many it takes at least, counted from the first.
    """
    try:
        while True:
            _set_low_water(sock, need)
            await readable(sock)
            data = peek(sock, limit)
            if data is None:
                continue
            if len(data) < need:
                # The peer has closed, or this system does not know the low-water mark.
                if _closed_by_peer(sock):
                    raise PeerGoneError
                await asyncio.sleep(_RETRY)
            found = judge(data)
            if not isinstance(found, int):
                return found
            need = found
    finally:
        _set_low_water(sock, 1)


def _closed_by_peer(sock: socket.socket) -> bool:
    if not hasattr(socket, "TCP_INFO"):
        return False
    state = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    return state != 1  # TCP_ESTABLISHED


def _set_low_water(sock: socket.socket, size: int) -> None:
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)


async def readable(sock: socket.socket) -> None:
    """Wait until `sock` has bytes, or an end. Nothing else may watch it meanwhile."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    descriptor = sock.fileno()
    loop.add_reader(descriptor, _set, ready)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)


def _set(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
