"""A network that stalls: bytes stop on their way and come later, sockets stay open, nobody is told anything.

Before each member stands a shim, a TCP relay of ours that can be frozen. MongoDB's horizons make it the deployment's
own address for whoever comes as `localhost`: members know each other as 127.0.0.1, so only what is between the database
and its clients stalls, and the set itself notices nothing.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from wardgate.testing.mongo import RS3, MongoDeployment
from wardgate.testing.ports import LOOPBACK

from .faults import Fault, Repair
from .world import World

STALL_S = 13.0
_PIECE = 64 * 1024


class Shim:
    """Relays connections to `port`; while it is frozen it takes new ones and moves not one byte."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._flows = threading.Event()
        self._flows.set()
        self._listener = socket.create_server((LOOPBACK, 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self._pairs: set[socket.socket] = set()
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def freeze(self) -> None:
        """Nothing moves any more."""
        self._flows.clear()

    def thaw(self) -> None:
        """What was held back moves on."""
        self._flows.set()

    def close(self) -> None:
        """Drop everything."""
        self._flows.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for each in self._pairs:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._flows.wait()
        try:
            server = socket.create_connection((LOOPBACK, self._target), 10)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        with self._lock:
            self._pairs |= {client, server}
        back = threading.Thread(target=self._move, args=(server, client), daemon=True)
        back.start()
        self._move(client, server)
        back.join()
        with self._lock:
            self._pairs -= {client, server}
        client.close()
        server.close()

    def _move(self, source: socket.socket, sink: socket.socket) -> None:
        """One direction; its end is passed on, also only while bytes flow."""
        try:
            while data := source.recv(_PIECE):
                self._flows.wait()
                sink.sendall(data)
            self._flows.wait()
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            for each in (source, sink):
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)


class Shimmed(MongoDeployment):
    """A set of three whose clients reach it through shims, as `localhost`."""

    def __init__(self, folder: Path, election_ms: int) -> None:
        self.shims: list[Shim] = []
        super().__init__(replace(RS3, election_ms=election_ms), folder)
        self.shims = [Shim(member.port) for member in self.members]
        with super().client() as root:
            config = root.admin.command("replSetGetConfig")["config"]
            config["version"] += 1
            for member, shim in zip(config["members"], self.shims, strict=True):
                member["horizons"] = {"outside": f"localhost:{shim.port}"}
            root.admin.command("replSetReconfig", config)

    @property
    def connection_string(self) -> str:
        """As clients know it."""
        hosts = ",".join(f"localhost:{shim.port}" for shim in self.shims)
        return f"mongodb://{hosts}/?replicaSet={self.shape.set_name}"

    def outside(self) -> str:
        """A complete URI for the user of the trials, through the shims."""
        uri = self.uri(self.rw)
        for member, shim in zip(self.members, self.shims, strict=True):
            uri = uri.replace(member.address, f"localhost:{shim.port}")
        return uri

    def close(self) -> None:
        """Members and shims."""
        for shim in self.shims:
            shim.close()
        super().close()


def _stall(frozen: str) -> Any:
    def harm(deployment: MongoDeployment) -> Repair:
        assert isinstance(deployment, Shimmed)
        indexes = {
            "primary": [deployment.primary()],
            "all": range(len(deployment.members)),
            "secondary": deployment.secondaries()[:1],
        }[frozen]
        shims = [deployment.shims[index] for index in indexes]
        for shim in shims:
            shim.freeze()

        def repair() -> None:
            for shim in shims:
                shim.thaw()

        return repair

    return harm


STALLS = (
    Fault("stall-primary", f"the network to the primary stalls for {STALL_S:.0f} s", _stall("primary"), last=STALL_S),
    Fault("stall-secondary", f"that to a secondary stalls for {STALL_S:.0f} s", _stall("secondary"), last=STALL_S),
    Fault("stall-all", f"that to all members stalls for {STALL_S:.0f} s", _stall("all"), last=STALL_S),
)


@contextlib.contextmanager
def shimmed(folder: Path) -> Iterator[World]:
    """A world whose every way, the direct one too, goes through shims."""
    deployment = Shimmed(folder / "mongo", 10_000)
    with World.up(folder, deployment=deployment, direct=deployment.outside()) as world:
        yield world
