"""Which hosts a resource may name.

Stored credentials must not be lured to where they do not belong, so addresses that can only be the gateway's own
surroundings (link-local, cloud metadata) are refused here already; the gateway checks again after resolving names,
because a name can point anywhere. Resolvers also read `0xA9FEA9FE`, `2852039166` and `169.254.43518` as IPv4
addresses: whatever ends in a number must be a plain dotted quad.
"""

from __future__ import annotations

import ipaddress
import re

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_METADATA_NAMES = frozenset({"metadata", "metadata.google.internal", "instance-data"})
# Beyond link-local: AWS over IPv6, Alibaba Cloud, Azure's wire server.
_METADATA = frozenset(
    ipaddress.ip_address(text) for text in ("fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192")
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class BadHost(ValueError):  # noqa: N818 - reads as what it is: a value with a sentence
    """A host that a resource may not name; `str()` completes “<host> …”."""


def check_host(host: str) -> str:
    """`host` in lower case; BadHost if it is malformed or leads where no database is. IPv6 without brackets."""
    host = host.lower().removesuffix(".")
    literal = _literal(host)
    if literal is not None:
        _check_address(literal)
        return str(literal)
    if not host.isascii():
        raise BadHost("is not ASCII: write an international name in its xn-- form")
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise BadHost("is not a host name")
    if _NUMBER.fullmatch(labels[-1]):
        raise BadHost("is not an address: write IPv4 as four decimal numbers")
    if host in _METADATA_NAMES:
        raise BadHost("is a cloud metadata service, which a gateway never dials")
    return host


def _literal(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        if ":" in host:
            raise BadHost("is not an IPv6 address") from None
        return None


def _check_address(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    """BadHost for addresses that hold no database; an IPv4 address inside an IPv6 one is judged as itself."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise BadHost("has a zone, which only link-local addresses need: a gateway never dials those")
        if address.ipv4_mapped is not None:
            return _check_address(address.ipv4_mapped)
        if address in _NAT64:
            return _check_address(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    if address.is_link_local or address in _METADATA:
        raise BadHost("is a link-local or cloud metadata address, which a gateway never dials")
    if address.is_unspecified or address.is_multicast or address == ipaddress.IPv4Address("255.255.255.255"):
        raise BadHost("is not the address of a machine")
    return None
