"""Logging of every program: structlog to standard error, with redaction as the last word before a line is printed.

A line is an event and its facts. What is secret is a `Secret` and prints as redacted anyway; the processor here is the
second net, for plain strings that stand under a telling name or look like a token of ours.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

from ..secret import REDACTED, Secret

_SECRET_NAMES = re.compile(
    r"password|passwd|secret|token|private|credential|authorization|cookie|proof|ticket|(?:^|_)(?:key|pin|otp)$",
    re.IGNORECASE,
)
_PUBLIC_NAMES = frozenset({"token_id", "key_id", "audit_key_id", "public_key"})
_SECRET_TEXT = re.compile(
    r"wg[a-z]1_[A-Za-z0-9_-]{8,}"  # our own tokens
    r"|(?i:bearer|wga1)\s+[A-Za-z0-9._~+/=-]{8,}"
    r"|(?<=://)[^/@\s]*:[^/@\s]*(?=@)"  # user:password in a URI
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
    r"|\b[a-z2-7]{58}(?=\.gw-)",  # a route token
    re.DOTALL,
)
_MAX_DEPTH = 6


def redact(value: Any, depth: int = 0) -> Any:
    """`value` with secrets in it replaced, through mappings and sequences."""
    if isinstance(value, Secret) or depth > _MAX_DEPTH:
        return REDACTED
    if isinstance(value, str):
        return _SECRET_TEXT.sub(REDACTED, value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, Mapping):
        return {key: _redact_named(str(key), item, depth) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(item, depth + 1) for item in value]
    return value


def _redact_named(name: str, value: Any, depth: int) -> Any:
    if name not in _PUBLIC_NAMES and _SECRET_NAMES.search(name) and value not in (None, "", False, True):
        return REDACTED
    return redact(value, depth + 1)


def _redact_event(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {key: _redact_named(key, value, 0) for key, value in event.items()}


def configure(program: str, *, json: bool = False, level: str = "info") -> None:
    """Set logging up for this process: structlog's own loggers and the standard library's, both to standard error."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    last: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(default=str) if json else structlog.dev.ConsoleRenderer(colors=False)
    )
    structlog.contextvars.bind_contextvars(program=program)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _redact_event, last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for chatty in ("httpx2", "httpcore2", "httpx", "httpcore", "aiosqlite"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def get(name: str) -> structlog.stdlib.BoundLogger:
    """The logger of one part of a program, as `relay.control`."""
    logger: structlog.stdlib.BoundLogger = structlog.stdlib.get_logger(name)
    return logger
