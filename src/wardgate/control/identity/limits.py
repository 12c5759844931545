"""Slowing down guesses without shutting anybody out.

Only failures cost; a right password gives its token back. What a guess is counted against:

- where it comes from (an address, or an IPv6 network): many guesses from one place are slowed, whomever they are for;
- the account and that place together: a person who mistypes waits seconds, somebody else elsewhere does not;
- the account, wherever from. That must never refuse its owner, or a stranger could keep them out. So it only makes the
  account *pressed*: from then on a place that nobody ever signed in from has two guesses at a time and one more in ten
  minutes, which is slow for a thousand machines and no lock for an owner on a journey; familiar places have what they
  always had. Familiar are places, not pairs of place and account: else the limit would tell which accounts there are.

Pure: the time is an argument. Memory is bounded; when full, the buckets longest unused go first, which can only make
the limiter kinder. Each node of a control plane counts for itself.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass

_MOST_BUCKETS = 20_000


@dataclass(slots=True)
class _Bucket:
    level: float
    at: float


class TokenBuckets:
    """Buckets of `burst` tokens that refill at `per_second`."""

    def __init__(self, burst: int, per_second: float) -> None:
        self._burst = float(burst)
        self._rate = per_second
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, key: str, now: float) -> float:
        """Take a token: 0.0 if there was one, else the seconds until there is."""
        bucket = self._buckets.pop(key, None) or _Bucket(self._burst, now)
        bucket.level = min(self._burst, bucket.level + max(0.0, now - bucket.at) * self._rate)
        bucket.at = now
        self._buckets[key] = bucket
        if len(self._buckets) > _MOST_BUCKETS:
            self._buckets.popitem(last=False)
        if bucket.level < 1.0:
            return (1.0 - bucket.level) / self._rate
        bucket.level -= 1.0
        return 0.0

    def is_empty(self, key: str, now: float) -> bool:
        """Whether `take` would have to wait."""
        bucket = self._buckets.get(key)
        return bucket is not None and bucket.level + max(0.0, now - bucket.at) * self._rate < 1.0

    def give_back(self, key: str) -> None:
        """Undo one `take`."""
        bucket = self._buckets.get(key)
        if bucket is not None:
            bucket.level = min(self._burst, bucket.level + 1.0)


class LoginLimiter:
    """The buckets of a login attempt. `familiar` says whether anybody ever signed in from there."""

    def __init__(self) -> None:
        self._pairs = TokenBuckets(burst=10, per_second=1 / 6)
        self._addresses = TokenBuckets(burst=50, per_second=1.0)
        self._accounts = TokenBuckets(burst=30, per_second=1 / 60)
        self._strangers = TokenBuckets(burst=2, per_second=1 / 600)

    def take(self, address: str, account: str, now: float, *, familiar: bool = False) -> float:
        """0.0 when the attempt may be made, else the seconds to wait."""
        network = network_of(address)
        pair = f"{network} {account}"
        wait = self._addresses.take(network, now)
        if wait == 0.0 and not familiar and self._accounts.is_empty(account, now):
            wait = self._strangers.take(pair, now)
        return wait or self._pairs.take(pair, now)

    def failed(self, account: str, now: float) -> None:
        """The attempt was wrong."""
        self._accounts.take(account, now)

    def succeeded(self, address: str, account: str) -> None:
        """The attempt was right: it costs nothing."""
        network = network_of(address)
        self._addresses.give_back(network)
        for buckets in (self._pairs, self._strangers):
            buckets.give_back(f"{network} {account}")


def network_of(address: str) -> str:
    """An IPv6 host owns a /64 and can pick any address in it: count the network."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if ip.version == 4:
        return str(ip)
    return str(ipaddress.ip_network((ip, 64), strict=False))
