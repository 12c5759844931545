"""A plain TCP port before a server that keeps every byte sent to it, by connection: proof of what never went there."""

from __future__ import annotations

import contextlib
import socket
import threading
from dataclasses import dataclass, field

from .ports import LOOPBACK

_CHUNK = 65_536


@dataclass(slots=True)
class Tapped:
    """One connection: what the client sent, and whether it is still open."""

    sent: bytearray = field(default_factory=bytearray)
    closed: threading.Event = field(default_factory=threading.Event)


class Wiretap:
    """Forwards `port` to the server; `connections` grows as clients connect."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server((LOOPBACK, 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections: list[Tapped] = []
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Wiretap:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def sent(self, since: int = 0) -> list[bytes]:
        """What went to the server, by connection, from the connection `since` on."""
        return [bytes(each.sent) for each in self.connections[since:]]

    def close(self) -> None:
        """End all of it."""
        for each in (self._listener, *self._sockets):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection((LOOPBACK, self._server_port))
                tapped = Tapped()
                self.connections.append(tapped)
                self._sockets += [client, server]
                for source, target, kept in ((client, server, tapped), (server, client, None)):
                    threading.Thread(target=_forward, args=(source, target, kept), daemon=True).start()


def _forward(source: socket.socket, target: socket.socket, kept: Tapped | None) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(_CHUNK):
            if kept is not None:
                kept.sent += data
            target.sendall(data)
    for each in (source, target):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
    if kept is not None:
        kept.closed.set()
