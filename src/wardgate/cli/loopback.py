"""The address on this machine to which the browser brings a one-time code (RFC 8252, section 7.3).

A listener on 127.0.0.1 and a free port, for one answer. Law: other users of this machine can reach it too, so what does
not bring our `state` is not ours, and a request that names another host than the address was sent by a page from
elsewhere; neither ends the wait. A connection that says nothing holds up no other.
"""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass, field
from hmac import compare_digest
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty, Queue
from urllib.parse import parse_qs, urlsplit

_PATH = "/callback"
_SILENCE_S = 5.0
_OUTCOME_S = 60.0  # how long the page waits for what came of the code
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>wardgate</title>
<meta name="viewport" content="width=device-width"><h1>{title}</h1><p>{text}</p></html>
"""


@dataclass
class Arrival:
    """What the browser brought: a `code`, or an `error`. `tell` says on its page what came of it."""

    code: str | None
    error: str | None
    _outcome: Queue[tuple[str, str]] = field(default_factory=lambda: Queue(1))

    def tell(self, title: str, text: str) -> None:
        """Show this and let the browser go."""
        self._outcome.put((title, text))

    def outcome(self) -> tuple[str, str]:
        """What `tell` said."""
        try:
            return self._outcome.get(timeout=_OUTCOME_S)
        except Empty:
            return "wardgate", "Look at your terminal."


class Listener:
    """Opened by `with`; `wait` gives the one answer that is ours."""

    def __init__(self) -> None:
        self.state = secrets.token_urlsafe(32)
        self._arrivals: Queue[Arrival] = Queue(1)
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, name="loopback", daemon=True)

    @property
    def host(self) -> str:
        """Address and port, as a browser writes them into `Host`."""
        return f"127.0.0.1:{self._server.server_address[1]}"

    @property
    def redirect_uri(self) -> str:
        """Where the browser is sent."""
        return f"http://{self.host}{_PATH}"

    def wait(self, seconds: float) -> Arrival | None:
        """What the browser brought; None if it brought nothing in time."""
        try:
            return self._arrivals.get(timeout=seconds)
        except Empty:
            return None

    def take(self, query: str) -> Arrival | None:
        """The arrival that a query is, once; None if it is not ours."""
        facts = parse_qs(query, keep_blank_values=True, max_num_fields=8)
        single = {name: values[0] for name, values in facts.items() if len(values) == 1}
        if not compare_digest(single.get("state", "").encode(), self.state.encode()):
            return None
        code, error = single.get("code"), single.get("error")
        if (code is None) == (error is None) or self._arrivals.full():
            return None
        arrival = Arrival(code, error)
        self._arrivals.put_nowait(arrival)
        return arrival

    def __enter__(self) -> Listener:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # the page that says how it went is written to its end
    block_on_close = True

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that goes away is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _SILENCE_S
    server_version = "wardgate"
    sys_version = ""

    def do_GET(self) -> None:
        """The browser comes back, or somebody else looks in."""
        parts, listener = urlsplit(self.path), self.server.listener
        ours = parts.path == _PATH and self.headers.get_all("host") == [listener.host]
        arrival = listener.take(parts.query) if ours else None
        if arrival is None:
            self._answer(404, "wardgate", "There is nothing here.")
        else:
            self._answer(200, *arrival.outcome())

    def _answer(self, status: int, title: str, text: str) -> None:
        body = _PAGE.format(title=escape(title), text=escape(text)).encode()
        self.send_response(status)
        for name, value in (
            ("content-type", "text/html; charset=utf-8"),
            ("content-length", str(len(body))),
            ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
            ("cache-control", "no-store"),
            ("referrer-policy", "no-referrer"),
            ("connection", "close"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Nothing: the address has the code in it."""
