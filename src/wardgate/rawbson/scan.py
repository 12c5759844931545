"""What a reply says, read while it passes.

A scanner sees one reply document in pieces, keeps a few dozen bytes of it at a time, and in the end knows the facts that
an outcome record needs. It skips everything else by length: a batch costs a step per document, not per field.

Law: never raises for what the bytes are. A document whose lengths do not add up has `malformed` set, and stays so.
"""

from __future__ import annotations

from typing import NamedTuple

ERRMSG_BYTES = 1_024  # of an error text; the rest is not kept


class ReplyFacts(NamedTuple):
    """`ok` is None where the reply has none. `batch` counts the documents of firstBatch or nextBatch."""

    ok: float | None = None
    code: int | None = None
    code_name: str | None = None
    errmsg: str | None = None
    n: int | None = None
    n_modified: int | None = None
    cursor_id: int | None = None
    batch: int | None = None
    write_errors: int = 0
    write_error_code: int | None = None  # of the first write error
    write_concern_code: int | None = None
    malformed: str | None = None

    @property
    def documents(self) -> int | None:
        """Documents that this reply returned, else the number it says it changed."""
        return self.batch if self.batch is not None else self.n


class ReplyScanner:
    """Scans one reply document that comes in pieces of any size."""

    def feed(self, piece: bytes | memoryview) -> None:
        """The next bytes of the document."""
        raise NotImplementedError

    def finish(self) -> ReplyFacts:
        """The facts, once every byte was fed; a document that is not whole is malformed."""
        raise NotImplementedError


def scan(data: bytes, start: int = 0, end: int | None = None) -> ReplyFacts:
    """The facts of a reply document that is whole in data[start:end]."""
    raise NotImplementedError
