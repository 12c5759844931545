"""Lines as each kind of receiver wants them. Pure: the clock's time is an argument.

Syslog: RFC 5424, facility 13 (log audit), the line as its message; framed by octet counting on a stream (RFC 5425, RFC
6587), a datagram each over UDP (RFC 5426). Webhook: one JSON object a request, signed as https://www.standardwebhooks.com
says: HMAC-SHA-256 over id, time and body. OTLP: an ExportLogsServiceRequest in OTLP's JSON.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from ... import __version__
from .lines import Line, Severity

UDP_MOST: Final = 2_048  # characters of a line: a datagram that every receiver must take, less its head
STREAM_MOST: Final = 64 * 1024
HTTP_MOST: Final = 256 * 1024
SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - a prefix

_AUDIT: Final = 13
_HOST: Final = re.compile(r"[^!-~]")
_OTLP_SEVERITY: Final = {
    Severity.CRITICAL: (21, "FATAL"),
    Severity.WARNING: (13, "WARN"),
    Severity.NOTICE: (10, "INFO2"),
    Severity.INFORMATIONAL: (9, "INFO"),
}
# OpenTelemetry's names for what a line says (its semantic conventions for databases and for people).
_OTLP_NAMES: Final = {
    "id": "log.record.uid",
    "database": "db.namespace",
    "collection": "db.collection.name",
    "command": "db.operation.name",
    "code": "db.response.status_code",
    "error": "error.message",
    "user": "user.email",
    "user_id": "user.id",
    "address": "client.address",
}
_OTLP_OWN: Final = frozenset({"body", "at"})


def syslog(line: Line, host: str, most: int) -> bytes:
    """One message, unframed."""
    priority = _AUDIT * 8 + line.severity
    at = line.at.isoformat(timespec="microseconds").replace("+00:00", "Z")
    name = _HOST.sub("", host)[:255] or "-"
    head = (
        f'<{priority}>1 {at} {name} wardgate - {line.kind[:32]} [origin software="wardgate" swVersion="{__version__}"] '
    )
    return (head + line.text(most)).encode("ascii")


def framed(messages: Sequence[bytes]) -> bytes:
    """Messages for a stream, each with its length before it."""
    return b"".join([b"%d %b" % (len(message), message) for message in messages])


def webhook(stream_id: str, stream: str, lines: Sequence[Line]) -> bytes:
    """The body of one request. The same lines give the same bytes."""
    head = json.dumps({"stream_id": stream_id, "stream": stream}, separators=(",", ":"))
    return f'{head[:-1]},"lines":[{",".join(line.text(HTTP_MOST) for line in lines)}]}}'.encode("ascii")


def signature(secret: str, body: bytes, now: datetime) -> dict[str, str]:
    """The headers that prove who sent a body, and when: a receiver refuses old times and ids that it has seen."""
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    message_id, at = f"msg_{hashlib.sha256(body).hexdigest()[:32]}", str(int(now.timestamp()))
    mac = hmac.digest(key, b".".join((message_id.encode(), at.encode(), body)), "sha256")
    return {
        "webhook-id": message_id,
        "webhook-timestamp": at,
        "webhook-signature": f"v1,{base64.b64encode(mac).decode()}",
    }


def otlp(lines: Sequence[Line], now: datetime, host: str) -> bytes:
    """The body of one request."""
    resource = {"service.name": "wardgate", "service.version": __version__, "host.name": host}
    logs = {
        "resource": {"attributes": _attributes(resource)},
        "scopeLogs": [
            {
                "scope": {"name": "wardgate", "version": __version__},
                "logRecords": [_log_record(line, now) for line in lines],
            }
        ],
    }
    return json.dumps({"resourceLogs": [logs]}, separators=(",", ":")).encode("ascii")


def _log_record(line: Line, now: datetime) -> dict[str, Any]:
    number, text = _OTLP_SEVERITY[line.severity]
    attributes = {
        _OTLP_NAMES.get(name, f"wardgate.{name}"): value
        for name, value in line.facts.items()
        if name not in _OTLP_OWN and isinstance(value, str | bool | int)
    }
    if "command" in line.facts:
        attributes["db.system.name"] = "mongodb"
    return {
        "timeUnixNano": _nanoseconds(line.at),
        "observedTimeUnixNano": _nanoseconds(now),
        "severityNumber": number,
        "severityText": text,
        "eventName": f"wardgate.{line.kind}",
        "body": {"stringValue": line.text(HTTP_MOST)},
        "attributes": _attributes(attributes),
    }


def _attributes(values: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": name, "value": _any_value(value)} for name, value in values.items()]


def _any_value(value: str | bool | int) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}  # 64 bits are text in JSON
    return {"stringValue": value}


def _nanoseconds(at: datetime) -> str:
    return str(int(at.timestamp()) * 1_000_000_000 + at.microsecond * 1_000)
