"""Whose process is at the other end of a loopback connection.

A loopback port is open to every user of the machine, and the session behind it is one person's. Linux lists each
socket's owner in `/proc/net/tcp`; a connection is accepted only if the peer's socket belongs to our own user. Where the
system does not tell, the answer is UNKNOWN, and the local proxy says so once instead of pretending.
"""

from __future__ import annotations

import os
import socket
import struct
from enum import Enum, auto
from pathlib import Path

_TABLES = {socket.AF_INET: Path("/proc/net/tcp"), socket.AF_INET6: Path("/proc/net/tcp6")}
_UID_FIELD, _INODE_FIELD = 7, 9


class Owner(Enum):
    """The answer."""

    OURS = auto()
    OTHERS = auto()
    UNKNOWN = auto()


def owner_of_peer(family: int, peer: tuple[str, int], local: tuple[str, int]) -> Owner:
    """Who owns the socket at `peer` that is connected to `local`, both as (address, port)."""
    table = _TABLES.get(socket.AddressFamily(family))
    if table is None:
        return Owner.UNKNOWN
    try:
        content = table.read_bytes()
    except OSError:
        return Owner.UNKNOWN
    # The peer's own row has our roles exchanged: its local address is the peer's, its remote address is ours.
    needle = f" {_in_hex(family, *peer)} {_in_hex(family, *local)} ".encode()
    found = content.find(needle)
    if found < 0:
        return Owner.OTHERS  # a socket that is already gone has no owner to trust
    row = content[content.rfind(b"\n", 0, found) + 1 : content.find(b"\n", found)].split()
    if row[_INODE_FIELD] == b"0":
        # Closed by its process, whoever that was: the kernel then shows the owner 0, and what was sent is still to be
        # read. To a local proxy of root it would be a connection of its own.
        return Owner.OTHERS
    return Owner.OURS if int(row[_UID_FIELD]) == os.getuid() else Owner.OTHERS


def _in_hex(family: int, address: str, port: int) -> str:
    """`address:port` as the kernel prints it: each 32-bit word of the address in host order."""
    raw = socket.inet_pton(family, address)
    words = struct.unpack(f"={len(raw) // 4}I", raw)
    return "".join(f"{word:08X}" for word in words) + f":{port:04X}"
