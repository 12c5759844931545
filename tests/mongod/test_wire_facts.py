"""What we say of the protocol, asked of a real mongod: our refusals, our rewriting and our scanner against its own."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any

import bson
import google_crc32c
import pytest

from wardgate.command.catalogue import look_up
from wardgate.command.facts import parse
from wardgate.testing.mongo import MongoDeployment
from wardgate.wire.errors import RemoteProtocolError, error_document
from wardgate.wire.header import HEADER, Opcode
from wardgate.wire.hello import ClientMetadata, HelloView, build_request, read_addresses, rewrite_reply, rewrite_request
from wardgate.wire.message import EXHAUST_ALLOWED, MORE_TO_COME, build_msg, parse_reply, parse_request, refusal
from wardgate.wire.replies import scan_message

from .wire_client import RawClient

PING = bson.encode({"ping": 1, "$db": "admin"})
DATABASE = "wire_facts"
WHO = "wardgate:ada@example.com:ses_01k00000000000000000000000"
CLIENT = {"application": {"name": "shop"}, "driver": {"name": "d", "version": "1"}, "os": {"type": "Linux"}}


@pytest.fixture
def bare(mongod_rs1: MongoDeployment) -> Iterator[RawClient]:
    """A connection that has said nothing yet."""
    with RawClient(mongod_rs1) as client:
        yield client


@pytest.fixture
def root(mongod_rs1: MongoDeployment) -> Iterator[RawClient]:
    """A connection that is logged in and has said no hello."""
    with RawClient(mongod_rs1, mongod_rs1.root) as client:
        yield client


def msg(*sections: bytes, flags: int = 0) -> bytes:
    rest = struct.pack("<I", flags) + b"".join(sections)
    return HEADER.pack(16 + len(rest), 7, 0, Opcode.MSG) + rest


def section(name: bytes, *documents: bytes) -> bytes:
    data = name + b"\0" + b"".join(documents)
    return b"\1" + struct.pack("<i", len(data) + 4) + data


def raw_document(*elements: bytes) -> bytes:
    content = b"".join(elements)
    return struct.pack("<i", len(content) + 5) + content + b"\0"


def string(name: str, value: str) -> bytes:
    return bson.encode({name: value})[4:-1]


def checked(message: bytes, wrong: int = 0) -> bytes:
    """The message with a checksum."""
    length = struct.pack("<i", len(message) + 4)
    data = length + message[4:16] + struct.pack("<I", struct.unpack_from("<I", message, 16)[0] | 1) + message[20:]
    return data + struct.pack("<I", google_crc32c.value(data) ^ wrong)


def ours(message: bytes) -> tuple[str, int | None]:
    """What we do with a request."""
    try:
        parse(parse_request(message))
    except RemoteProtocolError as error:
        return ("closes", None) if error.mongo_code is None else ("answers", int(error.mongo_code))
    return "takes", None


def theirs(answer: bytes | None) -> tuple[str, int | None]:
    """What mongod did with it."""
    if answer is None:
        return "closes", None
    document = bson.decode(parse_reply(answer).body)
    return ("takes", None) if document["ok"] else ("answers", document["code"])


# Where mongod refuses, we refuse; where the code is in the list we give the same one.
LIES: dict[str, tuple[bytes, bool]] = {
    "two bodies": (msg(b"\0" + PING, b"\0" + PING), True),
    "no body": (msg(section(b"documents", bson.encode({}))), True),
    "a sequence twice": (msg(b"\0" + PING, section(b"a"), section(b"a")), True),
    "an unknown section kind": (msg(b"\0" + PING, b"\x09" + bson.encode({})), True),
    "a field in body and sequence": (
        msg(b"\0" + bson.encode({"insert": "c", "documents": [], "$db": "d"}), section(b"documents", bson.encode({}))),
        True,
    ),
    "no $db": (msg(b"\0" + bson.encode({"ping": 1})), True),
    "$db is no string": (msg(b"\0" + bson.encode({"ping": 1, "$db": 5})), False),
    "$db is empty": (msg(b"\0" + bson.encode({"ping": 1, "$db": ""})), True),
    "$db has a dot": (msg(b"\0" + bson.encode({"ping": 1, "$db": "a.b"})), True),
    "a field twice": (msg(b"\0" + raw_document(string("ping", "x"), string("$db", "a"), string("$db", "b"))), False),
    "a required flag bit": (msg(b"\0" + PING, flags=1 << 2), True),
    "an optional flag bit": (msg(b"\0" + PING, flags=1 << 20), True),
    "a checksum": (checked(msg(b"\0" + PING)), True),
    "a wrong checksum": (checked(msg(b"\0" + PING), wrong=1), True),
    "a compressed message": (HEADER.pack(30, 7, 0, Opcode.COMPRESSED) + bytes(14), True),
    "OP_INSERT": (HEADER.pack(16 + 8 + 5, 7, 0, Opcode.INSERT) + b"\0\0\0\0a.b\0" + bson.encode({}), True),
    "an unknown opcode": (HEADER.pack(21, 7, 0, 3333) + bson.encode({}), True),
    "a document without end": (msg(b"\0" + PING[:-1] + b"\1"), False),
    "a string that is too long": (msg(b"\0" + raw_document(b"\x02ping\0\xff\0\0\0abc\0", string("$db", "a"))), False),
}


@pytest.mark.parametrize("name", LIES)
def test_lies_are_treated_as_mongod_treats_them(bare: RawClient, name: str) -> None:
    message, same = LIES[name]
    answer = bare.ask(message)
    if same:
        assert ours(message) == theirs(answer)
    else:
        assert ours(message)[0] != "takes"
        assert theirs(answer)[0] != "takes"


def test_an_old_query_for_anything_but_a_handshake(bare: RawClient) -> None:
    def query(document: dict[str, Any]) -> bytes:
        rest = b"\0\0\0\0admin.$cmd\0" + struct.pack("<ii", 0, -1) + bson.encode(document)
        return HEADER.pack(16 + len(rest), 7, 0, Opcode.QUERY) + rest

    refused: list[dict[str, Any]] = [{"find": "c"}, {"serverStatus": 1}, {"ping": 1}, {"getnonce": 1}]
    taken: list[dict[str, Any]] = [
        {"isMaster": 1}, {"$query": {"ismaster": 1}}, {"query": {"ismaster": 1}}, {"hello": 1}, {"buildInfo": 1},
    ]  # fmt: skip
    for document in refused:
        assert ours(query(document)) == theirs(bare.ask(query(document))) == ("answers", 352)
    for document in taken:
        assert ours(query(document)) == theirs(bare.ask(query(document))) == ("takes", None)


def test_our_errors_look_like_mongods(bare: RawClient) -> None:
    message = msg(b"\0" + PING, b"\0" + PING)
    answer = bare.ask(message)
    assert answer is not None
    real = bson.decode(parse_reply(answer).body)
    mine = refusal(message, real["code"], real["errmsg"], 99)
    assert mine is not None
    own = bson.decode(parse_reply(mine).body)
    assert [k for k in real if not k.startswith("$") and k != "operationTime"] == list(own)
    assert {k: real[k] for k in own} == own
    assert HEADER.unpack_from(answer)[2:] == HEADER.unpack_from(mine)[2:]


def test_what_works_without_a_login(bare: RawClient) -> None:
    for command in ({"hello": 1}, {"ping": 1}, {"buildInfo": 1}):
        assert bare.run(command)["ok"] == 1.0
    others: list[dict[str, Any]] = [{"find": "c"}, {"getCmdLineOpts": 1}, {"endSessions": []}]
    for other in others:
        refused = bare.run(other)
        assert refused["code"] == 13
        document = bson.decode(error_document(13, None, refused["errmsg"]))
        assert {k: refused[k] for k in document} == document


def test_a_depth_that_mongod_takes_is_taken(root: RawClient) -> None:
    def nested(depth: int) -> bytes:
        document: bytes = raw_document()
        for _ in range(depth):
            document = raw_document(b"\x03a\0" + document)
        return build_msg(raw_document(b"\x10ping\0\1\0\0\0", b"\x03comment\0" + document, string("$db", "admin")), 7)

    assert ours(nested(170)) == theirs(root.ask(nested(170))) == ("takes", None)
    assert ours(nested(300))[0] == "answers"
    assert theirs(root.ask(nested(300)))[0] != "takes"


# --- hello


def test_an_attributed_hello_is_taken_and_seen(root: RawClient) -> None:
    first = parse_request(build_msg(bson.encode({"hello": 1, "client": CLIENT, "$db": "admin"}), 1))
    assert theirs(root.ask(rewrite_request(first, WHO))) == ("takes", None)
    assert theirs(root.ask(rewrite_request(first, WHO))) == ("answers", 186), "metadata is taken once"
    assert theirs(root.ask(rewrite_request(first, WHO, ClientMetadata.STRIP))) == ("takes", None)
    own = root.run(
        {"aggregate": 1, "pipeline": [{"$currentOp": {}}, {"$match": {"appName": f"{WHO}|shop"}}], "cursor": {}}
    )
    assert own["cursor"]["firstBatch"]


@pytest.mark.parametrize(
    "client",
    [
        {},
        {"application": {"name": "a" * 500}},
        {**CLIENT, "driver": {"name": "d" * 600, "version": "v" * 600}},
        {**CLIENT, "os": {"type": "t" * 900}},
        {**CLIENT, "driver": 5, "os": {"type": 5}},
        {**CLIENT, "more": {"x": "y" * 2_000}},
    ],
)
@pytest.mark.parametrize("limit", [512, 1_024])
def test_any_client_document_becomes_one_that_mongod_takes(bare: RawClient, client: dict[str, Any], limit: int) -> None:
    request = parse_request(build_msg(bson.encode({"isMaster": 1, "client": client, "$db": "admin"}), 1))
    assert theirs(bare.ask(rewrite_request(request, WHO, client_bytes=limit))) == ("takes", None)


def test_our_own_hello(bare: RawClient) -> None:
    assert theirs(bare.ask(build_request(WHO, 3))) == ("takes", None)


def test_a_real_hello_is_rewritten_and_nothing_else(bare: RawClient, mongod_rs1: MongoDeployment) -> None:
    member = mongod_rs1.members[0].address
    rest = b"\0\0\0\0admin.$cmd\0" + struct.pack("<ii", 0, -1) + bson.encode({"isMaster": 1, "helloOk": True})
    for message in (
        build_msg(bson.encode({"hello": 1, "$db": "admin"}), 1),
        HEADER.pack(16 + len(rest), 7, 0, Opcode.QUERY) + rest,
    ):
        answer = bare.ask(message)
        assert answer is not None
        found = read_addresses(parse_reply(answer))
        assert (found.me, found.primary, found.members) == (member, member, (member,))
        before = bson.decode(parse_reply(answer).body)
        after = bson.decode(parse_reply(rewrite_reply(parse_reply(answer), HelloView({member: "127.0.0.1:9"}))).body)
        assert list(after) == list(before)
        assert {k for k in before if before[k] != after[k]} == {"hosts", "primary", "me"}
        same = rewrite_reply(parse_reply(answer), HelloView({member: member}))
        assert same == answer, "byte for byte"


def test_streamed_hellos_are_rewritten_too(bare: RawClient, mongod_rs1: MongoDeployment) -> None:
    member = mongod_rs1.members[0].address
    version = bare.run({"hello": 1})["topologyVersion"]
    document = {"hello": 1, "topologyVersion": version, "maxAwaitTimeMS": 10, "$db": "admin"}
    answer = bare.ask(build_msg(bson.encode(document), 1, flags=EXHAUST_ALLOWED))
    assert answer is not None
    parsed = parse_reply(answer)
    assert parsed.more_to_come
    again = parse_reply(rewrite_reply(parsed, HelloView({member: "127.0.0.1:9"})))
    assert again.more_to_come
    assert bson.decode(again.body)["hosts"] == ["127.0.0.1:9"]


# --- commands and replies


def test_every_command_of_this_server_is_known(root: RawClient) -> None:
    commands = root.run({"listCommands": 1})["commands"]
    assert len(commands) > 200
    assert not {name for name in commands if look_up(name.encode()) is None}


def test_scanned_facts_are_what_real_replies_say(root: RawClient) -> None:
    def both(document: dict[str, Any], *sections: bytes) -> tuple[Any, dict[str, Any]]:
        answer = root.ask(msg(b"\0" + bson.encode({**document, "$db": DATABASE}), *sections))
        assert answer is not None
        facts = scan_message(answer)
        assert facts.malformed is None
        real = bson.decode(parse_reply(answer).body)
        assert facts.ok == real["ok"]
        assert facts.code == real.get("code")
        assert facts.errmsg == real.get("errmsg")
        return facts, dict(real)

    both({"dropDatabase": 1})
    documents = [bson.encode({"_id": i, "x": "y" * (i % 50)}) for i in range(1_500)]
    facts, real = both({"insert": "c"}, section(b"documents", *documents))
    assert facts.documents == real["n"] == 1_500
    facts, real = both({"insert": "c", "ordered": False}, section(b"documents", *documents[:3]))
    assert (facts.write_errors, facts.write_error_code, facts.n) == (len(real["writeErrors"]), 11000, 0)
    facts, real = both({"find": "c", "batchSize": 1_234})
    assert facts.batch == len(real["cursor"]["firstBatch"]) == 1_234
    assert facts.cursor_id == real["cursor"]["id"] != 0
    facts, real = both({"getMore": bson.Int64(facts.cursor_id), "collection": "c"})
    assert (facts.batch, facts.cursor_id) == (len(real["cursor"]["nextBatch"]), 0) == (266, 0)
    facts, real = both({"update": "c", "updates": [{"q": {}, "u": {"$set": {"x": ""}}, "multi": True}]})
    assert (facts.n, facts.n_modified) == (real["n"], real["nModified"])
    assert facts.n_modified < facts.n
    facts, _ = both({"findAndModify": "c", "query": {"_id": 1}, "update": {"$set": {"z": 1}}})
    assert facts.documents == 1
    facts, _ = both({"count": "c"})
    assert facts.documents == 1_500
    facts, _ = both({"aggregate": "c", "pipeline": [{"$group": {"_id": None}}], "cursor": {}})
    assert facts.documents == 1
    facts, real = both({"find": "c", "filter": {"$nonsense": 1}})
    assert (facts.ok, facts.code, facts.code_name) == (0.0, real["code"], real["codeName"])
    facts, _ = both({"delete": "c", "deletes": [{"q": {}, "limit": 0}]})
    assert facts.documents == 1_500
    both({"dropDatabase": 1})


def test_a_ping_that_wants_no_reply_gets_none(bare: RawClient) -> None:
    bare._socket.sendall(build_msg(PING, 5, flags=MORE_TO_COME))
    answer = bare.ask(build_msg(PING, 6))
    assert answer is not None
    assert HEADER.unpack_from(answer)[2] == 6
