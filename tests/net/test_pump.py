"""The pump at sockets that behave as no test of the whole chain can make them behave every time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from wardgate.audit.records import UploadPart
from wardgate.net.pump import Pump, Reached
from wardgate.testing.playbook import (
    MEMBER,
    Playbook,
    body_section,
    document_of,
    hello_document,
    hello_request,
    op_msg,
    op_msg_sections,
    sequence_section,
)
from wardgate.testing.recorder import MemoryRecorder
from wardgate.wire.compression import Compressor, compress


class Wire(asyncio.Transport):
    """A socket whose other side reads nothing: what is written stays, and beyond `room` it is full."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.written = b""
        self.reads = True
        self.gone = False
        self.full = False
        self.protocol: asyncio.BaseProtocol | None = None

    def write(self, data: object) -> None:
        self.written += cast("bytes", data)
        if len(self.written) > self.room and self.protocol is not None:
            self.full = True
            self.protocol.pause_writing()

    def abort(self) -> None:
        self.gone = True

    close = abort

    def is_closing(self) -> bool:
        return self.gone

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True


class Ready:
    """A pump whose client said hello, and whose server connection is logged in and has `room`."""

    def __init__(self, room: int) -> None:
        self.client, self.server = Wire(1 << 30), Wire(room)
        self.recorder = MemoryRecorder()
        self.pump = Pump(
            Playbook().machine,
            self.recorder,
            connector=self._connect,
            login=self._log_in,
            login_timeout=1,
            close_timeout=1,
            on_recording_failed=lambda message: None,
            on_end=lambda: None,
        )

    async def start(self) -> None:
        self.pump.start(self.client, b"")
        assert self.pump._dial is not None
        await self.pump._dial
        self.pump.client_data(hello_request(1, compression=["zlib"]))
        self.pump.server_data(op_msg(hello_document(), 800, 1))
        self.client.written = self.server.written = b""

    async def _connect(self, factory: Callable[[], asyncio.BaseProtocol]) -> Reached:
        self.server.protocol = factory()
        self.server.protocol.connection_made(self.server)
        return Reached(MEMBER, logged_in=True)

    async def _log_in(self, exchange: object) -> None:
        raise AssertionError("nobody logs in")

    async def proceeded(self) -> None:
        """Until no upload is waiting for its next turn, unless the server is full."""
        async with asyncio.timeout(10):
            while self.pump._to_proceed and not self.server.full:
                await asyncio.sleep(0)

    async def safe(self) -> None:
        """Until all that is recorded is on disk, and what waited for it went out."""
        done = asyncio.Event()
        self.recorder.when_durable(len(self.recorder.records), done.set)
        await done.wait()


def insert(documents: list[dict[str, bytes]], *more: bytes, database: str = "shop") -> bytes:
    body = body_section({"insert": "orders", "$db": database})
    return op_msg_sections([body, sequence_section("documents", documents), *more], 7)


async def test_a_server_that_was_full_when_it_was_dropped_does_not_hold_the_client_up() -> None:
    it = Ready(room=100_000)
    await it.start()
    message = insert([{"x": b"x" * 100_000}] * 6, b"\x07" + bytes(4000))
    # One list of actions: the first part fills the server's socket, behind the next one it is known to be wrong.
    it.pump.client_data(message[:-3000])
    await it.proceeded()
    assert it.server.written.count(b"x" * 100_000) == 2
    assert it.server.gone
    assert it.client.reads
    it.pump.client_data(message[-3000:])
    await it.safe()
    assert document_of(it.client.written)["code"] == 40432


async def test_what_little_becomes_much_does_not_keep_everybody_else_waiting() -> None:
    it = Ready(room=1 << 30)
    await it.start()
    message = insert([{"x": bytes(1_000_000)}] * 20, database="config")  # refused: no server slows it down
    it.pump.client_data(compress(message, Compressor.ZLIB))
    turns = 0
    while it.pump._to_proceed:
        turns += 1
        before = sum(len(each.data) for each in it.recorder.records if isinstance(each, UploadPart))
        await asyncio.sleep(0)
        after = sum(len(each.data) for each in it.recorder.records if isinstance(each, UploadPart))
        assert after - before < 2_000_000
    assert turns > 10
    await it.safe()
    assert document_of(it.client.written)["code"] == 13
