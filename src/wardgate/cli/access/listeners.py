"""Where MongoDB clients connect: one main door, and one for each member.

On loopback each is bound on 127.0.0.1 and, where the machine has it, on ::1 with the same port, because `localhost`
means either. As Unix sockets they stand in a folder that only our user can enter. They stay for the whole session, also
while the tunnel is being rebuilt, so that a driver's addresses stay true.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import secrets
import socket
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from ..exits import Exit, ExitError

_BACKLOG = 128
_TRIES = 8  # a free port of IPv4 may be taken on ::1
# A socket's path fits into 104 bytes everywhere; drivers know it by its ending, and some write hello's in lower case.
_FOLDER_BYTES: Final = 80
_FOLDER: Final = re.compile(r"wardgate-[0-9a-f]{16}")
_SUFFIX: Final = ".sock"


@dataclass(slots=True)
class Listener:
    """One address with its servers. `member` is None for the main one; `address` is as it stands in hello."""

    member: str | None
    address: str
    port: int | None  # None: a Unix socket
    sockets: list[socket.socket]
    servers: list[asyncio.Server] = field(default_factory=list)

    async def start(self, factory: Callable[[], asyncio.Protocol]) -> None:
        """Accept connections."""
        loop = asyncio.get_running_loop()
        make = loop.create_unix_server if self.port is None else loop.create_server
        for sock in self.sockets:
            self.servers.append(await make(factory, sock=sock, backlog=_BACKLOG))

    def forget(self) -> None:
        """Another process accepts."""
        for sock in self.sockets:
            sock.close()

    def close(self) -> None:
        """Accept no more."""
        for server in self.servers:
            server.close()
        if not self.servers:
            self.forget()
        if self.port is None:
            Path(self.address).unlink(missing_ok=True)


class Doors(Protocol):
    """All listeners of a session. `single`: the main one is all there is, whatever members there are."""

    main: Listener
    single: bool

    def open(self, member: str) -> Listener: ...

    def forget(self) -> None: ...

    def close(self) -> None: ...


class Loopback:
    """Ports on loopback; the main one is `port`, or a free one for 0. ExitError `port_in_use`, `port_refused`."""

    def __init__(self, port: int = 0, *, single: bool = False) -> None:
        self.single = single
        self.main = bind(None, port)
        self._members: list[Listener] = []

    def open(self, member: str) -> Listener:
        """A listener for one more member, on a free port."""
        self._members.append(bind(member, 0))
        return self._members[-1]

    def forget(self) -> None:
        """Another process has them now."""
        self.main.forget()

    def close(self) -> None:
        """All of them."""
        for listener in (self.main, *self._members):
            listener.close()


class SocketFolder:
    """Unix sockets in a new folder of ours. ExitError `no_socket_folder`."""

    def __init__(self, *, single: bool = False) -> None:
        self.single = single
        self.folder = _make_folder()
        self._count = 0
        self._forgotten = False
        self._members: list[Listener] = []
        self.main = self._bind(None, f"mongodb{_SUFFIX}")

    def open(self, member: str) -> Listener:
        """A socket for one more member."""
        self._count += 1
        self._members.append(self._bind(member, f"mongodb-{self._count}{_SUFFIX}"))
        return self._members[-1]

    def forget(self) -> None:
        """Another process has them now, and the folder."""
        self.main.forget()
        self._forgotten = True

    def close(self) -> None:
        """All of them, and the folder."""
        if self._forgotten:
            return
        for listener in (self.main, *self._members):
            listener.close()
        remove_sockets(self.folder)

    def _bind(self, member: str | None, name: str) -> Listener:
        path = str(self.folder / name)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.bind(path)
        Path(path).chmod(0o600)
        sock.listen(_BACKLOG)
        sock.setblocking(False)
        return Listener(member, path, None, [sock])


def _make_folder() -> Path:
    """A folder that nobody else enters, with a short path in lower case."""
    for place in (os.environ.get("XDG_RUNTIME_DIR"), "/tmp"):  # noqa: S108 - what is made in it is ours alone
        if not place or place != place.lower() or len(place.encode()) > _FOLDER_BYTES or not _is_safe(Path(place)):
            continue
        folder = Path(place) / f"wardgate-{secrets.token_hex(8)}"
        try:
            folder.mkdir(mode=0o700)  # a folder that is there already is not ours: the name can't be guessed
        except OSError:
            continue
        return folder
    raise ExitError(
        "no_socket_folder", "There is no folder for Unix sockets: set XDG_RUNTIME_DIR to one of yours.", Exit.FAILED
    )


def _is_safe(place: Path) -> bool:
    """Whether nobody else can put something of theirs in the place of what we make there."""
    try:
        facts = place.stat()
    except OSError:
        return False
    others_write = stat.S_IMODE(facts.st_mode) & (stat.S_IWGRP | stat.S_IWOTH)
    trusted = facts.st_uid in (os.geteuid(), 0)
    return stat.S_ISDIR(facts.st_mode) and trusted and (not others_write or bool(facts.st_mode & stat.S_ISVTX))


def remove_sockets(folder: Path) -> None:
    """Remove a socket folder, also one that a killed local proxy left: ours, by its name, and nothing but sockets."""
    try:
        facts = folder.lstat()
        ours = stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.geteuid()
        if not ours or not _FOLDER.fullmatch(folder.name):
            return
        for path in folder.glob(f"*{_SUFFIX}"):
            path.unlink()
        folder.rmdir()
    except OSError:
        return


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
        return Listener(member, f"127.0.0.1:{chosen}", chosen, [first] if second is None else [first, second])
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
