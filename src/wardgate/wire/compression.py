"""OP_COMPRESSED: a message wrapped in a compressor's output, on either leg of a connection.

Each leg negotiates for itself, by hello: a client asks for compressors and is told which of them it may use; towards a
server the gateway asks likewise. What was not negotiated is refused, and so is whatever a bomb needs: a size is checked
before anything of that size exists, output is made in small pieces, and more of it than was declared ends the matter.

Not here: when to compress (`proxy`). zlib and zstd are opened while they come; snappy's raw format has no frames, so a
snappy message is held until it is whole. Law: what comes out is exactly as long as was declared, or an error.
"""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Callable, Container, Iterable, Iterator
from enum import IntEnum
from typing import Final, NamedTuple, Protocol

import cramjam

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from .errors import MongoCode, RemoteProtocolError
from .header import HEADER, HEADER_BYTES, MESSAGE_BYTES_MAX, Header, Opcode

HEAD_BYTES: Final = HEADER_BYTES + 9  # of a compressed message: the header, then the wrapped one's opcode, size, how
_HEAD: Final = struct.Struct("<iiB")
_STEP: Final = 256 * 1024  # of output at once
_WINDOW_LOG: Final = 24  # zstd's window, 16 MiB: what levels up to 19 need; the format allows 2 GiB


class Compressor(IntEnum):
    """Those that are spoken here. There is noop (0) too, which nobody needs."""

    SNAPPY = 1
    ZLIB = 2
    ZSTD = 3

    @property
    def word(self) -> str:
        """As hello and connection strings name it."""
        return self.name.lower()


_BY_NAME: Final = {each.word: each for each in Compressor}

# Never compressed, by the specification: what is secret in them could be guessed from how well it compresses.
NEVER: Final = frozenset({
    "authenticate", "copydb", "copydbgetnonce", "copydbsaslstart", "createUser", "getnonce", "hello", "isMaster",
    "ismaster", "saslContinue", "saslStart", "updateUser",
})  # fmt: skip


def common(names: Iterable[str]) -> tuple[Compressor, ...]:
    """Those of `names` that are spoken here, in their order, each once."""
    return tuple(dict.fromkeys(_BY_NAME[name] for name in names if name in _BY_NAME))


class Wrapped(NamedTuple):
    """What a compressed message says of the one in it; `header` is that one's own."""

    header: Header
    compressor: Compressor


def read_head(head: bytes, allowed: Container[int], limit: int = MESSAGE_BYTES_MAX) -> Wrapped:
    """The message that is wrapped in the one that begins with `head` (at least HEAD_BYTES, or all of it).

    Raises RemoteProtocolError: the connection is of no use then, as mongod sees it too.
    """
    if len(head) < HEAD_BYTES:
        raise _broken("short_message", "A compressed message is too short to hold anything.")
    _, request_id, response_to, _ = HEADER.unpack_from(head)
    opcode, size, compressor = _HEAD.unpack_from(head, HEADER_BYTES)
    if compressor not in allowed:
        raise _broken("compressor_not_negotiated", f"A message came in compressor {compressor}, which was not agreed.")
    if opcode not in (Opcode.MSG, Opcode.QUERY, Opcode.REPLY):
        raise _broken("wrapped_opcode", f"A compressed message wraps one with opcode {opcode}.")
    if not 0 < size <= limit - HEADER_BYTES:
        raise _broken("wrapped_length", f"A compressed message declares {size} bytes; 1 to {limit} are possible.")
    return Wrapped(Header(HEADER_BYTES + size, request_id, response_to, opcode), Compressor(compressor))


def never_compressed(name: str) -> RemoteProtocolError:
    """The refusal of a command of `NEVER` that came compressed."""
    return RemoteProtocolError("never_compressed", f"{name} must not be compressed.", MongoCode.PROTOCOL_ERROR)


class Inflater:
    """Opens one compressed message that comes in pieces; gives the plain message, header first, in pieces."""

    __slots__ = ("_codec", "_left", "_plain", "_skip")

    def __init__(self, wrapped: Wrapped) -> None:
        self._plain = HEADER.pack(*wrapped.header)
        self._left = wrapped.header.length - HEADER_BYTES
        self._skip = HEAD_BYTES
        self._codec = _OPENERS[wrapped.compressor](self._left)

    def feed(self, data: bytes, *, last: bool) -> Iterator[bytes]:
        """The plain bytes that the next ones give, `_STEP` at a time; `last`: there are no more. The first call begins
        with the message's header. Raises RemoteProtocolError."""
        skip = min(self._skip, len(data))
        self._skip -= skip
        codec = self._codec
        try:
            codec.give(data[skip:], last)
            while piece := codec.take(min(_STEP, self._left + 1)):
                self._left -= len(piece)
                if self._left < 0:
                    raise _lying()
                if self._plain:
                    piece, self._plain = self._plain + piece, b""
                yield piece
            if last and (self._left or not codec.ended()):
                raise _lying()
        except (zlib.error, zstd.ZstdError, cramjam.DecompressionError) as error:
            raise _broken("broken_compression", "A compressed message can't be decompressed.") from error


def decompress(message: bytes, wrapped: Wrapped) -> bytes:
    """A whole compressed message as the plain one. Raises RemoteProtocolError."""
    return b"".join(Inflater(wrapped).feed(message, last=True))


