"""Raw TCP sockets: dialling, listening, and how ours are tuned."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import socket
import struct

from ..errors import WardgateError

_LINGER_RESET = struct.pack("ii", 1, 0)
_BACKLOG = 1024
_DEFER_SECONDS = 5


class DialError(WardgateError):
    """Nobody answered at an address."""


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[v6]:port`; WardgateError `invalid_address`."""
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or not 0 <= int(port) < 65_536:
        raise WardgateError("invalid_address", f"“{address[:100]}” is not an address: write it as host:port.")
    return host, int(port)


def join_address(host: str, port: int) -> str:
    """`host:port`, with brackets around an IPv6 address."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def connect(address: str, seconds: float) -> socket.socket:
    """A tuned, connected socket to `host:port`, each of its addresses tried in turn; DialError in one sentence."""
    host, port = split_address(address)
    problem = "it does not answer"
    try:
        async with asyncio.timeout(seconds):
            for family, where in await _resolve(host, port):
                try:
                    return await _connect_one(family, where)
                except OSError as error:
                    problem = os.strerror(error.errno).lower() if error.errno else str(error)
    except socket.gaierror as error:
        raise DialError("unreachable", f"{address} can't be reached: its name can't be resolved.") from error
    except TimeoutError as error:
        raise DialError(
            "unreachable", f"{address} can't be reached: it did not answer within {seconds:g} s."
        ) from error
    raise DialError("unreachable", f"{address} can't be reached: {problem}.")


async def _resolve(host: str, port: int) -> list[tuple[socket.AddressFamily, tuple[str, int]]]:
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [(family, (str(where[0]), int(where[1]))) for family, _, _, _, where in found]
    return [(socket.AF_INET if version == 4 else socket.AF_INET6, (host, port))]


async def _connect_one(family: socket.AddressFamily, where: tuple[str, int]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        tune(sock)
        await asyncio.get_running_loop().sock_connect(sock, where)
    except BaseException:
        sock.close()
        raise
    return sock


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; WardgateError `address_in_use` or `invalid_address`.

    Where the system can (TCP_DEFER_ACCEPT), a connection is handed over only when its first bytes are there: every
    peer of the tunnel speaks first, and one that does not costs us nothing.
    """
    shown = join_address(host, port)
    try:
        family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as error:
        raise WardgateError("invalid_address", f"{shown} is not an address of this machine.") from error
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_DEFER_ACCEPT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, _DEFER_SECONDS)
        sock.bind(where)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise WardgateError(
            "address_in_use", f"{shown} can't be listened on: {(error.strerror or '').lower()}."
        ) from error
    return sock


def reset_on_close(sock: socket.socket) -> None:
    """Make the coming close a reset instead of an orderly end."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)


def tune(sock: socket.socket) -> None:
    """Non-blocking, no Nagle, and keepalive that notices a dead host in about a minute."""
    sock.setblocking(False)
    options = [
        (socket.IPPROTO_TCP, "TCP_NODELAY", 1),
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 30),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 10),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
    ]
    for level, name, value in options:
        option = getattr(socket, name, None)
        if option is not None:
            with contextlib.suppress(OSError):
                sock.setsockopt(level, option, value)
