"""Addresses that no program of ours connects to because somebody told it to.

An administrator's form, a database's hello or an issuer's document can name any address. Link-local and metadata
addresses are where clouds hand out credentials, so they are refused everywhere; whether loopback and private networks
are fine is for each program to say (databases live there, issuers of tokens mostly don't). Law: the question is asked
of the very IP address that the socket will connect to, after name resolution, so that a name that changes its mind
gains nothing.
"""

from __future__ import annotations

import ipaddress
from typing import TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

_REFUSED: tuple[Network, ...] = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",  # "this host": Linux connects it to loopback behind the back of every other rule
        "169.254.0.0/16",  # link-local: metadata of AWS, Azure, GCP, OpenStack (169.254.169.254), ECS (169.254.170.2)
        "100.100.100.200/32",  # Alibaba metadata
        "168.63.129.16/32",  # Azure's WireServer
        "192.0.0.192/32",  # Oracle metadata
        "224.0.0.0/4",
        "255.255.255.255/32",
        "::/128",
        "fe80::/10",
        "fd00:ec2::/32",  # AWS metadata fd00:ec2::254 and its neighbours
        "fd20:ce::254/128",  # GCP metadata
        "fd00:42::42/128",  # Scaleway metadata
        "ff00::/8",
    )
)


def never_dialled(ip: str) -> bool:
    """Whether no program connects to this IP address, whatever form of IPv6 it is wrapped in."""
    return any(face in network for face in faces(ip) for network in _REFUSED if face.version == network.version)


def is_public(ip: str) -> bool:
    """Whether the address, in every form, belongs to the Internet: no private network, no loopback."""
    return all(face.is_global for face in faces(ip)) and not never_dialled(ip)


def faces(ip: str) -> list[Address]:
    """The address and every IPv4 address that it leads to: mapped, compatible, 6to4, Teredo, NAT64."""
    address = ipaddress.ip_address(ip.partition("%")[0])
    found: list[Address] = [address]
    if isinstance(address, ipaddress.IPv6Address):
        found += [each for each in (address.ipv4_mapped, address.sixtofour) if each is not None]
        found += list(address.teredo or ())
        packed = address.packed
        if packed[:12] in (bytes(12), b"\x00\x64\xff\x9b" + bytes(8)) and int(address) > 1:
            found.append(ipaddress.IPv4Address(packed[12:]))
    return found
