"""What every SASL mechanism is to the one that carries its payloads: `start`, then `step` until nothing is left to say.

A machine is used once. It holds no command, no conversation id and no connection; nonces, times and tokens come in as
arguments. `ScramClient` is one of these too.
"""

from __future__ import annotations

from typing import Protocol


class SaslClient(Protocol):
    """The client's side of one login."""

    def start(self) -> bytes:
        """The payload of saslStart. Raises ScramError where there is nothing that could be sent."""

    def derives(self, payload: bytes) -> bool:
        """Whether `step(payload)` computes for so long that it is worth a thread. Never raises."""

    def step(self, payload: bytes) -> bytes | None:
        """The answer to the server's payload, None once nothing is left to say. Raises ScramError."""
