"""Records that tests share."""

from __future__ import annotations

import bson

from wardgate.audit.parts import PartSealer
from wardgate.audit.records import (
    CommandIntent,
    CommandOutcome,
    Denied,
    Record,
    SessionClosed,
    SessionOpened,
    Upload,
)
from wardgate.testing.playbook import body_section, op_msg_sections, sequence_section

OPENED = SessionOpened("ann@example.com", "mongo", "reader", "near-db")
CLOSED = SessionClosed("client_closed")


def find(connection: int = 1, value: object = 1) -> CommandIntent:
    body = bson.encode({"find": "orders", "filter": {"n": value}, "$db": "shop"})
    return CommandIntent(
        connection, 7, "shop", "orders", "find", "read", body, len(body) + 21, client_app="mongosh 2.12"
    )


def insert(size: int) -> CommandIntent:
    body = bson.encode({"insert": "orders", "ordered": True, "$db": "shop"})
    one = bson.encode({"x": b"\xab" * 100_000})
    documents = one * max(1, size // len(one))
    return CommandIntent(
        2, 8, "shop", "orders", "insert", "write", body, len(body) + len(documents), (("documents", documents),)
    )


def streamed(seq: int, count: int = 40, *, into: str = "orders", withheld: bool = False) -> list[Record]:
    """The records of a streamed insert of `count` documents of 10 KB, of which the first gets the number `seq`."""
    message = op_msg_sections(
        [body_section({"insert": into, "$db": "shop"}), sequence_section("documents", [{"x": b"y" * 10_000}] * count)],
        11,
    )
    sealer = PartSealer(bytes(range(32)))
    parts = [sealer.seal(seq, message[at : at + 131_072]) for at in range(0, len(message), 131_072)]
    body = bson.encode({"insert": into, "$db": "shop", "$wardgateMasked": "withheld"}) if withheld else b""
    intent = CommandIntent(
        3, 11, "shop", into, "insert", "write", body, len(message),
        masked=("*",) if withheld else (), streamed=sealer.streamed(seq, withheld=withheld),
    )  # fmt: skip
    return [Upload(3, 11, len(message)), *parts, intent]


def ok(seq: int, documents: int | None = 3, *, more: bool = False) -> CommandOutcome:
    return CommandOutcome(seq, 1.0, None, documents, 100, 250, more=more)


def failed(seq: int, code: int = 11000) -> CommandOutcome:
    return CommandOutcome(seq, 0.0, code, None, 90, 250, error="E11000 duplicate key")


def denied() -> Denied:
    body = bson.encode({"shutdown": 1, "$db": "admin"})
    return Denied(1, 9, "admin", None, "shutdown", "admin", body, 60, "admin.shutdown", 13)
