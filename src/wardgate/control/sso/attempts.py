"""The way to a provider and back: what goes with it, and whether what comes back belongs to it.

Law: an attempt belongs to one browser, one provider and ten minutes, and ends with the first answer, whatever that is.
Everything secret of it is derived from one value that the browser alone keeps (in a cookie) and from `state`: the
database has hashes only, and a stolen answer is of no use without the cookie. Pure but for its arguments.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from ...api.problems import ProblemCode, ProblemError

RANDOM_BYTES = 32


@dataclass(frozen=True, slots=True)
class Going:
    """Where the browser is sent, and what it keeps."""

    url: str
    cookie: str


@dataclass(frozen=True, slots=True)
class Keys:
    """What is derived from the cookie and the state."""

    nonce: str
    verifier: str

    @classmethod
    def of(cls, cookie: str, state: str) -> Keys:
        """For this attempt."""
        return cls(*(_encoded(hmac.digest(cookie.encode(), f"{use} {state}".encode(), "sha256")) for use in _USES))

    @property
    def challenge(self) -> str:
        """RFC 7636, S256."""
        return _encoded(hashlib.sha256(self.verifier.encode()).digest())


_USES = ("nonce", "verifier")


@dataclass(frozen=True, slots=True)
class Answer:
    """What the provider's redirect brought."""

    state: str
    code: str | None
    error: str | None
    issuer: str | None

    @classmethod
    def of(cls, query: Mapping[str, list[str]]) -> Answer:
        """From the query; ProblemError `sso_refused` where a name stands twice or there is no state."""
        if any(len(values) != 1 for values in query.values()):
            raise refused("the answer says something twice")
        single = {name: values[0] for name, values in query.items()}
        state = single.get("state", "")
        if not state or len(state) > 128:
            raise refused("the answer belongs to no sign-in that was begun here")
        return cls(state, single.get("code"), single.get("error"), single.get("iss"))

    def must_be_of(self, issuer: str, *, says_issuer: bool) -> None:
        """RFC 9207: an answer that says who gives it must be of the provider that was asked."""
        if self.issuer is None and says_issuer:
            raise refused("the answer does not say who gives it, as this provider's answers do")
        if self.issuer is not None and self.issuer != issuer:
            raise refused("the answer is of another provider than the one that was asked")


def url_to(endpoint: str, facts: Mapping[str, str]) -> str:
    """The authorization endpoint with `facts`; it may have a query of its own."""
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(facts)}"


def random_text(randomness: bytes) -> str:
    """Random bytes as text for a URL or a cookie."""
    return _encoded(randomness)


def hash_of(text: str) -> bytes:
    """What is kept of a random text."""
    return hashlib.sha256(text.encode()).digest()


def refused(why: str) -> ProblemError:
    """The one form of a refusal."""
    return ProblemError(ProblemCode.SSO_REFUSED, f"Single sign-on was refused: {why}.")


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
