"""What an installation was started with, checked."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from ..api.domain import PasskeySite, passkey_site

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class DoorSettings:
    """`hosts` are the acceptable Host headers (lower-case, with the port where it is not the scheme's own); `proxies`
    the networks whose forwarded headers count; `https` says whether people reach us by it; with `proxied_only` nobody
    but a proxy and this machine is served, because TLS ends at the proxy."""

    hosts: frozenset[str]
    proxies: tuple[Network, ...] = ()
    https: bool = False
    proxied_only: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """`public_url` is canonical (`api.domain`): the audience of assertions and the URL in enrolment tokens.

    `relay_advertise` is the embedded relay's `host:port`, None when there is none. `records_store` is the URL of the
    bucket that new records go to (`records.bucket`), None for the folder beside the database.
    """

    data_dir: Path
    public_url: str
    door: DoorSettings
    relay_advertise: str | None = None
    records_store: str | None = None

    @property
    def passkeys(self) -> PasskeySite | None:
        """Where passkeys are good; None where no name of this control plane is one that its door takes."""
        site = passkey_site(self.public_url)
        return site if site is not None and site.origin.partition("://")[2] in self.door.hosts else None

    @property
    def pages(self) -> str:
        """The origin of people's pages: where passkeys are good, if they are anywhere, or a sign-in there could not
        use one."""
        return self.public_url if self.passkeys is None else self.passkeys.origin
