"""What the gateway's operator says about the place that it stands in: which DNS, and which workload identity.

Read once from the environment of `gateway run`; leases can't change it. The OIDC token is the gateway's own, not an
account's: whoever may create a resource names the host that would get it. So the operator names the hosts that it is
for, and nobody else gets it.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ...errors import WardgateError
from .errors import Code, MongoError, quoted
from .names import Names

DNS = "WARDGATE_GATEWAY_DNS"
OIDC_TOKEN_FILE = "WARDGATE_GATEWAY_OIDC_TOKEN_FILE"  # noqa: S105 - the name of a variable
OIDC_HOSTS = "WARDGATE_GATEWAY_OIDC_HOSTS"
_TOKEN_BYTES = 16 * 1024
_PATTERN = re.compile(r"(\*\.)?[a-z0-9_-]+(\.[a-z0-9_-]+)*")


@dataclass(frozen=True, slots=True)
class Site:
    """`oidc_hosts` are names in lower case; one that begins with `*.` stands for all below it."""

    names: Names = field(default_factory=Names)
    oidc_token_file: Path | None = None
    oidc_hosts: tuple[str, ...] = ()

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Site:
        """From the environment. Raises WardgateError `invalid_environment`, which names the variable."""
        token_file = environment.get(OIDC_TOKEN_FILE)
        hosts = [each.strip().lower() for each in environment.get(OIDC_HOSTS, "").split(",") if each.strip()]
        for each in hosts:
            if not _PATTERN.fullmatch(each):
                raise _invalid(OIDC_HOSTS, "holds something else than host names, as db1.example.com,*.example.net")
        server = environment.get(DNS)
        return cls(
            names=Names(_dns_server(server) if server else None),
            oidc_token_file=Path(token_file) if token_file else None,
            oidc_hosts=tuple(hosts),
        )

    def check_oidc_hosts(self, hosts: Iterable[str]) -> None:
        """Raises MongoError(login_host) unless the operator named every one of `hosts` for the token."""
        for host in hosts:
            if not any(_covers(each, host) for each in self.oidc_hosts):
                raise MongoError(
                    Code.LOGIN_HOST,
                    f"This gateway's OIDC token is not for {quoted(host)}: its operator names the hosts that may "
                    f"get it in {OIDC_HOSTS}.",
                )

    def oidc_token(self) -> str:
        """The token as it is in its file now; whoever issues it renews it there. Raises MongoError(login_token)."""
        if self.oidc_token_file is None:
            raise MongoError(
                Code.LOGIN_TOKEN, f"This gateway has no OIDC token: its operator names the file in {OIDC_TOKEN_FILE}."
            )
        try:
            with self.oidc_token_file.open("rb") as file:
                raw = file.read(_TOKEN_BYTES)
            return raw.decode("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise MongoError(
                Code.LOGIN_TOKEN, f"The gateway can't read the OIDC token in the file that {OIDC_TOKEN_FILE} names."
            ) from error


def _covers(pattern: str, host: str) -> bool:
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern


def _dns_server(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
        if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65_536):
            raise ValueError(port)
    except ValueError as error:
        raise _invalid(DNS, "is not the address of a DNS server, as 10.0.0.2:53 or [fd00::2]:53") from error
    return str(address), int(port)


def _invalid(variable: str, what: str) -> WardgateError:
    return WardgateError("invalid_environment", f"{variable} {what}.")
