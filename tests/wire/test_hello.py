from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import bson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardgate.wire.errors import MongoCode, RemoteProtocolError
from wardgate.wire.header import header_of
from wardgate.wire.hello import (
    ClientMetadata,
    HelloAddresses,
    HelloView,
    attribution,
    build_request,
    is_hello,
    read_addresses,
    read_request,
    rewrite_reply,
    rewrite_request,
)
from wardgate.wire.message import EXHAUST_ALLOWED, MORE_TO_COME, OpMsg, OpQuery, build_msg, parse_reply, parse_request

from .messages import body, command, msg, query, reply

WHO = attribution("ada@example.com", "ses_01jd0000000000000000000000")
CLIENT: dict[str, Any] = {
    "application": {"name": "shop"},
    "driver": {"name": "PyMongo", "version": "4.20.0"},
    "os": {"type": "Linux", "name": "Linux", "architecture": "x86_64", "version": "6.1"},
    "platform": "CPython 3.11.7",
}
FIRST: dict[str, Any] = {
    "hello": 1,
    "helloOk": True,
    "saslSupportedMechs": "admin.root",
    "compression": ["zstd"],
    "client": CLIENT,
    "speculativeAuthenticate": {"saslStart": 1, "mechanism": "SCRAM-SHA-256", "payload": b"n,,n=root"},
    "loadBalanced": True,
    "backpressure": "2",
    "$db": "admin",
}
REPLY: dict[str, Any] = {
    "helloOk": True,
    "topologyVersion": {"processId": bson.ObjectId(), "counter": bson.Int64(6)},
    "hosts": ["Db1.internal:27017", "db2.internal:27017", "db3.internal:27017"],
    "passives": ["db4.internal:27017"],
    "arbiters": ["arb.internal:27017"],
    "setName": "rs0",
    "setVersion": 3,
    "ismaster": True,
    "primary": "db1.internal:27017",
    "me": "db1.internal:27017",
    "electionId": bson.ObjectId(),
    "tags": {"dc": "east"},
    "compression": ["zstd"],
    "saslSupportedMechs": ["SCRAM-SHA-1"],
    "maxWireVersion": 17,
    "ok": 1.0,
    "operationTime": bson.Timestamp(5, 1),
}
ADDRESSES = {"db1.internal:27017": "127.0.0.1:31001", "db2.internal:27017": "127.0.0.1:31002"}


def sent(request: bytes, client: ClientMetadata = ClientMetadata.ATTRIBUTE, limit: int = 512) -> dict[str, Any]:
    rewritten = rewrite_request(parse_request(request), WHO, client, client_bytes=limit)
    again = parse_request(rewritten)
    assert header_of(rewritten)[1:] == header_of(request)[1:]
    return dict(bson.decode(again.body))


def shown(raw: bytes, view: HelloView) -> dict[str, Any]:
    rewritten = rewrite_reply(parse_reply(raw), view)
    assert header_of(rewritten)[1:] == header_of(raw)[1:]
    return dict(bson.decode(parse_reply(rewritten).body))


def test_names() -> None:
    assert [is_hello(name) for name in ("hello", "isMaster", "ismaster", "ISMASTER", "ping")] == [True] * 3 + [
        False
    ] * 2


# --- requests


def test_what_a_server_must_not_see_is_left_out() -> None:
    document = sent(command(FIRST))
    assert list(document) == ["hello", "helloOk", "client", "backpressure", "$db"]
    assert document["client"]["application"]["name"] == f"{WHO}|shop"
    assert {k: v for k, v in document["client"].items() if k != "application"} == {
        k: v for k, v in CLIENT.items() if k != "application"
    }


@pytest.mark.parametrize("wrapped", [True, False])
def test_queries(wrapped: bool) -> None:
    inner = {"ismaster": 1, "client": CLIENT, "compression": []}
    document = {"$query": inner, "$readPreference": {"mode": "primary"}} if wrapped else inner
    raw = query(document, selector=bson.encode({"x": 1}))
    assert sent(raw) == {"ismaster": 1, "client": {**CLIENT, "application": {"name": f"{WHO}|shop"}}}
    again = parse_request(rewrite_request(parse_request(raw), WHO))
    assert isinstance(again, OpQuery)
    assert again.wrapped == wrapped
    assert again.raw.endswith(bson.encode({"x": 1}))
    assert b"$readPreference" in again.raw or not wrapped


