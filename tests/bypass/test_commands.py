"""Ways around policy and record that somebody has tried, each as the bytes that a client would send. Never removed.

The way is gone when the request is refused before it is forwarded, or judged as what it really does.
"""

from __future__ import annotations

import struct

import bson
import pytest
from bson import Binary

from wardgate.command.facts import Command, Effect, parse
from wardgate.command.sensitive import record_body
from wardgate.policy.decide import Deny, Policy, SessionWork, decide
from wardgate.wire.errors import RemoteProtocolError
from wardgate.wire.header import HEADER, Opcode
from wardgate.wire.message import build_msg, parse_request

SECRET = "hunter2-hunter2"


def document(*elements: bytes) -> bytes:
    content = b"".join(elements)
    return struct.pack("<i", len(content) + 5) + content + b"\0"


def fields(**values: object) -> bytes:
    return bson.encode(values)[4:-1]


def db(name: str = "shop") -> bytes:
    return bson.encode({"$db": name})[4:-1]


def body(*elements: bytes) -> bytes:
    return b"\0" + document(*elements)


def sequence(name: str, *documents: dict[str, object]) -> bytes:
    data = name.encode() + b"\0" + b"".join(bson.encode(d) for d in documents)
    return b"\1" + struct.pack("<i", len(data) + 4) + data


def msg(*sections: bytes) -> bytes:
    rest = b"\0\0\0\0" + b"".join(sections)
    return HEADER.pack(16 + len(rest), 1, 0, Opcode.MSG) + rest


def query(inner: bytes, namespace: str = "admin.$cmd") -> bytes:
    rest = b"\0\0\0\0" + namespace.encode() + b"\0" + struct.pack("<ii", 0, -1) + inner
    return HEADER.pack(16 + len(rest), 1, 0, Opcode.QUERY) + rest


def command(*elements: bytes) -> bytes:
    return build_msg(document(*elements), 1)


CREATE_USER = fields(createUser="eve", pwd=SECRET, roles=["root"])

REFUSED = {
    # Two readings of one message: whoever reads the other one sees another command.
    "the database twice": command(fields(find="c"), db("shop"), db("admin")),
    "the command's own key twice": command(fields(find="c"), db(), fields(find="system.users")),
    "two bodies": msg(body(fields(ping=1), db()), body(CREATE_USER, db("admin"))),
    "no body, but a sequence that looks like one": msg(sequence("documents", {"createUser": "eve"})),
    "documents in body and sequence": msg(
        body(fields(insert="c", documents=[{"seen": 1}]), db()), sequence("documents", {"unseen": 1})
    ),
    "a pipeline as a sequence": msg(body(fields(aggregate="c"), db()), sequence("pipeline", {"$out": "copy"})),
    "an insert's sequence under a find": msg(body(fields(find="c"), db()), sequence("documents", {"a": 1})),
    "a length that hides the rest": command(b"\x03find\0\x05\0\0\0\0\0" + fields(x=1), db())[:-3] + b"\0\0\0",
    # Other doors.
    "compressed although nothing was negotiated": HEADER.pack(30, 1, 0, Opcode.COMPRESSED) + bytes(14),
    "compressed within compressed": HEADER.pack(25, 1, 0, Opcode.COMPRESSED) + b"\xdc\x07\0\0\x10\0\0\0\0",
    "the old insert": HEADER.pack(29, 1, 0, Opcode.INSERT) + b"\0\0\0\0a.b\0" + bson.encode({}),
    "the old command": HEADER.pack(16, 1, 0, Opcode.COMMAND),
    "a command in an old query": query(document(fields(createUser="eve"))),
    "a command in a wrapped old query": query(document(fields(**{"$query": {"dropDatabase": 1}}))),
    "a handshake in front, a command inside": query(document(fields(**{"$query": {"shutdown": 1}, "isMaster": 1}))),
    "an old query on a collection": query(document(fields(x=1)), "admin.system.users"),
    # Names.
    "a database with a dot": command(fields(find="users"), db("admin.system")),
    "a database with a zero byte": command(fields(find="c"), b"\x02$db\0\x08\0\0\0admin\0x\0"),
    "a collection with a zero byte": command(b"\x02find\0\x0e\0\0\0system.users\0x\0"[:-2] + b"\0", db("admin")),
    # Depth.
    "explain of explain": command(fields(explain={"explain": {"dropDatabase": 1}}), db()),
    "explain with a database of its own": command(fields(explain={"find": "system.users", "$db": "admin"}), db()),
}

