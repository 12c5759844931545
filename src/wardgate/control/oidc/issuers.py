"""Finding out what an issuer says of itself, and with which keys it signs.

Discovery is OpenID Connect's (`/.well-known/openid-configuration`), keys are a JWK set (RFC 7517). Laws: the document
must name the very issuer that was asked, or one issuer could speak for another; what was found is used for ten minutes,
and an unknown key has it fetched again at most every half minute, so that no stranger's token (nor an issuer that
fails) makes us a source of requests; an issuer that can't be reached is believed as it was for an hour, not longer, for
a key may have been taken back meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from ...errors import WardgateError
from ..outbound import FAILED, Outbound
from ..sources import Sources
from .tokens import Claims, Expected, Key, TokenRefusedError, check, usable_keys

_FRESH: Final = timedelta(minutes=10)
_STALE: Final = timedelta(hours=1)
_AGAIN: Final = timedelta(seconds=30)
_MOST_ISSUERS: Final = 200


@dataclass(frozen=True, slots=True)
class Metadata:
    """What an issuer says of itself. `document` is all of it, unchecked but for the issuer's name."""

    issuer: str
    jwks_uri: str
    document: Mapping[str, Any]

    def url(self, name: str) -> str | None:
        """An endpoint, if the document has one; `Outbound` judges it when it is used."""
        value = self.document.get(name)
        return value if isinstance(value, str) else None


@dataclass(slots=True)
class _Known:
    """One issuer. `tried_at` is when it was last asked, whatever came of it."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    metadata: Metadata | None = None
    keys: list[Key] = field(default_factory=list)
    fetched_at: datetime | None = None
    tried_at: datetime | None = None

    def within(self, age: timedelta, now: datetime) -> bool:
        """Whether what is known is no older than that."""
        return self.fetched_at is not None and now - self.fetched_at < age


class Issuers:
    """Issuers by URL. In this process only: another node asks for itself."""

    def __init__(self, outbound: Outbound, sources: Sources) -> None:
        self._outbound = outbound
        self._sources = sources
        self._known: OrderedDict[str, _Known] = OrderedDict()

    def check(self, issuer: str) -> None:
        """Whether that can be an issuer at all; WardgateError `outbound_refused`."""
        parts = self._outbound.check(issuer)
        if parts.query or parts.fragment:
            raise WardgateError("outbound_refused", "An issuer's URL has no query and no fragment.")

    async def metadata(self, issuer: str) -> Metadata:
        """What the issuer says of itself; WardgateError `outbound_refused` or `outbound_failed`."""
        known = await self._current(issuer)
        assert known.metadata is not None
        return known.metadata

    async def verify(self, token: str, expected: Expected) -> Claims:
        """The claims of a token of `expected.issuer`. TokenRefusedError, or WardgateError where it can't be asked."""
        known = await self._current(expected.issuer)
        try:
            return check(token, known.keys, expected, self._sources.now())
        except TokenRefusedError as error:
            if not error.unknown_key or not await self._renewed(expected.issuer, known):
                raise
        return check(token, known.keys, expected, self._sources.now())

    async def _current(self, issuer: str) -> _Known:
        """What is known of the issuer, fetched where it is too old."""
        known = self._known.setdefault(issuer, _Known())
        self._known.move_to_end(issuer)
        while len(self._known) > _MOST_ISSUERS:
            self._known.popitem(last=False)
        async with known.lock:
            now = self._sources.now()
            if known.within(_FRESH, now):
                return known
            if known.tried_at is not None and now - known.tried_at < _AGAIN:
                if known.within(_STALE, now):
                    return known
                raise WardgateError(FAILED, f"{issuer[:200]} could not be asked: try again in half a minute.")
            try:
                await self._fetch(issuer, known)
            except WardgateError:
                if not known.within(_STALE, now):
                    raise
        return known

    async def _renewed(self, issuer: str, known: _Known) -> bool:
        """Ask for the keys again; False where that was done just now."""
        async with known.lock:
            now = self._sources.now()
            if known.tried_at is not None and now - known.tried_at < _AGAIN:
                return False
            await self._fetch(issuer, known)
        return True

    async def _fetch(self, issuer: str, known: _Known) -> None:
        known.tried_at = self._sources.now()
        document = await self._json(issuer.rstrip("/") + "/.well-known/openid-configuration")
        if document.get("issuer") != issuer:
            raise WardgateError(FAILED, f"{issuer[:200]} calls itself by another name: write its URL as it does.")
        jwks_uri = document.get("jwks_uri")
        if not isinstance(jwks_uri, str):
            raise WardgateError(FAILED, f"{issuer[:200]} does not say where its keys are.")
        keys = usable_keys(await self._json(jwks_uri))
        if not keys:
            raise WardgateError(FAILED, f"{issuer[:200]} has no key of a kind that is accepted.")
        known.metadata, known.keys = Metadata(issuer, jwks_uri, document), keys
        known.fetched_at = known.tried_at

    async def _json(self, url: str) -> dict[str, Any]:
        answer = await self._outbound.get(url)
        if answer.status != 200:
            raise WardgateError(FAILED, f"{url[:200]} answered with status {answer.status}.")
        return answer.json()
