"""Streams to the gateway for one session: one for control, warm spares for data."""

from __future__ import annotations

import asyncio
from typing import Final

from ...api.models import SessionGrant
from ...net import certs
from ...net.stream import StreamDialler, WarmStreams
from ...net.tls import Credentials
from ...numbers import Numbers
from ...secret import Secret

CONTROL_ALPN: Final = "wardgate-ctl/1"
DATA_ALPN: Final = "wardgate-mongo/1"


class TunnelDialler:
    """`proxy.Dialler` over the tunnel."""

    def __init__(self, grant: SessionGrant, key: certs.PrivateKey, numbers: Numbers) -> None:
        credentials = Credentials(grant.certificate.encode(), Secret(certs.key_to_pem(key)))
        self._dialler = StreamDialler(grant.routes, grant.gateway_id, grant.gateway_ca, credentials, numbers)
        self._warm = WarmStreams(self._dialler, DATA_ALPN)

    async def open_control(self, protocol: asyncio.Protocol) -> asyncio.Transport:
        """The control stream."""
        return (await self._dialler.open(CONTROL_ALPN)).switch(protocol)

    def warm_up(self) -> None:
        """Keep spares from now on: the gateway takes data streams of an active session only."""
        self._warm.start()

    async def open_data(self, protocol: asyncio.Protocol) -> asyncio.Transport:
        """A data stream, established ahead of need where there is a spare."""
        return (await self._warm.get()).switch(protocol)

    async def close(self) -> None:
        """Drop the spares."""
        await self._warm.close()
