"""Where a PostgreSQL database is, from the one line of WARDGATE_DATABASE_URL.

Law: what is not known is refused, never passed on to a driver unread; nothing is taken from libpq's own environment
(PGHOST, PGPASSWORD, ~/.pgpass), so that the line says all. Traffic that leaves this machine is encrypted to a server
whose certificate was checked, unless the line says that checking may be left out. The password appears in no message.
"""

from __future__ import annotations

import ipaddress
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, unquote

from ...errors import WardgateError
from ...secret import Secret

SCHEMES: Final = ("postgresql://", "postgres://")
_PORT: Final = 5432
_LONGEST: Final = 4096
_OPTIONS: Final = ("host", "sslmode", "sslrootcert", "sslcert", "sslkey")
# What may be said of encryption. “prefer” and “allow” are not among them: who listens decides what they mean.
_MODES: Final = ("disable", "require", "verify-ca", "verify-full")


class AddressError(WardgateError):
    """The line can't be used: exit code 2."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__("invalid_database_url", f"The database URL is not usable: {message}")


@dataclass(frozen=True, slots=True)
class PostgresAddress:
    """One database; `hosts` are tried in order until one is found that writes (a folder is that of a Unix socket)."""

    hosts: tuple[tuple[str, int], ...]
    database: str
    user: str
    password: Secret | None = None
    sslmode: str = "disable"
    sslrootcert: Path | None = None
    sslcert: Path | None = None
    sslkey: Path | None = None

    @classmethod
    def parse(cls, text: str) -> PostgresAddress:
        """`postgresql://user:password@host:port,host:port/database?sslmode=…`; AddressError otherwise.

        A socket's folder stands percent-encoded as the host, or as the option `host`.
        """
        text = text.strip()
        scheme = next((known for known in SCHEMES if text.startswith(known)), None)
        if scheme is None or len(text) > _LONGEST or not text.isprintable():
            raise AddressError("it must be one line, postgresql://USER:PASSWORD@HOST:PORT/DATABASE.")
        place, _, query = text.removeprefix(scheme).partition("?")
        authority, _, database = place.partition("/")
        login, at, hosts = authority.rpartition("@")
        user, colon, password = login.partition(":")
        options = _options(query)
        if "host" in options:
            if hosts:
                raise AddressError("the host stands in it twice.")
            hosts = options["host"].replace("/", "%2F")
        if not at or not user or not database or "/" in database:
            raise AddressError("it needs a user and one database: postgresql://USER:PASSWORD@HOST:PORT/DATABASE.")
        found = tuple(_host(part) for part in hosts.split(","))
        mode = _mode(options, found)
        return cls(
            hosts=found,
            database=unquote(database),
            user=unquote(user),
            password=Secret(unquote(password)) if colon else None,
            sslmode=mode,
            sslrootcert=_path(options, "sslrootcert"),
            sslcert=_path(options, "sslcert"),
            sslkey=_path(options, "sslkey"),
        )

    def tls(self) -> ssl.SSLContext | None:
        """How the connection is encrypted; None where it is not. AddressError if the files can't be used."""
        if self.sslmode == "disable":
            return None
        try:
            context = ssl.create_default_context(cafile=self.sslrootcert)
            if self.sslcert is not None:
                context.load_cert_chain(self.sslcert, self.sslkey)
        except OSError as error:  # ssl.SSLError is one
            raise AddressError(f"sslrootcert, sslcert or sslkey can't be loaded: {error.strerror or error}.") from None
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.check_hostname = self.sslmode == "verify-full"
        if self.sslmode == "require":
            context.verify_mode = ssl.CERT_NONE
        return context

    def __str__(self) -> str:
        """For people: everything but the password."""
        hosts = ",".join(host if host.startswith("/") else f"{host}:{port}" for host, port in self.hosts)
        return f"database {self.database} at {hosts} as {self.user}"


def _options(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=len(_OPTIONS))
    except ValueError:
        raise AddressError("what stands behind the question mark is no list of options.") from None
    options = dict(pairs)
    unknown = sorted(options.keys() - set(_OPTIONS))
    if unknown:
        raise AddressError(f"the option {unknown[0][:60]} is not one of {', '.join(_OPTIONS)}.")
    if len(options) != len(pairs):
        raise AddressError("an option stands in it twice.")
    return options


def _host(part: str) -> tuple[str, int]:
    host, colon, port = part.rpartition(":") if not part.endswith("]") else (part, "", "")
    if not colon:
        host, port = part, str(_PORT)
    host = unquote(host.removeprefix("[").removesuffix("]"))
    if not host or not (port.isascii() and port.isdigit()) or not 0 < int(port) < 65_536:
        raise AddressError(
            "it names no host: write HOST or HOST:PORT, IPv6 in brackets, a socket's folder as %2Frun%2F…."
        )
    return host, int(port)


def _mode(options: dict[str, str], hosts: tuple[tuple[str, int], ...]) -> str:
    near = all(_is_near(host) for host, _ in hosts)
    mode = options.get("sslmode", "disable" if near and "sslrootcert" not in options else "verify-full")
    if mode not in _MODES:
        raise AddressError(f"sslmode must be one of {', '.join(_MODES)}.")
    if mode == "disable" and not near:
        raise AddressError("sslmode=disable is for a database on this machine; elsewhere use verify-full.")
    if mode == "verify-ca" and "sslrootcert" not in options:
        raise AddressError("sslmode=verify-ca needs sslrootcert: any name that a public authority knows would pass.")
    if ("sslcert" in options) != ("sslkey" in options):
        raise AddressError("sslcert and sslkey go together.")
    return mode


def _is_near(host: str) -> bool:
    if host.startswith("/") or host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _path(options: dict[str, str], name: str) -> Path | None:
    return Path(options[name]) if name in options else None
