"""A small OpenID Connect issuer: it publishes what it is and its keys, and signs whatever it is told to sign.

For tests: real HTTP on loopback, keys that can be rotated, documents that can be made wrong, requests that are counted.
What a provider does beyond that (authorising, exchanging codes) is a handler that a test adds with `route`.
"""

from __future__ import annotations

import json
import threading
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from joserfc import jws
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

_DISCOVERY: Final = "/.well-known/openid-configuration"
_REGISTRY: Final = jws.JWSRegistry(algorithms=["RS256", "PS256", "ES256", "HS256"], strict_check_header=False)
Key = RSAKey | ECKey | OKPKey


@dataclass(frozen=True, slots=True)
class Asked:
    """One request. `form` and `query` hold the first value of each name."""

    method: str
    path: str
    query: Mapping[str, str]
    form: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, value: Any, status: int = 200) -> Reply:
        """`value` as JSON."""
        return cls(status, json.dumps(value).encode(), {"content-type": "application/json"})


Handler = Callable[[Asked], Reply]


def make_key(algorithm: str, kid: str) -> Key:
    """A new key that fits `algorithm`."""
    if algorithm == "ES256":
        return ECKey.generate_key("P-256", {"kid": kid})
    if algorithm == "EdDSA":
        return OKPKey.generate_key("Ed25519", {"kid": kid})
    return RSAKey.generate_key(2048, {"kid": kid})


class Issuer:
    """A context manager; `url` is its name and where it is."""

    def __init__(self) -> None:
        self.keys: dict[str, Key] = {}
        self.asked: Counter[str] = Counter()
        self.more: dict[str, Any] = {}  # added to the discovery document, or in place of what is in it
        self._routes: dict[str, Handler] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.route(_DISCOVERY, lambda _: Reply.of(self.document()))
        self.route("/keys", lambda _: Reply.of({"keys": [key.as_dict(private=False) for key in self.keys.values()]}))
        self.add_key("RS256", "first")

    def __enter__(self) -> Issuer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def route(self, path: str, handler: Handler) -> None:
        """Answer requests for `path` with `handler`."""
        self._routes[path] = handler

    def document(self) -> dict[str, Any]:
        """What it says of itself."""
        return {"issuer": self.url, "jwks_uri": f"{self.url}/keys", **self.more}

    def add_key(self, algorithm: str, kid: str) -> None:
        """A further key."""
        self.keys[kid] = make_key(algorithm, kid)

    def sign(self, claims: Mapping[str, Any], *, algorithm: str = "RS256", kid: str = "first", **header: Any) -> str:
        """A token with these claims as they are. `kid` names one of `keys`; more of the header as keywords."""
        return sign(claims, self.keys[kid], algorithm=algorithm, kid=kid, **header)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        issuer = self

        class Serve(BaseHTTPRequestHandler):
            """One connection."""

            def do_GET(self) -> None:
                """Answer it."""
                self._answer(b"")

            def do_POST(self) -> None:
                """Answer it."""
                self._answer(self.rfile.read(int(self.headers.get("content-length", 0))))

            def _answer(self, body: bytes) -> None:
                parts = urlsplit(self.path)
                issuer.asked[parts.path] += 1
                handler = issuer._routes.get(parts.path)
                asked = Asked(
                    self.command, parts.path, _first(parts.query), _first(body.decode()), dict(self.headers.items())
                )
                reply = Reply(404) if handler is None else handler(asked)
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(reply.body)))
                self.end_headers()
                self.wfile.write(reply.body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name
                """Tests read `asked`."""

        return Serve


def sign(
    claims: Mapping[str, Any], key: Key | OctKey, *, algorithm: str = "RS256", kid: str | None = None, **header: Any
) -> str:
    """A token with these claims, signed with `key`."""
    protected = {"typ": "JWT", "alg": algorithm, **({} if kid is None else {"kid": kid}), **header}
    payload = json.dumps(claims).encode()
    if algorithm == "EdDSA":  # the library warns of its name
        assert isinstance(key, OKPKey)
        signed = f"{encoded(json.dumps(protected).encode())}.{encoded(payload)}"
        signature: bytes = key.private_key.sign(signed.encode())  # type: ignore[union-attr]
        return f"{signed}.{encoded(signature)}"
    return jws.serialize_compact(protected, payload, key, registry=_REGISTRY)


def encoded(raw: bytes) -> str:
    """Base64url without padding, as tokens have it."""
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def _first(text: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(text, keep_blank_values=True).items()}
