"""Frames: uint32 little-endian length and a JSON object with its kind in `t`, at most 64 KiB.

They are spoken on a relay's control connections and on control streams, and exactly one opens every data stream. Each
direction of each of these is a `Dialect`: the set of frames that its receiver knows.

What is unknown is skipped (an unknown `t`, an unknown field), so that programs of two versions can talk; what is known
but malformed is a `FrameError`, which ends the stream. Law: no more than `limit` bytes are ever held for a frame, and a
length is judged before a byte of it is waited for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import WardgateError

LIMIT: Final = 64 * 1024
_LENGTH_BYTES = 4
Address = Annotated[str, Field(min_length=3, max_length=300)]
Ticket = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


class FrameError(WardgateError):
    """The peer broke the framing or sent a known frame in a wrong form."""

    def __init__(self, message: str) -> None:
        super().__init__("bad_frame", message)


class Frame(BaseModel):
    """What all frames share: immutable, unknown fields skipped, input never echoed in errors."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    t: str


# --- control stream, local proxy → gateway ------------------------------------------------------------------------


class Hello(Frame):
    """The first frame: who connects."""

    t: Literal["hello"] = "hello"
    version: str = Field(max_length=64)


class Listeners(Frame):
    """The addresses that lead to the members: `127.0.0.1:port`, or a Unix socket's path. Sent after every topology.

    `single`: there is the main one only, so a replica set is shown as a set of one member at that address.
    """

    t: Literal["listeners"] = "listeners"
    main: Address
    single: bool = False
    members: dict[Address, Address] = Field(default_factory=dict, max_length=256, description="Member: loopback.")


class Alive(Frame):
    """The data streams that are still open at a local proxy whose control stream was lost; the others are gone."""

    t: Literal["alive"] = "alive"
    streams: list[int] = Field(default_factory=list, max_length=4096)


class Bye(Frame):
    """The user ends the session."""

    t: Literal["bye"] = "bye"
    reason: Literal["client_closed"] = "client_closed"


class Pong(Frame):
    """Answer to a ping."""

    t: Literal["pong"] = "pong"


# --- control stream, gateway → local proxy ------------------------------------------------------------------------


class Member(BaseModel):
    """One mongod or mongos."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    address: Address
    role: Literal["primary", "secondary", "arbiter", "mongos", "standalone", "other", "unknown"]


class Topology(Frame):
    """What the deployment is now; sent at the start and on every change."""

    t: Literal["topology"] = "topology"
    kind: Literal["standalone", "replica_set", "sharded", "load_balanced"]
    set_name: str | None = None
    members: list[Member]


class Ready(Frame):
    """The listeners are known; clients may connect."""

    t: Literal["ready"] = "ready"


class Notice(Frame):
    """A sentence for the user."""

    t: Literal["notice"] = "notice"
    level: Literal["info", "warning"] = "info"
    message: str = Field(max_length=2000)


class Suspended(Frame):
    """This instance gives the session up, but the session goes on: dial again when the control stream ends."""

    t: Literal["suspended"] = "suspended"


class Ended(Frame):
    """The session is over; `reason` is an end reason of the API."""

    t: Literal["ended"] = "ended"
    reason: str = Field(max_length=64)
    message: str | None = Field(default=None, max_length=2000)


class Refused(Frame):
    """The session can't start or go on here."""

    t: Literal["refused"] = "refused"
    code: str = Field(max_length=64)
    message: str = Field(max_length=2000)


class Ping(Frame):
    """Asks for a pong."""

    t: Literal["ping"] = "ping"


# --- data stream, first bytes -------------------------------------------------------------------------------------


class Open(Frame):
    """Which member the client's connection is for (null: the main port), and the listener's address that it came to.

    `stream` is its number at the local proxy, by which `alive` names it later.
    """

    t: Literal["open"] = "open"
    member: Address | None = None
    local: Address
    stream: int | None = None


# --- relay control connection -------------------------------------------------------------------------------------


