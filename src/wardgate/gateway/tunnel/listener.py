"""The gateway's door: every relay that the control plane names, and the direct route where there is one.

It keeps the set of relays equal to the last word of the control plane, remembers which sessions were withdrawn until
their tokens are worthless, and gives every socket that comes to the one acceptor. It knows nothing of sessions beyond
their ids.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterable

from ...api.machine import RelayAddress
from ...net import dial, logs
from ...net.machine import MachineIdentity
from ...net.tls import client_context
from ...numbers import DEFAULT, Numbers
from ...tunnel import frames
from ...tunnel.names import RELAY_ALPN
from .acceptor import Acceptor, Authorise, Handler, TunnelStream
from .relay_link import RelayLink

__all__ = ["Authorise", "Handler", "TunnelListener", "TunnelStream"]

_log = logs.get("tunnel")
_ACCEPT_PAUSE = 1.0  # after the process has run out of descriptors


class TunnelListener:
    """Accepts streams until `close`. `authorise(session_id, alpn, certificate DER)` answers None, or why not."""

    def __init__(
        self, identity: MachineIdentity, *, authorise: Authorise, handler: Handler, numbers: Numbers = DEFAULT
    ) -> None:
        self._numbers = numbers
        self._acceptor = Acceptor(identity, authorise, handler, numbers)
        self._links: dict[str, RelayLink] = {}
        self._withdrawn: dict[str, int] = {}
        self._leaving: set[asyncio.Task[None]] = set()
        self._direct: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._closed = False
        self.set_identity(identity)

    def set_identity(self, identity: MachineIdentity) -> None:
        """Present this certificate from now on; connections that are up stay."""
        self._acceptor.set_identity(identity)
        self._relay_context = client_context(identity.credentials, identity.trust["relays"], [RELAY_ALPN])

    def set_relays(self, relays: Iterable[RelayAddress]) -> None:
        """Be connected to exactly these."""
        if self._closed:
            return
        wanted = {relay.id: relay for relay in relays}
        for relay_id, link in tuple(self._links.items()):
            if wanted.get(relay_id) != link.relay:
                del self._links[relay_id]
                self._leave(link)
        for relay_id, relay in wanted.items():
            if relay_id not in self._links:
                self._links[relay_id] = RelayLink(
                    relay, lambda: self._relay_context, self._withdrawals, self._acceptor, self._numbers
                )

    async def wait_connected(self, seconds: float) -> bool:
        """Whether every relay named so far is connected, waiting up to `seconds` for it."""
        waits = [link.connected.wait() for link in self._links.values()]
        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(*waits)
        except TimeoutError:
            return False
        return True

    async def listen(self, host: str, port: int) -> str:
        """Open the direct route; answers with its address. WardgateError if the address can't be had."""
        self._direct = dial.listen(host, port)
        self._accepting = asyncio.get_running_loop().create_task(self._accept(self._direct))
        bound = self._direct.getsockname()
        return dial.join_address(bound[0], bound[1])

    def withdraw(self, session_id: str, until: int) -> None:
        """No more streams for this session: its tokens expire at `until` (Unix seconds) at the latest."""
        self._withdrawn[session_id] = until
        for link in self._links.values():
            link.withdraw(frames.Withdraw(session=session_id, until=until))

    def statistics(self) -> dict[str, object]:
        """What is up, and what was refused, by rule."""
        return {
            "relays": [link.statistics() for link in self._links.values()],
            "half_open": self._acceptor.half_open,
            "accepted": self._acceptor.accepted,
            "refused": {rule.value: count for rule, count in self._acceptor.refused.items()},
            "withdrawn": len(self._withdrawn),
        }

    async def close(self) -> None:
        """Accept nothing more. Streams that are up belong to their sessions."""
        self._closed = True
        for link in self._links.values():
            self._leave(link)
        self._links.clear()
        await asyncio.gather(*self._leaving, return_exceptions=True)
        await self._acceptor.close()
        if self._accepting is not None and self._direct is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
            self._direct.close()

    def _leave(self, link: RelayLink) -> None:
        task = asyncio.get_running_loop().create_task(link.close())
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    def _withdrawals(self) -> list[frames.Withdraw]:
        now = time.time()
        self._withdrawn = {session: until for session, until in self._withdrawn.items() if until > now}
        return [frames.Withdraw(session=session, until=until) for session, until in self._withdrawn.items()]

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, address = await loop.sock_accept(listening)
            except OSError as error:
                _log.warning("direct route can't accept", reason=error.strerror)
                await asyncio.sleep(_ACCEPT_PAUSE)
                continue
            dial.tune(sock)
            self._acceptor.accept(sock, str(address[0]), direct=True)
