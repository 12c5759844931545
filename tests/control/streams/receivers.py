"""Receivers as organisations have them, on loopback: syslog over TCP, TLS and UDP, a signed webhook, an OTLP collector.

Each reads its wire format by itself, from the standard's text, and nothing of wardgate's own code.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

_RFC5424 = re.compile(
    rb"<(\d{1,3})>1 (\S+) (\S+) (\S+) (\S+) (\S+) (-|(?:\[[^\]]*\])+) (.*)", re.DOTALL
)  # PRI VERSION TIMESTAMP HOSTNAME APP-NAME PROCID MSGID STRUCTURED-DATA MSG


@dataclass(frozen=True)
class Message:
    """A syslog message, taken apart."""

    facility: int
    severity: int
    timestamp: str
    host: str
    app: str
    msgid: str
    line: dict[str, Any]


def parse_syslog(raw: bytes) -> Message:
    found = _RFC5424.fullmatch(raw)
    assert found is not None, raw
    priority, timestamp, host, app, procid, msgid, data, text = found.groups()
    assert raw.isascii()
    assert b"\n" not in raw
    assert procid == b"-"
    assert data.startswith(b'[origin software="wardgate"')
    return Message(
        int(priority) // 8,
        int(priority) % 8,
        timestamp.decode(),
        host.decode(),
        app.decode(),
        msgid.decode(),
        json.loads(text),
    )


class Syslog:
    """Octet-counted frames over TCP or TLS. `break_after`: reset the connection once so many messages have come."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.messages: list[Message] = []
        self.connections = 0
        self.port = 0

    async def __aenter__(self) -> Syslog:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            self.drop()
            await self._server.wait_closed()
            self._server = None

    def drop(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while True:
                length = await reader.readuntil(b" ")
                assert length[:-1].isdigit()
                assert not length.startswith(b"0")
                self.messages.append(parse_syslog(await reader.readexactly(int(length))))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()


class DatagramSyslog(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.sizes: list[int] = []

    def datagram_received(self, data: bytes, addr: object) -> None:
        self.sizes.append(len(data))
        self.messages.append(parse_syslog(data))


@dataclass
class Http:
    """An HTTP/1.1 receiver; `status` is what it answers, and `take` looks at what it takes."""

    tls: ssl.SSLContext | None = None
    take: Callable[[dict[str, str], bytes], None] = lambda _headers, _body: None
    status: int = 200
    most: int = 10**9
    answer: bytes = b"{}"
    headers: str = ""
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    port: int = 0
    _server: asyncio.Server | None = None

    async def __aenter__(self) -> Http:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii")
            request, *rows = head.strip().split("\r\n")
            headers = {name.lower(): value for name, _, value in (row.partition(": ") for row in rows)}
            body = await reader.readexactly(int(headers["content-length"]))
            status = 413 if len(body) > self.most else self.status
            self.requests.append((request, headers, body))
            if 200 <= status < 300:
                self.take(headers, body)
            lengths = f"content-length: {len(self.answer)}\r\n{self.headers}connection: close"
            writer.write(f"HTTP/1.1 {status} X\r\n{lengths}\r\n\r\n".encode() + self.answer)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


class Webhook:
    """Checks signatures as https://www.standardwebhooks.com says, refuses what is old or seen."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.secret = ""
        self.lines: list[dict[str, Any]] = []
        self.replayed = 0
        self._now = now
        self._seen: set[str] = set()

    def take(self, headers: dict[str, str], body: bytes) -> None:
        identity, at = headers["webhook-id"], headers["webhook-timestamp"]
        assert abs(self._now() - int(at)) <= 300
        key = base64.b64decode(self.secret.removeprefix("whsec_"))
        mac = base64.b64encode(hmac.new(key, f"{identity}.{at}.".encode() + body, hashlib.sha256).digest()).decode()
        assert hmac.compare_digest(headers["webhook-signature"], f"v1,{mac}")
        assert headers["content-type"] == "application/json"
        if identity in self._seen:
            self.replayed += 1
            return
        self._seen.add(identity)
        self.lines += json.loads(body)["lines"]


@dataclass(frozen=True)
class LogRecord:
    time_ns: int
    severity: int
    event: str
    body: dict[str, Any]
    attributes: dict[str, Any]


def parse_otlp(body: bytes) -> list[LogRecord]:
    """An ExportLogsServiceRequest in OTLP's JSON; every key is one of the protocol's."""
    request = json.loads(body)
    assert request.keys() == {"resourceLogs"}
    found = []
    for resource_logs in request["resourceLogs"]:
        assert resource_logs.keys() == {"resource", "scopeLogs"}
        assert _attributes(resource_logs["resource"]["attributes"])["service.name"] == "wardgate"
        for scope_logs in resource_logs["scopeLogs"]:
            assert scope_logs.keys() == {"scope", "logRecords"}
            for record in scope_logs["logRecords"]:
                assert record.keys() == {
                    "timeUnixNano", "observedTimeUnixNano", "severityNumber", "severityText", "eventName", "body",
                    "attributes",
                }  # fmt: skip
                assert isinstance(record["timeUnixNano"], str)
                assert 1 <= record["severityNumber"] <= 24
                found.append(
                    LogRecord(
                        int(record["timeUnixNano"]),
                        record["severityNumber"],
                        record["eventName"],
                        json.loads(record["body"]["stringValue"]),
                        _attributes(record["attributes"]),
                    )
                )
    return found


def _attributes(listed: list[dict[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in listed:
        assert each.keys() == {"key", "value"}
        ((kind, value),) = each["value"].items()
        assert kind in ("stringValue", "intValue", "boolValue")
        found[each["key"]] = int(value) if kind == "intValue" else value
    assert len(found) == len(listed)
    return found