class Register(Frame):
    """Gateway → relay, first: how many dial-backs it would keep ready."""

    t: Literal["register"] = "register"
    version: str = Field(default="", max_length=64)
    idle: int = Field(default=4, ge=0, le=16)


class Withdraw(Frame):
    """Gateway → relay: no more streams for this session, whatever its tokens say. `until` is Unix seconds."""

    t: Literal["withdraw"] = "withdraw"
    session: str = Field(pattern=r"^ses_[0-9a-z]{26}$")
    until: int = Field(ge=0, lt=1 << 32)


class Idle(Frame):
    """Relay → gateway: dial back with each of these and wait."""

    t: Literal["idle"] = "idle"
    tickets: list[Ticket] = Field(max_length=64)


class Dial(Frame):
    """Relay → gateway: a stream waits; dial back now."""

    t: Literal["dial"] = "dial"
    ticket: Ticket


class Dialect:
    """The frames that a receiver knows, by their `t`."""

    def __init__(self, *models: type[Frame]) -> None:
        self._models: dict[str, type[Frame]] = {model.model_fields["t"].default: model for model in models}

    def decode(self, payload: bytes) -> Frame | None:
        """The frame in `payload` (JSON without its length), or None if its `t` is unknown; FrameError if it is none."""
        fields = _parse(payload)
        kind = fields.get("t")
        if not isinstance(kind, str):
            raise FrameError("A frame without a kind was received.")
        model = self._models.get(kind)
        if model is None:
            return None
        try:
            return model.model_validate(fields)
        except ValidationError as error:
            raise FrameError(f"A frame of the kind “{kind}” was received in a form that is not its own.") from error


TO_GATEWAY: Final = Dialect(Hello, Alive, Listeners, Bye, Pong)
TO_CLIENT: Final = Dialect(Topology, Ready, Notice, Suspended, Ended, Refused, Ping)
PREFACE: Final = Dialect(Open)
TO_RELAY: Final = Dialect(Register, Withdraw, Pong)
FROM_RELAY: Final = Dialect(Idle, Dial, Ping)


def encode(frame: Frame) -> bytes:
    """The frame with its length, as it goes on the wire; FrameError if it would exceed `LIMIT`."""
    payload = frame.model_dump_json().encode()
    if len(payload) > LIMIT:
        raise FrameError("A frame would be too long to send.")
    return len(payload).to_bytes(_LENGTH_BYTES, "little") + payload


class FrameReader:
    """Bytes in any cut to frames, one at a time, so that what follows the last wanted frame stays untouched."""

    def __init__(self, dialect: Dialect, limit: int = LIMIT) -> None:
        self._dialect = dialect
        self._limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Add received bytes."""
        self._buffer += data

    def next_frame(self) -> Frame | None:
        """The next frame that the dialect knows, or None until more bytes come; FrameError ends the stream."""
        while (payload := self._take()) is not None:
            frame = self._dialect.decode(payload)
            if frame is not None:
                return frame
        return None

    def frames(self) -> Iterator[Frame]:
        """All frames that are whole by now."""
        while (frame := self.next_frame()) is not None:
            yield frame

    def leftover(self) -> bytes:
        """Take out what no frame has used. After a data stream's preface this is the client's first bytes."""
        rest = bytes(self._buffer)
        self._buffer.clear()
        return rest

    def _take(self) -> bytes | None:
        if len(self._buffer) < _LENGTH_BYTES:
            return None
        length = int.from_bytes(self._buffer[:_LENGTH_BYTES], "little")
        if length > self._limit:
            raise FrameError("A frame was announced that is longer than any frame may be.")
        end = _LENGTH_BYTES + length
        if len(self._buffer) < end:
            return None
        payload = bytes(self._buffer[_LENGTH_BYTES:end])
        del self._buffer[:end]
        return payload


def _parse(payload: bytes) -> dict[str, Any]:
    try:
        value = json.loads(payload, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise FrameError("A frame was received that is no JSON object.") from error
    if not isinstance(value, dict):
        raise FrameError("A frame was received that is no JSON object.")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Duplicate keys would mean one thing to us and another to the next reader."""
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("duplicate key")
    return fields
