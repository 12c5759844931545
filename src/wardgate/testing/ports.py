"""Free loopback ports for servers that can't tell which one they got.

A port is free at the moment of asking; the kernel gives ephemeral ports out in no fixed order, so a clash between two
asks is rare, and a server that loses the race fails loudly at its start.
"""

from __future__ import annotations

import socket

LOOPBACK = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """`count` different free TCP ports on 127.0.0.1: all are held until the last one is known."""
    held = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(count)]
    try:
        for each in held:
            each.bind((LOOPBACK, 0))
        return [each.getsockname()[1] for each in held]
    finally:
        for each in held:
            each.close()


def free_port() -> int:
    """One free TCP port on 127.0.0.1."""
    return free_ports(1)[0]


def accepts(port: int, host: str = LOOPBACK) -> bool:
    """Whether something listens there now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((host, port)) == 0