def test_an_unchanged_hello_is_the_same_object() -> None:
    raw = command({"hello": 1, "topologyVersion": {}, "maxAwaitTimeMS": 10_000, "$db": "admin"}, flags=EXHAUST_ALLOWED)
    for client in (ClientMetadata.KEEP, ClientMetadata.STRIP):
        assert rewrite_request(parse_request(raw), WHO, client) is raw


def test_a_later_hello_loses_its_client_document() -> None:
    assert sent(command({"hello": 1, "client": CLIENT, "$db": "admin"}), ClientMetadata.STRIP) == {
        "hello": 1,
        "$db": "admin",
    }
    assert sent(command({"hello": 1, "client": CLIENT, "$db": "admin"}), ClientMetadata.KEEP)["client"] == CLIENT


def test_a_hello_without_a_client_document_gets_ours() -> None:
    client = sent(command({"hello": 1, "$db": "admin"}))["client"]
    assert client["application"]["name"] == WHO
    assert client["driver"]["name"]
    assert client["os"]["type"]
    own = parse_request(build_request(WHO, 5))
    assert own.request_id == 5
    assert bson.decode(own.body)["client"] == client


def test_a_checksum_goes_when_bytes_change() -> None:
    raw = msg(body({"hello": 1, "client": CLIENT, "$db": "admin"}), checksum=True)
    rewritten = parse_request(rewrite_request(parse_request(raw), WHO))
    assert isinstance(rewritten, OpMsg)
    assert not rewritten.checksum_present
    assert rewrite_request(parse_request(raw), WHO, ClientMetadata.KEEP) is raw


@pytest.mark.parametrize(
    "client",
    [
        {},
        {"application": "x", "driver": 1, "os": None},
        {"application": {"name": "a" * 128}, "driver": {"name": "d"}, "os": {"name": "x"}},
        {**CLIENT, "platform": "p" * 400},
        {**CLIENT, "env": {"name": "aws.lambda", "region": "r" * 300}},
        {**CLIENT, "os": {"type": "t" * 300, "name": "n" * 300}},
        {**CLIENT, "driver": {"name": "d" * 400, "version": "v" * 400}},
        {**CLIENT, "unknown": "u" * 900},
        {**CLIENT, "application": {"name": "é" * 64}},
    ],
)
@pytest.mark.parametrize("limit", [512, 1_024])
def test_a_client_document_is_always_one_that_a_server_takes(client: dict[str, Any], limit: int) -> None:
    document = sent(command({"hello": 1, "client": client, "$db": "admin"}), limit=limit)["client"]
    assert len(bson.encode(document)) <= limit
    name = document["application"]["name"]
    assert name.startswith(WHO)
    assert len(name.encode()) <= 128
    assert isinstance(document["driver"]["name"], str)
    assert isinstance(document["driver"]["version"], str)
    assert isinstance(document["os"]["type"], str)
    if len(bson.encode(client)) < 300 and "driver" in client:
        assert {k for k in client if k != "application"} <= set(document), "what fits is kept"


def test_a_client_that_is_no_document_is_refused() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        read_request(parse_request(command({"hello": 1, "client": "x", "$db": "admin"})))
    assert caught.value.mongo_code == MongoCode.TYPE_MISMATCH


def test_facts_of_a_request() -> None:
    facts = read_request(parse_request(command(FIRST)))
    assert (facts.name, facts.has_client, facts.client_app, facts.driver) == ("hello", True, "shop", "PyMongo 4.20.0")
    assert (facts.platform, facts.load_balanced, facts.asks_mechanisms, facts.speculative) == (
        "CPython 3.11.7",
        True,
        True,
        True,
    )
    assert not facts.awaits
    monitor = command({"hello": 1, "topologyVersion": {}, "maxAwaitTimeMS": 1, "$db": "admin"}, flags=EXHAUST_ALLOWED)
    facts = read_request(parse_request(monitor))
    assert (facts.awaits, facts.exhaust, facts.has_client, facts.client_app) == (True, True, False, None)


