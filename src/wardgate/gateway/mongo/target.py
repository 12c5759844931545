"""A MongoDB deployment as the gateway dials it.

A `Target` is made once per lease or test from the control plane's structured fields; no string is parsed here again.
It holds no credentials but a client certificate, inside its TLS context. Which addresses are never dialled, be it seeds
or members learned from a hello, is in `net.places`; private networks and loopback are where databases live, so they are
allowed.
"""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

from ...api.machine import MongoTarget
from ...numbers import DEFAULT, Numbers
from . import client_certificate
from .errors import Code, MongoError
from .names import Names

DEFAULT_PORT = 27017
ADDRESSES_MAX = 64  # a replica set has at most 50 members; a hostile hello may name more
_HOST = re.compile(r"[^\s/@,?#%\[\]\\\x00-\x1f\x7f]{1,253}")
_PORT = re.compile(r"[1-9][0-9]{0,4}")


def join_address(host: str, port: int) -> str:
    """``host:port``, lower-cased, IPv6 in brackets: the one spelling of an address in this room."""
    host = host.lower()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split_address(address: str) -> tuple[str, int]:
    """The reverse, also for what a hello says (the port may be missing). Raises ValueError."""
    bracketed = re.fullmatch(r"\[([0-9A-Fa-f:.]+)\](?::(.+))?", address)
    if bracketed:
        host, port = bracketed.group(1), bracketed.group(2)
        ipaddress.IPv6Address(host)
    else:
        host, _, port = address.partition(":")
        if not _HOST.fullmatch(host):
            raise ValueError("not a host name")
    if port and (not _PORT.fullmatch(port) or int(port) > 65535):
        raise ValueError("not a port")
    return host.lower(), int(port) if port else DEFAULT_PORT


class SeedSource(Protocol):
    """Where seeds came from that may change."""

    @property
    def pause(self) -> float:
        """Seconds until the next look."""

    async def again(self, known: Iterable[str], timeout: float) -> tuple[tuple[str, ...], float]:
        """The seeds as of now, and seconds until the next look. Raises MongoError."""


@dataclass(frozen=True, slots=True)
class Target:
    """One deployment. `tls` None means plain TCP; `verified` says whether certificates are checked.

    `compressors` and `zlib_level` are what the connection string says of the leg to the server (empty, None: nothing).
    `source` is there where the seeds came from an SRV record. `check_hosts` is asked before every dial, also of members
    that a hello or a record names later; it raises MongoError for a host that the login is not for.
    """

    seeds: tuple[str, ...]
    tls: ssl.SSLContext | None = field(repr=False, compare=False)
    verified: bool
    auth_database: str
    set_name: str | None = None
    load_balanced: bool = False
    direct: bool = False
    shows_certificate: bool = False  # a client's, in the TLS context
    compressors: tuple[str, ...] = ()
    zlib_level: int | None = None
    numbers: Numbers = field(default=DEFAULT, repr=False)
    names: Names = field(default_factory=Names, repr=False, compare=False)
    source: SeedSource | None = field(default=None, repr=False, compare=False)
    check_hosts: Callable[[Iterable[str]], None] | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(
        cls,
        model: MongoTarget,
        numbers: Numbers = DEFAULT,
        *,
        certificate: str | None = None,
        names: Names | None = None,
        source: SeedSource | None = None,
        check_hosts: Callable[[Iterable[str]], None] | None = None,
    ) -> Target:
        """From the control plane's model, its SRV name already located (`srv.locate`); `certificate` is a client's,
        with its key. Raises MongoError(ca_invalid, client_certificate_…, dns_failed)."""
        try:
            seeds = tuple(dict.fromkeys(join_address(*split_address(join_address(*each))) for each in model.hosts))
        except ValueError as error:
            raise MongoError(Code.DNS_FAILED, f"A host of the resource is not one: {error}.") from error
        if not seeds or len(seeds) > ADDRESSES_MAX:
            raise MongoError(Code.DNS_FAILED, f"A resource needs between 1 and {ADDRESSES_MAX} hosts.")
        compressors, level = model.options.get("compressors"), model.options.get("zlibCompressionLevel")
        return cls(
            seeds=seeds,
            tls=_context(model.ca_certificate, model.reject_unauthorized, certificate) if model.tls else None,
            verified=model.tls and model.reject_unauthorized,
            auth_database=model.auth_database,
            set_name=model.set_name,
            load_balanced=model.load_balanced,
            direct=model.options.get("directConnection") is True,
            shows_certificate=model.tls and certificate is not None,
            compressors=tuple(compressors.split(",")) if isinstance(compressors, str) and compressors else (),
            zlib_level=level if isinstance(level, int) else None,
            numbers=numbers,
            names=names or Names(),
            source=source,
            check_hosts=check_hosts,
        )

    @property
    def names_dialled(self) -> tuple[str, ...]:
        """The hosts of the seeds."""
        return tuple(dict.fromkeys(split_address(seed)[0] for seed in self.seeds))


def _context(ca_certificate: str | None, verify: bool, certificate: str | None) -> ssl.SSLContext:
    """TLS 1.2 or newer. A given authority replaces the system's; it may be an intermediate or the server's own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if ca_certificate is not None:
        try:
            context.load_verify_locations(cadata=ca_certificate)
        except (ssl.SSLError, ValueError) as error:
            raise MongoError(
                Code.CA_INVALID, "The CA certificate is not a PEM certificate that can be read."
            ) from error
        if not context.get_ca_certs() and not context.cert_store_stats()["x509"]:
            raise MongoError(Code.CA_INVALID, "The CA certificate holds no certificate.")
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    elif verify:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if certificate is not None:
        client_certificate.load(context, certificate)
    return context
