"""What `server init` and `server run` were told, checked before anything is opened.

Law: plain HTTP is served on loopback only. Elsewhere either TLS ends here, or it ends at a proxy that is named, and
then nobody but that proxy and this machine is served. An address that means “all of them” says nothing to anybody who
must reach us, so it needs an advertised one.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from ..api.domain import canonical, is_loopback, passkey_site
from ..errors import WardgateError
from ..secret import Secret
from .db.address import PostgresAddress
from .settings import DoorSettings, Network

_MOST_PASSWORD_BYTES = 1024  # as the login form takes


class UsageError(WardgateError):
    """Flags that are wrong or don't go together: exit code 2."""

    exit_code = 2

    def __init__(self, message: str) -> None:
        super().__init__("usage", message)


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen."""

    host: str
    port: int

    @property
    def is_unspecified(self) -> bool:
        """Whether it means every address of this machine."""
        try:
            return ipaddress.ip_address(self.host).is_unspecified
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The checked flags of `server run`."""

    data_dir: Path
    listen: Address
    public_url: str | None
    relay_listen: Address | None
    relay_advertise: str | None
    tls: tuple[Path, Path] | None
    proxies: tuple[Network, ...]
    master_key_file: Path | None
    as_json: bool = False
    dev_outbox: Path | None = None
    database_url: str | None = field(default=None, repr=False)  # None: embedded

    @classmethod
    def check(
        cls,
        *,
        data_dir: Path,
        listen: str,
        relay_listen: str | None,
        relay_advertise: str | None,
        public_url: str | None,
        tls_cert: Path | None,
        tls_key: Path | None,
        behind_proxy: tuple[str, ...],
        master_key_file: Path | None,
        as_json: bool = False,
        dev_outbox: Path | None = None,
        database_url: str | None = None,
    ) -> RunOptions:
        """Options that make sense together; UsageError or WardgateError otherwise."""
        if database_url is not None:
            PostgresAddress.parse(database_url)
        address = parse_address(listen, "--listen")
        if (tls_cert is None) != (tls_key is None):
            raise UsageError("--tls-cert and --tls-key go together.")
        tls = (tls_cert, tls_key) if tls_cert is not None and tls_key is not None else None
        proxies = tuple(_network(text) for text in behind_proxy)
        url = canonical(public_url) if public_url is not None else None
        _check_listen(address, url, has_tls=tls is not None, has_proxy=bool(proxies))
        relay, advertised = _check_relay(relay_listen, relay_advertise)
        return cls(
            data_dir=data_dir,
            listen=address,
            public_url=url,
            relay_listen=relay,
            relay_advertise=advertised,
            tls=tls,
            proxies=proxies,
            master_key_file=master_key_file,
            as_json=as_json,
            dev_outbox=dev_outbox,
            database_url=database_url,
        )

    def url(self, port: int) -> str:
        """The canonical public URL, `port` being the one that was bound."""
        if self.public_url is not None:
            return self.public_url
        scheme = "https" if self.tls is not None else "http"
        return canonical(f"{scheme}://{Address(self.listen.host, port)}")

    def door(self, port: int) -> DoorSettings:
        """What every request is checked against."""
        url = self.url(port)
        names = {url.partition("://")[2]}
        site = passkey_site(url)
        if site is not None:
            names.add(site.origin.partition("://")[2])  # localhost, where the URL is a loopback address
        if not self.listen.is_unspecified:
            names.add(str(Address(self.listen.host, port)))
        if self.listen.is_unspecified or is_loopback(self.listen.host):
            names |= {f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}"}
        return DoorSettings(
            hosts=frozenset(name.lower() for name in names),
            proxies=self.proxies,
            https=url.startswith("https://"),
            proxied_only=self.tls is None and not is_loopback(self.listen.host),
        )


def parse_address(text: str, flag: str) -> Address:
    """HOST:PORT, IPv6 in brackets; UsageError naming `flag`."""
    host, _, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    bracketed = host.startswith("[") and host.endswith("]")
    if not bare or (":" in bare) != bracketed or not (port.isascii() and port.isdigit()) or int(port) > 65_535:
        raise UsageError(f"{flag}: “{text[:100]}” is no address: write HOST:PORT, as 127.0.0.1:8400.")
    return Address(bare, int(port))


def password_from(stream: IO[bytes]) -> Secret:
    """The password on `stream`: every byte of it but one final newline. UsageError if it is empty or no text."""
    raw = stream.read(_MOST_PASSWORD_BYTES + 3)
    raw = raw.removesuffix(b"\n")
    if not raw:
        raise UsageError("The password on standard input is empty.")
    if len(raw) > _MOST_PASSWORD_BYTES:
        raise UsageError(f"The password on standard input is longer than {_MOST_PASSWORD_BYTES} bytes.")
    try:
        raw.decode()
    except UnicodeDecodeError:
        raise UsageError("The password on standard input is not UTF-8 text.") from None
    return Secret(raw)


def _check_listen(address: Address, url: str | None, *, has_tls: bool, has_proxy: bool) -> None:
    if not is_loopback(address.host) and not has_tls and not has_proxy:
        raise UsageError(
            f"--listen {address} is open to other machines: that needs --tls-cert and --tls-key, "
            "or --behind-proxy where TLS ends before this program."
        )
    if url is not None:
        return
    if address.is_unspecified:
        raise UsageError(f"--listen {address} says nothing to those who must reach it: give --public-url.")
    if not has_tls and not is_loopback(address.host):
        raise UsageError("With --behind-proxy, give --public-url: the https address that the proxy answers at.")


def _check_relay(listen: str | None, advertise: str | None) -> tuple[Address | None, str | None]:
    if listen is None:
        if advertise is not None:
            raise UsageError("--relay-advertise goes with --relay-listen.")
        return None, None
    address = parse_address(listen, "--relay-listen")
    if address.port == 0:
        raise UsageError("--relay-listen needs a port of its own: people and gateways must know it.")
    if advertise is not None:
        return address, str(parse_address(advertise, "--relay-advertise"))
    if address.is_unspecified:
        raise UsageError(f"--relay-listen {address} says nothing to those who must reach it: give --relay-advertise.")
    return address, str(address)


def _network(text: str) -> Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise UsageError(f"--behind-proxy: “{text[:100]}” is no network: write it as 10.0.0.0/8.") from None