@given(user=st.text(max_size=400))
def test_attribution_is_bounded_and_ends_with_the_session(user: str) -> None:
    name = attribution(user, "ses_01jd0000000000000000000000")
    assert len(name.encode()) <= 100
    assert name.startswith("wardgate:")
    assert name.endswith(":ses_01jd0000000000000000000000")
    assert name.isprintable()


@pytest.mark.parametrize("balanced", [True, False])
def test_a_load_balancer_is_told_what_the_client_knows(balanced: bool) -> None:
    again = parse_request(rewrite_request(parse_request(command(FIRST)), WHO, balanced=balanced))
    document = bson.decode(again.body)
    assert ("loadBalanced" in document) is balanced
    assert "speculativeAuthenticate" not in document
    ours = bson.decode(parse_request(build_request(WHO, 1, balanced=balanced)).body)
    assert ("loadBalanced" in ours) is balanced


# --- replies


@pytest.mark.parametrize("kind", ["msg", "streamed", "reply"])
def test_addresses_are_rewritten_in_every_reply(kind: str) -> None:
    raw = {
        "msg": build_msg(bson.encode(REPLY), 9, 7),
        "streamed": build_msg(bson.encode(REPLY), 9, 7, MORE_TO_COME),
        "reply": reply(REPLY),
    }[kind]
    expected: Mapping[str, Any] = {
        **{k: v for k, v in REPLY.items() if k not in ("passives", "arbiters", "compression", "saslSupportedMechs")},
        "hosts": ["127.0.0.1:31001", "127.0.0.1:31002"],
        "primary": "127.0.0.1:31001",
        "me": "127.0.0.1:31001",
    }
    document = shown(raw, HelloView(ADDRESSES))
    assert list(document.items()) == list(expected.items()), "order is kept"
    rewritten = parse_reply(rewrite_reply(parse_reply(raw), HelloView(ADDRESSES)))
    assert rewritten.more_to_come == (kind == "streamed")


def test_addresses_without_a_listener_vanish() -> None:
    document = shown(reply(REPLY), HelloView({}))
    assert document["hosts"] == []
    assert not {"me", "primary", "passives", "arbiters"} & set(document)
    assert b"internal" not in rewrite_reply(parse_reply(reply(REPLY)), HelloView({}))


def test_passives_and_arbiters_with_a_listener() -> None:
    addresses = {"db4.internal:27017": "127.0.0.1:4", "arb.internal:27017": "127.0.0.1:5"}
    document = shown(reply(REPLY), HelloView(addresses))
    assert (document["passives"], document["arbiters"]) == (["127.0.0.1:4"], ["127.0.0.1:5"])


def test_mechanisms_and_service() -> None:
    document = shown(reply({"ok": 1.0}), HelloView({}, asks_mechanisms=True, service_id=b"s" * 12))
    assert document == {"ok": 1.0, "saslSupportedMechs": ["SCRAM-SHA-256"], "serviceId": bson.ObjectId(b"s" * 12)}
    theirs = {"serviceId": bson.ObjectId(), "ok": 1.0}
    assert shown(reply(theirs), HelloView({}, service_id=b"s" * 12)) == theirs


def test_what_needs_no_change_is_the_same_object() -> None:
    for document in (
        {"isWritablePrimary": True, "ok": 1.0},
        {"ok": 0.0, "errmsg": "quiesce", "code": 91},
    ):
        raw = build_msg(bson.encode(document), 9, 7)
        assert rewrite_reply(parse_reply(raw), HelloView({})) is raw


@pytest.mark.parametrize("first", [True, False])
def test_an_error_shows_no_address_and_is_given_nothing(first: bool) -> None:
    """A real server names none there; a hostile one must not send drivers elsewhere by it."""
    error = {"errmsg": "quiesce", "code": 91, "hosts": ["db1.internal:27017", "evil:1"], "me": "evil:1"}
    document = {"ok": 0.0, **error} if first else {**error, "ok": 0.0}
    view = HelloView(ADDRESSES, asks_mechanisms=True, service_id=b"s" * 12)
    kept = {"ok": 0.0, "errmsg": "quiesce", "code": 91, "hosts": ["127.0.0.1:31001"]}
    assert shown(build_msg(bson.encode(document), 9, 7), view) == kept


