"""The pump at sockets that behave as no test of the whole chain can make them behave every time."""

from __future__ import annotations

import asyncio
from typing import cast

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


class Wire(asyncio.Transport):
    """A socket whose other side reads nothing: what is written stays, and beyond `room` it is full."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self.written = b""
        self.reads = True
        self.gone = False
        self.protocol: asyncio.BaseProtocol | None = None

    def write(self, data: object) -> None:
        self.written += cast("bytes", data)
        if len(self.written) > self.room and self.protocol is not None:
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


async def test_a_server_that_was_full_when_it_was_dropped_does_not_hold_the_client_up() -> None:
    client, server = Wire(1 << 30), Wire(100_000)

    async def connector(factory: object) -> Reached:
        server.protocol = cast("asyncio.Protocol", factory())  # type: ignore[operator]
        server.protocol.connection_made(server)
        return Reached(MEMBER, logged_in=True)

    async def login(exchange: object) -> None:
        raise AssertionError("nobody logs in")

    recorder = MemoryRecorder()
    pump = Pump(
        Playbook().machine,
        recorder,
        connector=connector,
        login=login,
        login_timeout=1,
        close_timeout=1,
        on_recording_failed=lambda message: None,
        on_end=lambda: None,
    )
    pump.start(client, b"")
    assert pump._dial is not None
    await pump._dial
    pump.client_data(hello_request(1))
    pump.server_data(op_msg(hello_document(), 800, 1))
    client.written = b""
    documents = sequence_section("documents", [{"x": b"x" * 100_000}] * 6)
    message = op_msg_sections([body_section({"insert": "orders", "$db": "shop"}), documents, b"\x07" + bytes(4000)], 7)
    # One list of actions: the first part fills the server's socket, behind the next one it is known to be wrong.
    pump.client_data(message[:-3000])
    assert server.written.count(b"x" * 100_000) == 2
    assert server.gone
    assert client.reads
    pump.client_data(message[-3000:])
    safe = asyncio.Event()
    recorder.when_durable(len(recorder.records), safe.set)
    await safe.wait()
    assert document_of(client.written)["code"] == 40432
