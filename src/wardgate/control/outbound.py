"""HTTP requests that the control plane makes because a setting told it to: to issuers of tokens, and the like.

Law (against requests that an insider or a hostile document sends astray): `https://` only; every address of the host is
judged by `net.places` and the connection goes to the very address that was judged; no redirect is followed and no proxy
of the environment is used; answers have a size and a time. Private networks and this machine are reached only at hosts
that the operator has named in `WARDGATE_PRIVATE_HOSTS`, and only this machine without TLS. What an answer said is never
repeated in an error: it may be another system's secret.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import SplitResult, urlencode, urlsplit

import httpx2

from .. import __version__
from ..api.domain import is_loopback
from ..errors import WardgateError
from ..net.places import is_public, never_dialled

REFUSED, FAILED = "outbound_refused", "outbound_failed"
_SECONDS: Final = 10.0
_MOST_BYTES: Final = 256 * 1024
_PORTS: Final = {"https": 443, "http": 80}
_LONGEST_URL: Final = 2_048


@dataclass(frozen=True, slots=True)
class Answer:
    """A status below 500 and the body, which is no larger than was asked for."""

    status: int
    body: bytes

    def json(self) -> dict[str, Any]:
        """The body as one JSON object in which no key stands twice; WardgateError `outbound_failed`."""
        try:
            value = json.loads(self.body, object_pairs_hook=_once)
        except (ValueError, RecursionError):
            raise WardgateError(FAILED, "What it answered is not JSON.") from None
        if not isinstance(value, dict):
            raise WardgateError(FAILED, "What it answered is no JSON object.")
        return value


class Outbound:
    """`private_hosts` are the names (or addresses) that may lead to private networks; `ca_file` is trusted too."""

    def __init__(self, private_hosts: frozenset[str] = frozenset(), ca_file: str | None = None) -> None:
        self._private = frozenset(host.lower() for host in private_hosts)
        self._ca_file = ca_file
        self._tls: ssl.SSLContext | None = None

    @classmethod
    def from_environment(cls) -> Outbound:
        """As the operator has set it."""
        named = os.environ.get("WARDGATE_PRIVATE_HOSTS", "")
        hosts = frozenset(host.strip() for host in named.split(",") if host.strip())
        return cls(hosts, os.environ.get("WARDGATE_CA_FILE"))

    def check(self, url: str) -> SplitResult:
        """The parts of a URL that may be asked; WardgateError `outbound_refused`. Names are not looked up here."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise _refused("That is no URL.") from None
        clean = url.isascii() and url.isprintable() and " " not in url and len(url) <= _LONGEST_URL
        if not clean or parts.scheme not in _PORTS or not parts.hostname or "@" in parts.netloc or port == 0:
            raise _refused("Write it as https://host/path, without a user name.")
        plain_allowed = is_loopback(parts.hostname) and parts.hostname in self._private
        if parts.scheme == "http" and not plain_allowed:
            raise _refused("It must begin with https://.")
        return parts

    async def get(self, url: str, *, most: int = _MOST_BYTES) -> Answer:
        """GET. WardgateError `outbound_refused` or `outbound_failed`."""
        return await self.request("GET", url, most=most)

    async def post_form(
        self, url: str, fields: Mapping[str, str], *, headers: Mapping[str, str] | None = None, most: int = _MOST_BYTES
    ) -> Answer:
        """POST a form. WardgateError `outbound_refused` or `outbound_failed`."""
        sent = {"content-type": "application/x-www-form-urlencoded", **(headers or {})}
        return await self.request("POST", url, content=urlencode(fields).encode(), headers=sent, most=most)

    async def request(
        self,
        method: str,
        url: str,
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        most: int = _MOST_BYTES,
        tls: ssl.SSLContext | None = None,
    ) -> Answer:
        """One request to the address that was judged, trusted as `tls` says. WardgateError `outbound_refused` or
        `outbound_failed`."""
        parts = self.check(url)
        host = parts.hostname or ""
        try:
            async with asyncio.timeout(_SECONDS):
                address = await self.address(host, parts.port or _PORTS[parts.scheme])
                return await self._send(method, parts, address, content, dict(headers or {}), most, tls)
        except TimeoutError:
            raise _failed(host, "it took too long") from None

    async def address(self, host: str, port: int) -> str:
        """The address that `host` stands for, judged: connect to this one. WardgateError `outbound_refused` or
        `outbound_failed`."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise _failed(host, "its name is not known") from None
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        # One bad address spoils the name: whoever answers with both wants us to try until the bad one is taken.
        private = host.lower() in self._private
        if not addresses or any(never_dialled(ip) or not (private or is_public(ip)) for ip in addresses):
            raise _refused(
                f"{host[:100]} is not on the Internet: if it is meant, the operator names it in WARDGATE_PRIVATE_HOSTS."
            )
        return addresses[0]

    async def _send(
        self,
        method: str,
        parts: SplitResult,
        address: str,
        content: bytes | None,
        headers: dict[str, str],
        most: int,
        tls: ssl.SSLContext | None,
    ) -> Answer:
        host = parts.hostname or ""
        target = httpx2.URL(parts.geturl()).copy_with(host=address)
        sent = {"accept": "application/json", **headers, "host": parts.netloc, "user-agent": f"wardgate/{__version__}"}
        transport = httpx2.AsyncHTTPTransport(verify=tls or self._context(), trust_env=False)
        async with httpx2.AsyncClient(transport=transport, timeout=_SECONDS, follow_redirects=False) as client:
            try:
                asked = client.stream(method, target, content=content, headers=sent, extensions={"sni_hostname": host})
                async with asked as answer:
                    return Answer(self._status(host, answer.status_code), await _body(host, answer, most))
            except httpx2.HTTPError as error:
                raise _failed(host, f"it could not be asked ({type(error).__name__})") from None

    @staticmethod
    def _status(host: str, status: int) -> int:
        if 300 <= status < 400:
            raise _failed(host, "it leads elsewhere, and redirects are not followed")
        if status >= 500:
            raise _failed(host, f"it answered with status {status}")
        return status

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            context = ssl.create_default_context()
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if self._ca_file is not None:
                context.load_verify_locations(cafile=self._ca_file)
            self._tls = context
        return self._tls


async def _body(host: str, answer: httpx2.Response, most: int) -> bytes:
    body = bytearray()
    async for part in answer.aiter_bytes():
        body += part
        if len(body) > most:
            raise _failed(host, f"it answered with more than {most} bytes")
    return bytes(body)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _refused(why: str) -> WardgateError:
    return WardgateError(REFUSED, why)


def _failed(host: str, why: str) -> WardgateError:
    return WardgateError(FAILED, f"{host[:100]} gave no answer that can be used: {why}.")