def test_addresses_of_a_reply() -> None:
    found = read_addresses(parse_reply(reply(REPLY)))
    assert found == HelloAddresses(
        "db1.internal:27017",
        "db1.internal:27017",
        ("db1.internal:27017", "db2.internal:27017", "db3.internal:27017", "db4.internal:27017", "arb.internal:27017"),
    )
    assert read_addresses(parse_reply(reply({"ok": 1.0}))) == HelloAddresses(None, None, ())


RAWS = [command(FIRST), query({"$query": FIRST}), reply(REPLY), build_msg(bson.encode(REPLY), 1, 2)]


@given(st.sampled_from(RAWS), st.lists(st.tuples(st.integers(16), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_hellos_raise_remote_errors_only(raw: bytes, changes: list[tuple[int, int]]) -> None:
    data = bytearray(raw)
    for place, value in changes:
        data[16 + place % (len(data) - 16)] = value
    try:
        request = parse_request(bytes(data))
        read_request(request)
        parse_request(rewrite_request(request, WHO))
    except RemoteProtocolError:
        pass
    try:
        answer = parse_reply(bytes(data))
        read_addresses(answer)
        parse_reply(rewrite_reply(answer, HelloView(ADDRESSES, asks_mechanisms=True)))
    except RemoteProtocolError:
        pass


# --- a set that is shown as a set of one


MAIN = "127.0.0.1:31000"


def test_a_single_port_shows_a_set_of_one() -> None:
    document = shown(reply(REPLY), HelloView({}, single=MAIN))
    assert (document["hosts"], document["me"], document["primary"]) == ([MAIN], MAIN, MAIN)
    for gone in ("passives", "arbiters", "tags", "compression", "saslSupportedMechs"):
        assert gone not in document
    for kept in ("setName", "setVersion", "electionId", "topologyVersion", "ismaster", "operationTime"):
        assert document[kept] == REPLY[kept]


def test_a_single_port_at_a_former_primary_names_no_other() -> None:
    """The moment between a step-down and the closing of the socket: `me` is in the set, and it is not the primary."""
    former = {**REPLY, "me": "db2.internal:27017", "ismaster": False, "secondary": True}
    document = shown(reply(former), HelloView({}, single=MAIN))
    assert (document["hosts"], document["me"]) == ([MAIN], MAIN)
    assert "primary" not in document


@pytest.mark.parametrize("kind", [{"msg": "isdbgrid"}, {}])
def test_a_single_port_changes_nothing_of_a_mongos_or_a_standalone(kind: dict[str, Any]) -> None:
    raw = reply({"ismaster": True, **kind, "maxWireVersion": 17, "ok": 1.0})
    parsed = parse_reply(raw)
    assert rewrite_reply(parsed, HelloView({}, single=MAIN)) is parsed.raw


def test_an_address_may_be_the_path_of_a_socket() -> None:
    path = "/run/user/1000/wardgate-k2/mongodb.sock"
    document = shown(reply(REPLY), HelloView({"db1.internal:27017": path}))
    assert (document["hosts"], document["me"], document["primary"]) == ([path], path, path)


def test_what_is_added_stands_where_a_server_has_it() -> None:
    """PHP shows a document's fields in their order: the times of a cluster come last, `ok` before them."""
    document = {"isWritablePrimary": True, "maxWireVersion": 17, "ok": 1.0, "$clusterTime": {}, "operationTime": 1}
    answer = parse_reply(build_msg(bson.encode(document), 801, 7))
    raw = rewrite_reply(answer, HelloView({}, asks_mechanisms=True, compression=["zlib"]))
    shown = bson.decode(parse_reply(raw).body)
    added = ["saslSupportedMechs", "compression", "ok", "$clusterTime", "operationTime"]
    assert list(shown) == ["isWritablePrimary", "maxWireVersion", *added]
