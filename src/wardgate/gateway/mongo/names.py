"""Names of the network that the gateway stands in: addresses, and the SRV and TXT records of mongodb+srv://.

Addresses come from the system's resolver, as for every other program there, unless the operator named one DNS server:
then everything is asked there. Answers are hostile input: dnspython parses them, and who uses them checks what they
say. Law: a lookup that fails raises MongoError with the record's name in its sentence, and takes no longer than it was
given.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from dataclasses import dataclass
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdatatype
import dns.resolver

from .errors import Code, MongoError, quoted

_FAMILIES = {socket.AF_INET: "A", socket.AF_INET6: "AAAA"}
_MISSING = (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One address that a socket can connect to."""

    family: int
    sockaddr: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Service:
    """An SRV record: the hosts that it names, and for how many seconds they may be believed."""

    hosts: tuple[tuple[str, int], ...]
    ttl: int


class Names:
    """`server` is the one DNS server to ask; None: the system's ways."""

    def __init__(self, server: tuple[str, int] | None = None) -> None:
        self._server = server

    def __repr__(self) -> str:
        return f"Names({self._server!r})"

    async def addresses(self, host: str, port: int, timeout: float) -> list[Endpoint]:
        """Every address of a host, IP addresses included. Raises OSError, UnicodeError."""
        literal = _literal(host, port)
        if literal is not None:
            return [literal]
        if self._server is not None and host != "localhost":
            return await self._asked(host, port, timeout)
        async with asyncio.timeout(timeout):
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return [Endpoint(family, sockaddr) for family, _, _, _, sockaddr in found if family in _FAMILIES]

    async def _asked(self, host: str, port: int, timeout: float) -> list[Endpoint]:
        failures: list[dns.exception.DNSException] = []

        async def ask(family: int, kind: str) -> list[Endpoint]:
            try:
                records = await self._resolve(host, kind, timeout)
            except dns.exception.DNSException as error:
                failures.append(error)  # of one family: some servers fail at AAAA, and A is enough
                return []
            return [Endpoint(family, _sockaddr(family, record.address, port)) for record in records or ()]

        answers = await asyncio.gather(*(ask(family, kind) for family, kind in _FAMILIES.items()))
        found = [each for answer in answers for each in answer]
        if not found:
            raise OSError("DNS: no address") from (failures[0] if failures else None)
        return found

    async def service(self, name: str, timeout: float) -> Service:
        """The hosts behind an SRV record. Raises MongoError(dns_srv_missing, dns_failed)."""
        records = await self._record(name, "SRV", timeout)
        if not records:
            raise MongoError(
                Code.DNS_SRV_MISSING, f"There is no SRV record {quoted(name)}: check the name, and DNS at the gateway."
            )
        hosts = tuple((each.target.to_text(omit_final_dot=True).lower(), each.port) for each in records)
        return Service(tuple(dict.fromkeys(hosts)), records.rrset.ttl if records.rrset is not None else 0)

    async def texts(self, name: str, timeout: float) -> list[str]:
        """The TXT records of a name, each with its strings joined. Raises MongoError(dns_failed)."""
        records = await self._record(name, "TXT", timeout)
        return [b"".join(each.strings).decode("utf-8", "replace") for each in records or ()]

    async def _record(self, name: str, kind: str, timeout: float) -> Any:
        try:
            return await self._resolve(name, kind, timeout)
        except (dns.exception.DNSException, OSError, UnicodeError, ValueError) as error:
            reason = "nobody answered in time" if isinstance(error, dns.exception.Timeout) else type(error).__name__
            raise MongoError(
                Code.DNS_FAILED, f"The gateway's DNS gave no answer for the {kind} record {quoted(name)} ({reason})."
            ) from error

    async def _resolve(self, name: str, kind: str, timeout: float) -> Any:
        """A dnspython Answer, None where the name has no such record. Raises DNSException and ValueError."""
        resolver = dns.asyncresolver.Resolver(configure=self._server is None)
        if self._server is not None:
            resolver.nameservers, resolver.port = [self._server[0]], self._server[1]
        absolute = dns.name.from_text(name)
        try:
            return await resolver.resolve(absolute, dns.rdatatype.from_text(kind), lifetime=timeout, search=False)
        except _MISSING:
            return None


def _literal(host: str, port: int) -> Endpoint | None:
    """An IP address needs no resolver, and no thread to ask one in."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    return Endpoint(family, _sockaddr(family, str(address), port))


def _sockaddr(family: int, address: str, port: int) -> tuple[Any, ...]:
    return (address, port) if family == socket.AF_INET else (address, port, 0, 0)
