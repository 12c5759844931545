"""Whose process is at the other end of a loopback connection.

A loopback port is open to every user of the machine, and the session behind it is one person's. A connection is
accepted only if the peer's socket belongs to our own user. Linux tells whose a socket is: by sock_diag(7), which looks
one up in microseconds, and where that is not to be had in `/proc/net/tcp`, which takes milliseconds to list them all.
Where the system does not tell, the answer is UNKNOWN, and the local proxy says so once instead of pretending.

Law: a socket that nobody holds any more belongs to nobody we trust.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Sequence
from enum import Enum, auto
from pathlib import Path
from typing import Final, NamedTuple

_TABLES = {socket.AF_INET: Path("/proc/net/tcp"), socket.AF_INET6: Path("/proc/net/tcp6")}
_UID_FIELD, _INODE_FIELD = 7, 9

# sock_diag(7), linux/inet_diag.h: one netlink request for exactly one socket.
_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLMSG_ERROR: Final = 2
_NLM_F_REQUEST: Final = 1
_HEAD = struct.Struct("=IHHII")  # length, kind, flags, sequence number, port
_WISH = struct.Struct("=BBBBI")  # family, protocol, extensions, padding, states
_PORTS = struct.Struct("!HH")
_OWNER = struct.Struct("=II")  # uid, inode
_CREDENTIALS: Final = struct.Struct("=iII")  # pid, uid, gid
_NO_COOKIE: Final = b"\xff" * 8
_ALL_STATES: Final = 0xFFFF_FFFF
_ID_OFFSET: Final = _HEAD.size + 4
_OWNER_OFFSET: Final = _ID_OFFSET + 48 + 12

# An IPv4 connection may be of an IPv6 socket, as all of Java's are: the kernel then calls both ends by such addresses.
_MAPPED: Final = bytes(10) + b"\xff\xff"

End = tuple[str, int]


class Owner(Enum):
    """The answer."""

    OURS = auto()
    OTHERS = auto()
    GONE = auto()  # closed by its process, whoever that was
    UNKNOWN = auto()


class _Holder(NamedTuple):
    uid: int
    inode: int


def owner_of_unix_peer(sock: socket.socket) -> Owner:
    """Who is at the other end of a Unix socket. Where the system does not tell, its folder lets in nobody else."""
    if not hasattr(socket, "SO_PEERCRED"):
        return Owner.OURS
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return Owner.OURS if _CREDENTIALS.unpack(credentials)[1] == os.getuid() else Owner.OTHERS


def owner_of_peer(family: int, peer: End, local: End) -> Owner:
    """Who owns the socket at `peer` that is connected to `local`, both as (address, port)."""
    if socket.AddressFamily(family) not in _TABLES:
        return Owner.UNKNOWN
    try:
        holder = _ask(family, peer, local)
    except OSError:
        try:
            holder = _look_up(family, peer, local)
        except OSError:
            return Owner.UNKNOWN
    # Closed by its process: the kernel then gives 0 for the inode and for the user, and what was sent is still to be
    # read. To a local proxy of root it would be a connection of its own.
    if holder is None or holder.inode == 0:
        return Owner.GONE
    return Owner.OURS if holder.uid == os.getuid() else Owner.OTHERS


def _ask(family: int, peer: End, local: End) -> _Holder | None:
    """By sock_diag; None if there is no such socket. OSError where the system has none of it."""
    if not hasattr(socket, "AF_NETLINK"):
        raise OSError(errno.EAFNOSUPPORT, "no netlink")
    # The peer's own socket has our roles exchanged: its local address is the peer's, its remote address is ours.
    addresses = [socket.inet_pton(family, address) for address, _ in (peer, local)]
    ports = _PORTS.pack(peer[1], local[1])
    wanted = ports + b"".join(address.ljust(16, b"\0") for address in addresses)
    mapped = ports + b"".join(_MAPPED + address for address in addresses)  # no such thing where the family is IPv6
    body = _WISH.pack(family, socket.IPPROTO_TCP, 0, 0, _ALL_STATES) + wanted + bytes(4) + _NO_COOKIE
    head = _HEAD.pack(_HEAD.size + len(body), _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as link:
        link.send(head + body)
        answer = link.recv(4096, socket.MSG_DONTWAIT)  # the kernel has answered when `send` returns
    kind = _HEAD.unpack_from(answer)[1]
    if kind == _NLMSG_ERROR:
        code = -struct.unpack_from("=i", answer, _HEAD.size)[0]
        if code == errno.ENOENT:
            return None
        raise OSError(code, os.strerror(code))
    if len(answer) < _OWNER_OFFSET + _OWNER.size:
        raise OSError(errno.EPROTO, "the kernel's answer is too short")
    if answer[_ID_OFFSET : _ID_OFFSET + len(wanted)] not in (wanted, mapped):
        return None  # where no connection fits, the kernel tells of a listener at that port
    return _Holder(*_OWNER.unpack_from(answer, _OWNER_OFFSET))


def _look_up(family: int, peer: End, local: End) -> _Holder | None:
    """In the kernel's tables as text; None if they have no such socket. OSError where one can't be read."""
    ends = [(socket.inet_pton(family, address), port) for address, port in (peer, local)]
    found = _find(_TABLES[socket.AddressFamily(family)], ends)
    if found is None and family == socket.AF_INET and _TABLES[socket.AF_INET6].exists():
        found = _find(_TABLES[socket.AF_INET6], [(_MAPPED + address, port) for address, port in ends])
    return found


def _find(table: Path, ends: Sequence[tuple[bytes, int]]) -> _Holder | None:
    content = table.read_bytes()
    found = content.find(f" {_in_hex(*ends[0])} {_in_hex(*ends[1])} ".encode())
    if found < 0:
        return None
    row = content[content.rfind(b"\n", 0, found) + 1 : content.find(b"\n", found)].split()
    return _Holder(int(row[_UID_FIELD]), int(row[_INODE_FIELD]))


def _in_hex(address: bytes, port: int) -> str:
    """`address:port` as the kernel prints it: each 32-bit word of the address in host order."""
    words = struct.unpack(f"={len(address) // 4}I", address)
    return "".join(f"{word:08X}" for word in words) + f":{port:04X}"
