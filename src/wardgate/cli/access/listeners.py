"""Loopback listeners: one main port, and one for each member.

Each is bound on 127.0.0.1 and, where the machine has it, on ::1 with the same port, because `localhost` means either.
Ports stay bound for the whole session, also while the tunnel is being rebuilt, so that a driver's addresses stay true.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from dataclasses import dataclass, field

from ..exits import Exit, ExitError

_BACKLOG = 128
_TRIES = 8  # a free port of IPv4 may be taken on ::1


@dataclass(slots=True)
class Listener:
    """One port with its servers. `member` is None for the main port."""

    member: str | None
    port: int
    sockets: list[socket.socket]
    servers: list[asyncio.Server] = field(default_factory=list)

    @property
    def address(self) -> str:
        """As it stands in URIs and in hello."""
        return f"127.0.0.1:{self.port}"

    async def start(self, factory: Callable[[], asyncio.Protocol]) -> None:
        """Accept connections."""
        loop = asyncio.get_running_loop()
        for sock in self.sockets:
            self.servers.append(await loop.create_server(factory, sock=sock, backlog=_BACKLOG))

    def close(self) -> None:
        """Accept no more."""
        for server in self.servers:
            server.close()
        if not self.servers:
            for sock in self.sockets:
                sock.close()


def bind(member: str | None, port: int) -> Listener:
    """A listener on `port`, or on a free one for 0; ExitError `port_in_use`."""
    for _ in range(_TRIES):
        first = _bind_one(socket.AF_INET, "127.0.0.1", port)
        chosen = first.getsockname()[1]
        try:
            second = _bind_ipv6(chosen)
        except ExitError:
            first.close()
            if port:
                raise
            continue
        return Listener(member, chosen, [first] if second is None else [first, second])
    raise ExitError("port_in_use", "No port is free on both 127.0.0.1 and ::1.", Exit.FAILED)


def _bind_ipv6(port: int) -> socket.socket | None:
    try:
        return _bind_one(socket.AF_INET6, "::1", port)
    except OSError:
        return None  # no IPv6 on this machine


def _bind_one(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address, port))
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise ExitError(
                "port_in_use",
                f"Port {port} is in use on {address}: choose another with --port, or leave --port out for a free one.",
                Exit.FAILED,
            ) from error
        if error.errno == errno.EACCES:
            raise ExitError(
                "port_refused", f"Port {port} may not be opened by this user: choose one above 1023.", Exit.FAILED
            ) from error
        raise
    return sock