DENIED = {
    "a user by explain": command(fields(explain={"createUser": "eve", "pwd": SECRET}), db("admin")),
    "another case": command(fields(CREATEUSER="eve", pwd=SECRET), db("admin")),
    "a password before the command's name": command(fields(pwd=SECRET, createUser="eve"), db("admin")),
    "a name with a blank": command(fields(**{"createUser ": "eve", "pwd": SECRET}), db("admin")),
    "a user written as a document": command(fields(insert="system.users", documents=[{"pwd": SECRET}]), db("admin")),
    "a user written by a sequence": msg(
        body(fields(insert="system.users"), db("admin")), sequence("documents", {"credentials": SECRET})
    ),
    "a user written by $out": command(
        fields(aggregate="c", pipeline=[{"$out": {"db": "admin", "coll": "system.users"}}]), db()
    ),
    "a user written by $merge in a branch": command(
        fields(
            aggregate="c", pipeline=[{"$facet": {"a": [{"$merge": {"into": {"db": "admin", "coll": "system.roles"}}}]}}]
        ),
        db(),
    ),
    "a user written by bulkWrite": msg(
        body(fields(bulkWrite=1), db("admin")),
        sequence("ops", {"insert": 0, "document": {"pwd": SECRET}}),
        sequence("nsInfo", {"ns": "admin.system.users"}),
    ),
    "a user by applyOps": command(
        fields(applyOps=[{"op": "c", "o": {"createUser": "eve", "pwd": SECRET}}]), db("admin")
    ),
    "a user by renaming": command(fields(renameCollection="shop.mine", to="admin.system.users"), db("admin")),
    "hashes read by $lookup": command(
        fields(aggregate=1, pipeline=[{"$lookup": {"from": {"db": "admin", "coll": "system.users"}}}]), db()
    ),
    "hashes read by $unionWith in a pipeline in a $lookup": command(
        fields(aggregate="c", pipeline=[{"$lookup": {"from": "d", "pipeline": [{"$unionWith": "system.users"}]}}]),
        db("admin"),
    ),
    "hashes read by a view": command(fields(create="v", viewOn="system.users"), db("admin")),
    "hashes read by the collection's UUID": command(fields(find=Binary(bytes(16), 4)), db("admin")),
    "hashes shown by usersInfo": command(fields(usersInfo=1, showCredentials=1), db("admin")),
    "everybody's sessions by an empty list": command(fields(killSessions=[]), db("admin")),
    "a foreign session among one's own": command(fields(killSessions=[{"id": Binary(bytes(16), 4)}]), db("admin")),
    "a profile level beside a harmless one": command(fields(profile=-1, filter={}), db()),
    "all users by dropping their database": command(fields(dropDatabase=1), db("admin")),
    "a login under another name": command(fields(copydbsaslstart=1, payload=SECRET.encode()), db("admin")),
}


@pytest.mark.parametrize("way", REFUSED)
def test_refused_before_anything_else(way: str) -> None:
    with pytest.raises(RemoteProtocolError):
        parse(parse_request(REFUSED[way]))


def understood(raw: bytes) -> Command:
    return parse(parse_request(raw))


@pytest.mark.parametrize("way", DENIED)
def test_denied_by_policy_and_recorded_without_secrets(way: str) -> None:
    found = understood(DENIED[way])
    assert isinstance(decide(found, Policy(), SessionWork()), Deny)
    recorded = record_body(found)
    everything = recorded.body + b"".join(data for _, data in recorded.sequences)
    assert SECRET.encode() not in everything


@pytest.mark.parametrize(
    ("raw", "effect"),
    [
        (command(fields(find="c", filter={"$or": [{"a": {"$elemMatch": {"$where": "1"}}}]}), db()), Effect.CODE),
        (command(fields(find="c", sort={"x": {"$function": {}}}), db()), Effect.CODE),
        (msg(sequence("updates", {"q": {"$where": "1"}, "u": {}}), body(fields(update="c"), db())), Effect.CODE),
        (command(fields(aggregate="c", pipeline=[{"$facet": {"a": [{"$out": "x"}]}}]), db()), Effect.WRITE),
        (command(fields(explain={"aggregate": "c", "pipeline": [{"$match": {"$where": "1"}}]}), db()), Effect.CODE),
        (command(fields(insert="system.js", documents=[{}]), db()), Effect.CODE),
    ],
)
def test_judged_as_what_it_does(raw: bytes, effect: Effect) -> None:
    assert understood(raw).effect is effect