class Deflater:
    """Compresses one message that comes in pieces; `level` is zlib's."""

    __slots__ = ("_codec", "_compressor", "_header", "_parts")

    def __init__(self, compressor: Compressor, header: Header, level: int | None = None) -> None:
        self._compressor = compressor
        self._header = header
        self._codec = _CLOSERS[compressor](header.length - HEADER_BYTES, level)
        self._parts: list[bytes] = []

    def feed(self, data: bytes) -> None:
        """The next bytes of what follows the header."""
        part = self._codec.compress(data)
        if part:
            self._parts.append(part)

    def finish(self) -> bytes:
        """The whole compressed message, once all of it was fed."""
        length, request_id, response_to, opcode = self._header
        self._parts.append(self._codec.flush())
        size = HEAD_BYTES + sum(map(len, self._parts))
        head = HEADER.pack(size, request_id, response_to, Opcode.COMPRESSED)
        return b"".join((head, _HEAD.pack(opcode, length - HEADER_BYTES, self._compressor), *self._parts))


def compress(message: bytes, compressor: Compressor, level: int | None = None) -> bytes:
    """A whole plain message as a compressed one."""
    deflater = Deflater(compressor, Header._make(HEADER.unpack_from(message)), level)
    deflater.feed(message[HEADER_BYTES:])
    return deflater.finish()


# --- opening ------------------------------------------------------------------------------------------------------


class _Opener(Protocol):
    def give(self, data: bytes, last: bool) -> None: ...
    def take(self, most: int) -> bytes: ...
    def ended(self) -> bool: ...


class _OpenZlib:
    __slots__ = ("_codec", "_data")

    def __init__(self, size: int) -> None:
        self._codec = zlib.decompressobj()
        self._data = b""

    def give(self, data: bytes, last: bool) -> None:
        self._data += data

    def take(self, most: int) -> bytes:
        if self._codec.eof:
            return _nothing_behind(self._data)
        piece = self._codec.decompress(self._data, most)
        self._data = self._codec.unused_data or self._codec.unconsumed_tail
        return piece

    def ended(self) -> bool:
        return self._codec.eof


class _OpenZstd:
    __slots__ = ("_codec", "_data")

    def __init__(self, size: int) -> None:
        self._codec = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: _WINDOW_LOG})
        self._data = b""

    def give(self, data: bytes, last: bool) -> None:
        self._data += data

    def take(self, most: int) -> bytes:
        if self._codec.eof:
            return _nothing_behind(self._data)
        if self._codec.needs_input and not self._data:
            return b""
        data, self._data = self._data, b""
        piece = self._codec.decompress(data, most)
        self._data = self._codec.unused_data
        return piece

    def ended(self) -> bool:
        return self._codec.eof


class _OpenSnappy:
    __slots__ = ("_held", "_plain", "_pos", "_size")

    def __init__(self, size: int) -> None:
        self._size = size
        self._held = bytearray()
        self._plain = memoryview(b"")
        self._pos = 0

    def give(self, data: bytes, last: bool) -> None:
        self._held += data
        if last:
            held, self._held = self._held, bytearray()
            if not held.startswith(_varint(self._size)):
                raise _lying()  # before the library makes room for what the bytes declare
            self._plain = memoryview(cramjam.snappy.decompress_raw(held))

    def take(self, most: int) -> bytes:
        piece = bytes(self._plain[self._pos : self._pos + most])
        self._pos += len(piece)
        if not piece:
            self._plain = memoryview(b"")
        return piece

    def ended(self) -> bool:
        return True


_OPENERS: Final[dict[Compressor, Callable[[int], _Opener]]] = {
    Compressor.SNAPPY: _OpenSnappy,
    Compressor.ZLIB: _OpenZlib,
    Compressor.ZSTD: _OpenZstd,
}


# --- closing ------------------------------------------------------------------------------------------------------


class _Closer(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class _CloseSnappy:
    """The raw format is the length of all, then runs that refer to nothing but themselves if they were made apart."""

    __slots__ = ("_length",)

    def __init__(self, size: int) -> None:
        self._length = _varint(size)

    def compress(self, data: bytes, /) -> bytes:
        if not data:
            return b""
        length, self._length = self._length, b""
        return length + bytes(cramjam.snappy.compress_raw(data))[len(_varint(len(data))) :]

    def flush(self) -> bytes:
        return self._length


def _close_zstd(size: int, level: int | None) -> _Closer:
    codec = zstd.ZstdCompressor()
    codec.set_pledged_input_size(size)
    return codec


_CLOSERS: Final[dict[Compressor, Callable[[int, int | None], _Closer]]] = {
    Compressor.SNAPPY: lambda size, level: _CloseSnappy(size),
    Compressor.ZLIB: lambda size, level: zlib.compressobj(-1 if level is None else level),
    Compressor.ZSTD: _close_zstd,
}


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _nothing_behind(data: bytes) -> bytes:
    """Bytes behind the end are refused when the first of them comes: kept until the last, they would have no bound."""
    if data:
        raise _lying()
    return b""


def _lying() -> RemoteProtocolError:
    return _broken("wrapped_length", "A compressed message is not as long as it says.")


def _broken(code: str, message: str) -> RemoteProtocolError:
    return RemoteProtocolError(code, message)
