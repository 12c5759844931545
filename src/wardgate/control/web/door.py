"""What every request passes before a route sees it.

In this order: a request id, the client's address (from forwarded headers only where the peer is a proxy that the
settings name), the Host header against the names that this control plane has, the body's size; on the way out the
security headers and one log line that has the route's pattern and never the query or a header.

Law: Host is checked because a page on the Internet can make a browser send requests to a loopback address under a name
of its own (DNS rebinding). A body that is too large is refused by its declared length before it is read, and cut off at
the limit where none is declared.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterable
from secrets import token_hex

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ...api.domain import is_loopback
from ...api.problems import Problem, ProblemCode, ProblemError
from ...net import logs
from ...numbers import Numbers
from ..settings import DoorSettings
from . import failures

_SHIPPING_PATH = "/api/v1/gateway/records"
_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}

_log = logs.get("control.http")


class AnswerCutOffError(Exception):
    """A bug after the answer had begun: the server has to break the connection. What it was is in the log."""


class Door:
    """The outermost of our ASGI middleware."""

    def __init__(self, app: ASGIApp, *, settings: DoorSettings, numbers: Numbers) -> None:
        self._app = app
        self._settings = settings
        self._numbers = numbers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; websockets and the like are not spoken here."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            raise RuntimeError(f"no {scope['type']} is served here")
        headers = Headers(scope=scope)
        scope["wardgate.request_id"] = token_hex(8)
        scope["wardgate.address"] = self._address(scope, headers)
        watched = _Watched(scope, send, self._settings.https)
        try:
            if self._settings.proxied_only and not self._may_talk_plainly(scope):
                raise ProblemError(ProblemCode.FORBIDDEN, "This control plane is reached through its proxy, by https.")
            if not self._is_our_name(headers.getlist("host")):
                raise ProblemError(ProblemCode.UNKNOWN_HOST, "This control plane has no such name: check the domain.")
            if "\0" in scope["path"]:  # no name has one, and PostgreSQL takes none in a query
                raise ProblemError(ProblemCode.NOT_FOUND, "There is nothing at this address.")
            await self._app(scope, self._limited(scope, headers, receive), watched.send)
        except ProblemError as error:
            await failures.problem_response(error.problem)(scope, receive, watched.send)
        except ClientDisconnect:
            return  # nobody is left to answer
        except Exception as error:
            # Here and not at the framework's outermost handler, which would pass it on to the server's log, text and
            # all, and send an answer that lacks our headers.
            problem = failures.bug_problem(scope["wardgate.request_id"], error)
            if watched.status:
                raise AnswerCutOffError from None
            await (await self._answer(scope, problem))(scope, receive, watched.send)
        finally:
            watched.log()

    async def _answer(self, scope: Scope, problem: Problem) -> Response:
        """A bug's problem, as a page where a page was asked for; as a document if that fails too."""
        if "app" not in scope:
            return failures.problem_response(problem)
        try:
            return await failures.answer(Request(scope), problem)
        except Exception as error:
            failures.bug_problem(scope["wardgate.request_id"], error)
            return failures.problem_response(problem)

    def _is_our_name(self, hosts: list[str]) -> bool:
        return len(hosts) == 1 and hosts[0].lower() in self._settings.hosts

    def _may_talk_plainly(self, scope: Scope) -> bool:
        peer = str(scope["client"][0]) if scope.get("client") else ""
        return is_loopback(peer) or self._is_proxy(peer)

    def _address(self, scope: Scope, headers: Headers) -> str:
        """The client's address: the last one in X-Forwarded-For that is no proxy of ours, else the peer's."""
        client = scope.get("client")
        address = str(client[0]) if client else "unknown"
        if not self._is_proxy(address):
            return address
        for hop in reversed(",".join(headers.getlist("x-forwarded-for")).split(",")):
            address = hop.strip() or address
            if not self._is_proxy(address):
                break
        return address if _is_address(address) else str(client[0] if client else "unknown")

    def _is_proxy(self, address: str) -> bool:
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(ip in network for network in self._settings.proxies)

    def _limited(self, scope: Scope, headers: Headers, receive: Receive) -> Receive:
        limit = self._numbers.api_body_bytes
        if scope["path"] == _SHIPPING_PATH:
            limit = self._numbers.shipping_body_bytes
        declared = headers.get("content-length")
        if declared is not None and declared.isdigit() and int(declared) > limit:
            raise ProblemError(ProblemCode.TOO_LARGE, f"The request's body is larger than {limit} bytes.")
        taken = 0

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            if message["type"] == "http.request":
                taken += len(message.get("body", b""))
                if taken > limit:
                    # The framework turns any other exception out of a body into a 400.
                    raise HTTPException(413)
            return message

        return limited


class _Watched:
    """The answer on its way out: gets its headers, and is remembered for the log line."""

    def __init__(self, scope: Scope, send: Send, https: bool) -> None:
        self._scope = scope
        self._send = send
        self._https = https
        self.status = 0
        self._started = time.monotonic()

    async def send(self, message: Message) -> None:
        """Pass one ASGI message on."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["x-request-id"] = self._scope["wardgate.request_id"]
            for name, value in self._fixed_headers():
                headers.setdefault(name, value)
        await self._send(message)

    def _fixed_headers(self) -> Iterable[tuple[str, str]]:
        yield from _HEADERS.items()
        if self._https:
            yield "strict-transport-security", "max-age=31536000"

    def log(self) -> None:
        """One line. The pattern of the path, not the path: what somebody types in there may be anything."""
        route = self._scope.get("route")
        _log.info(
            "request",
            method=self._scope["method"],
            route=route.path if isinstance(route, APIRoute) else None,
            status=self.status,
            duration_ms=round((time.monotonic() - self._started) * 1000, 1),
            address=self._scope["wardgate.address"],
            actor=self._scope.get("wardgate.actor"),
            request_id=self._scope["wardgate.request_id"],
        )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
