"""Counting peers that are connected and not yet known: how many in all, and how many from one address.

An IPv6 peer counts by its /64, because a host has as many addresses in it as it likes.
"""

from __future__ import annotations

import ipaddress
from collections import Counter


class HalfOpen:
    """Room for `total` unknown peers, `per_address` of them from one address (None: no such cap)."""

    def __init__(self, total: int, per_address: int | None) -> None:
        self._total = total
        self._per_address = per_address
        self._counts: Counter[str] = Counter()
        self.now = 0

    def enter(self, address: str) -> bool:
        """Whether there is room for one more from `address`; if so it is taken until `leave`."""
        key = _key(address)
        if self.now >= self._total:
            return False
        if self._per_address is not None and self._counts[key] >= self._per_address:
            return False
        self.now += 1
        self._counts[key] += 1
        return True

    def leave(self, address: str) -> None:
        """Give the room back."""
        key = _key(address)
        self.now -= 1
        self._counts[key] -= 1
        if self._counts[key] <= 0:
            del self._counts[key]


def _key(address: str) -> str:
    if ":" not in address:
        return address
    try:
        parsed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.IPv6Network((parsed, 64), strict=False).network_address)
