"""A stream's row as a sender: its secrets opened, its receiver trusted as it says, its lines in its form."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from ...api.problems import ProblemError
from ...api.streams import StreamKind
from ..db import Database
from ..outbound import Outbound
from ..sources import Sources
from ..vault import Vault
from . import formats, target
from .lines import Line
from .model import StreamRow
from .senders import DatagramSender, HttpSender, NotSent, Sender, StreamSender

_TABLE = StreamRow.__tablename__


class Opener:
    """Opens."""

    def __init__(self, vault: Vault, database: Database, outbound: Outbound, sources: Sources, public_url: str) -> None:
        self._vault = vault
        self._database = database
        self._sources = sources
        self.outbound = outbound
        self._host = urlsplit(public_url).hostname or "wardgate"

    async def open(self, row: StreamRow) -> Sender:
        """The way to the row's receiver; NotSent if it can't be used any more as it was set."""
        try:
            where = target.parse(row.kind, row.url, self.outbound)
            tls = target.tls_context(row.ca_certificate) if where.is_sealed else None
        except ProblemError as error:
            raise NotSent(error.message) from error
        if where.scheme == "syslog+udp":
            return DatagramSender(self.outbound, where, self._host)
        if row.kind is StreamKind.SYSLOG:
            return StreamSender(self.outbound, where, tls, self._host)
        secrets = await self._secrets(row)
        headers: Mapping[str, str] = secrets["headers"]
        if row.kind is StreamKind.OTLP:
            return HttpSender(self.outbound, where, tls, headers, self._otlp)
        secret: str = secrets["secret"]

        def webhook(lines: Sequence[Line]) -> tuple[bytes, Mapping[str, str]]:
            body = formats.webhook(row.id, row.name, lines)
            return body, formats.signature(secret, body, self._sources.now())

        return HttpSender(self.outbound, where, tls, headers, webhook)

    def _otlp(self, lines: Sequence[Line]) -> tuple[bytes, Mapping[str, str]]:
        return formats.otlp(lines, self._sources.now(), self._host), {}

    async def _secrets(self, row: StreamRow) -> dict[str, Any]:
        async with self._database.read() as session:
            opened = await self._vault.open(session, row.project_id, _TABLE, row.id, "sealed", row.sealed)
        found: dict[str, Any] = json.loads(opened.reveal())
        return found
