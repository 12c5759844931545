"""A connection of the gateway's own to one member: for monitoring, tests and the kill-off, never for a user's commands.

One command at a time, one reply each (no exhaust, no pipelining), every one with a deadline. The server is hostile
input: the reply's length is capped before it is read, its document must be one valid BSON document of bounded depth,
and it must answer our request. Whatever is wrong ends the connection; `ok: 0` alone does not.
"""

from __future__ import annotations

import asyncio
import platform
import socket
import ssl
from collections.abc import Mapping
from typing import Any

import bson
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError

from ... import __version__
from ...wire.errors import RemoteProtocolError
from ...wire.header import HEADER_BYTES, Opcode, build_msg, check_length, header_of
from ...wire.message import parse_reply
from .connection import connect, resolve, secure, tls_error
from .errors import Code, CommandFailedError, MongoError, quoted
from .login import API_VERSION_REQUIRED, Login
from .target import Target

REPLY_BYTES = 16 * 1024 * 1024 + 64 * 1024  # one document and its envelope; nothing here asks for more
COMMAND_NOT_FOUND = 59
_CODEC: CodecOptions[dict[str, Any]] = CodecOptions(
    document_class=dict,
    unicode_decode_error_handler="replace",
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
)


class ServerConnection:
    """Open with `open`, end with `abort`; also an async context manager."""

    def __init__(
        self, target: Target, address: str, reader: asyncio.StreamReader, transport: asyncio.Transport
    ) -> None:
        self.address = address
        self.hello: dict[str, Any] = {}
        self.hello_command = "hello"
        self._target = target
        self._reader = reader
        self._transport = transport
        self._request = 0
        self._turn = asyncio.Lock()
        self._api_version: str | None = None

    @classmethod
    async def open(
        cls,
        target: Target,
        address: str,
        *,
        purpose: str,
        login: Login | None = None,
        learner: Login | None = None,
        timeout: float | None = None,
    ) -> ServerConnection:
        """Dial, say hello, and log in where `login` is given. `timeout` (seconds) is for all of it together.

        A `learner` does not log in: it learns its mechanism from this hello. `purpose` stands in the server's log as
        part of the application name. Raises MongoError.
        """
        timeout = target.numbers.server_login if timeout is None else timeout
        try:
            async with asyncio.timeout(timeout):
                connection = await cls.plain(target, address)
                try:
                    await connection.handshake(purpose, login or learner)
                    if login is not None:
                        await connection.log_in(login)
                except BaseException:
                    connection.abort()
                    raise
                return connection
        except TimeoutError as error:
            raise _silent(address, timeout) from error

    @classmethod
    async def plain(cls, target: Target, address: str) -> ServerConnection:
        """Dialled only: TCP and TLS, nothing sent."""
        return await cls.over(target, address, await connect(target, address, await resolve(target, address)))

    @classmethod
    async def over(cls, target: Target, address: str, sock: socket.socket) -> ServerConnection:
        """TLS, where the target wants it, over a connected socket, which is owned from here on."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=64 * 1024, loop=loop)
        transport, _ = await secure(target, address, sock, lambda: asyncio.StreamReaderProtocol(reader, loop=loop))
        return cls(target, address, reader, transport)

    async def __aenter__(self) -> ServerConnection:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.abort()

    def abort(self) -> None:
        """Drop the connection at once."""
        self._transport.abort()

    async def handshake(self, purpose: str, login: Login | None = None) -> dict[str, Any]:
        """The first hello, kept in `hello`. Teaches `login` its mechanism. Raises MongoError."""
        hello: dict[str, Any] = {"hello": 1, "helloOk": True, "client": _client_metadata(purpose)}
        if self._target.load_balanced:
            hello["loadBalanced"] = True
        if login is not None and login.name_for_hello is not None:
            hello["saslSupportedMechs"] = login.name_for_hello
        reply = await self.command(hello)
        if reply.get("code") == API_VERSION_REQUIRED:
            self._api_version = "1"
            if login is not None:
                login.api_version = "1"
            reply = await self.command(hello)
        elif reply.get("code") == COMMAND_NOT_FOUND:  # before MongoDB 4.4.2
            self.hello_command = "isMaster"
            reply = await self.command({"isMaster": 1, **{key: hello[key] for key in hello if key != "hello"}})
        self.hello = must(reply, f"hello at {quoted(self.address)}")
        if login is not None:
            login.learn(self.hello.get("saslSupportedMechs"))
        return self.hello

    async def log_in(self, login: Login) -> None:
        """SCRAM on this connection. Raises MongoError."""

        async def exchange(command: dict[str, Any]) -> Mapping[str, Any]:
            return await self.command(command)

        await login.run(exchange)

    async def command(self, document: dict[str, Any], *, timeout: float | None = None) -> dict[str, Any]:
        """Send one command (`$db` defaults to admin) and return its reply, `ok: 0` included.

        Raises MongoError (server_silent, server_closed, protocol_error, not_mongodb, tls_…), after which it is closed.
        """
        timeout = self._target.numbers.server_login if timeout is None else timeout
        document.setdefault("$db", "admin")
        if self._api_version is not None:
            document.setdefault("apiVersion", self._api_version)
        async with self._turn:
            try:
                async with asyncio.timeout(timeout):
                    return await self._exchange(document)
            except BaseException as error:
                self.abort()  # also on cancellation: a reply that nobody awaits would answer the next command
                if isinstance(error, TimeoutError):
                    raise _silent(self.address, timeout) from error
                raise

    async def _exchange(self, document: dict[str, Any]) -> dict[str, Any]:
        self._request += 1
        self._transport.write(build_msg(bson.encode(document), self._request))
        try:
            head = await self._reader.readexactly(HEADER_BYTES)
            header = header_of(head)
            if head.startswith(b"HTTP/"):
                raise MongoError(Code.NOT_MONGODB, f"{quoted(self.address)} is a web server, not MongoDB.")
            if header.opcode != Opcode.MSG or header.response_to != self._request:
                raise self._protocol_error("its answer is no MongoDB message")
            if not check_length(header.length, REPLY_BYTES):
                raise self._protocol_error("its answer has an impossible length")
            return self._decode(head + await self._reader.readexactly(header.length - HEADER_BYTES))
        except asyncio.IncompleteReadError as error:
            raise self._closed("closed the connection instead of answering") from error
        except TimeoutError:
            raise
        except ssl.SSLError as error:
            raise tls_error(self.address, error, self._target.numbers.tls_handshake) from error
        except OSError as error:
            raise self._closed("cut the connection") from error

    def _closed(self, what: str) -> MongoError:
        """At the first hello the reason is often TLS, and the alert that says so gets lost with the connection."""
        perhaps = ""
        if not self.hello:
            if self._target.tls is None:
                perhaps = "; perhaps it takes TLS connections only"
            elif self._target.shows_certificate:
                perhaps = "; perhaps it does not trust the account's client certificate"
            else:
                perhaps = "; perhaps it demands a client certificate"
        return MongoError(Code.SERVER_CLOSED, f"{quoted(self.address)} {what}{perhaps}.")

    def _decode(self, raw: bytes) -> dict[str, Any]:
        try:
            reply = parse_reply(raw)
            if reply.more_to_come:
                raise self._protocol_error("it sends more than it was asked for")
            return bson.decode(reply.body, codec_options=_CODEC)
        except RemoteProtocolError as error:
            raise self._protocol_error(error.message.rstrip(".")) from error
        except (BSONError, RecursionError, ValueError, OverflowError) as error:
            raise self._protocol_error("its answer is not valid BSON") from error

    def _protocol_error(self, what: str) -> MongoError:
        return MongoError(Code.PROTOCOL_ERROR, f"{quoted(self.address)} does not speak MongoDB's protocol: {what}.")


def must(reply: dict[str, Any], what: str) -> dict[str, Any]:
    """The reply if it is `ok: 1`; raises CommandFailedError with `what` in its sentence."""
    if reply.get("ok") != 1:
        raise CommandFailedError(what, reply)
    return reply


def _silent(address: str, timeout: float) -> MongoError:
    return MongoError(
        Code.SERVER_SILENT, f"{quoted(address)} takes connections but did not answer within {timeout:.3g} s."
    )


def _client_metadata(purpose: str) -> dict[str, Any]:
    return {
        "application": {"name": f"wardgate gateway ({purpose})"},
        "driver": {"name": "wardgate", "version": __version__},
        "os": {"type": platform.system() or "unknown"},
    }
