"""The driver specification's rules, told as dialogues of hellos, and their invariants under any order of them."""

from __future__ import annotations

from typing import Any

import pytest
from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st

from wardgate.gateway.mongo.discovery import Description, Discovery, Kind, Role, Topology

A, B, C, D = "a:27017", "b:27017", "c:27017", "d:27017"


def oid(number: int) -> ObjectId:
    return ObjectId(number.to_bytes(12, "big"))


def hello(**fields: Any) -> dict[str, Any]:
    return {"ok": 1.0, "maxWireVersion": 17, **fields}


def primary(*hosts: str, **fields: Any) -> dict[str, Any]:
    return hello(**{"setName": "rs0", "isWritablePrimary": True, "hosts": list(hosts), **fields})


def secondary(*hosts: str, **fields: Any) -> dict[str, Any]:
    return hello(**{"setName": "rs0", "secondary": True, "hosts": list(hosts), **fields})


def roles(topology: Topology) -> dict[str, str]:
    return {member.address: member.role.value for member in topology.members}


def tell(discovery: Discovery, address: str, **fields: Any) -> Topology:
    return discovery.update(Description.of(address, fields))


def test_a_set_from_one_secondary() -> None:
    discovery = Discovery([B])
    assert discovery.topology.kind is Kind.UNKNOWN
    seen = tell(discovery, B, **secondary(A, B, arbiters=[C], passives=[D]))
    assert (seen.kind, seen.set_name, seen.primary) == (Kind.REPLICA_SET, "rs0", None)
    assert set(discovery.addresses) == {A, B, C, D}
    seen = tell(discovery, A, **primary(A, B, arbiters=[C], passives=[D]))
    assert seen.primary == A
    seen = tell(discovery, C, **hello(setName="rs0", arbiterOnly=True, hosts=[A, B], arbiters=[C]))
    assert roles(seen) == {B: "secondary", A: "primary", C: "arbiter", D: "unknown"}


def test_a_seed_under_another_name_gives_way() -> None:
    discovery = Discovery(["localhost:27017"])
    seen = tell(discovery, "localhost:27017", **primary(A, B, me=A))
    assert set(roles(seen)) == {A, B}
    seen = tell(discovery, A, **primary(A, B, me=A))
    assert seen.primary == A


def test_a_secondary_under_another_name_is_dropped_before_there_is_a_primary() -> None:
    discovery = Discovery(["alias:1"], set_name="rs0")
    assert set(roles(tell(discovery, "alias:1", **secondary(A, B, me=B)))) == {A, B}


def test_addresses_are_compared_in_lower_case() -> None:
    discovery = Discovery([A])
    assert tell(discovery, A, **primary("A:27017", "B", me="A:27017")).primary == A
    assert set(discovery.addresses) == {A, B}


@pytest.mark.parametrize("wire", [13, 17])
def test_a_stale_primary_is_not_believed(wire: int) -> None:
    discovery = Discovery([A, B])
    tell(discovery, A, **primary(A, B, setVersion=1, electionId=oid(1), maxWireVersion=wire))
    seen = tell(discovery, B, **primary(A, B, setVersion=1, electionId=oid(2), maxWireVersion=wire))
    assert (seen.primary, roles(seen)[A]) == (B, "unknown")
    seen = tell(discovery, A, **primary(A, B, setVersion=1, electionId=oid(1), maxWireVersion=wire))
    assert (seen.primary, roles(seen)[A]) == (B, "unknown")
    seen = tell(discovery, A, **primary(A, B, setVersion=1, electionId=oid(3), maxWireVersion=wire))
    assert (seen.primary, roles(seen)[B]) == (A, "unknown")


def test_order_of_election_and_version_follows_the_wire_version() -> None:
    new = Discovery([A, B])
    tell(new, A, **primary(A, B, setVersion=2, electionId=oid(1)))
    assert tell(new, B, **primary(A, B, setVersion=1, electionId=oid(2))).primary == B

    old = Discovery([A, B])
    tell(old, A, **primary(A, B, setVersion=2, electionId=oid(1), maxWireVersion=13))
    assert tell(old, B, **primary(A, B, setVersion=1, electionId=oid(2), maxWireVersion=13)).primary == A


def test_step_down_and_new_members() -> None:
    discovery = Discovery([A])
    tell(discovery, A, **primary(A, B, setVersion=1, electionId=oid(1)))
    assert tell(discovery, A, **secondary(A, B)).primary is None
    seen = tell(discovery, B, **primary(A, B, C, setVersion=2, electionId=oid(2)))
    assert (seen.primary, set(roles(seen))) == (B, {A, B, C})
    seen = tell(discovery, B, **primary(B, C, setVersion=3, electionId=oid(2)))
    assert set(roles(seen)) == {B, C}


def test_wrong_set_name_is_reported_and_watched_on() -> None:
    discovery = Discovery([A], set_name="rs1")
    seen = tell(discovery, A, **primary(A, B))
    assert seen.problem == f"{A} belongs to replica set rs0, but the resource names rs1."
    assert (seen.primary, discovery.addresses) == (None, (A,))
    seen = tell(discovery, A, **primary(A, B, setName="rs1"))
    assert (seen.problem, seen.primary) == (None, A)


def test_standalone() -> None:
    discovery = Discovery([A])
    seen = tell(discovery, A, **hello(isWritablePrimary=True))
    assert (seen.kind, seen.primary, roles(seen)) == (Kind.STANDALONE, A, {A: "standalone"})
    seen = discovery.update(Description.unknown(A, "gone"))
    assert (seen.kind, seen.primary) == (Kind.STANDALONE, None)


def test_standalone_where_a_set_is_named() -> None:
    seen = tell(Discovery([A], set_name="rs0"), A, **hello(isWritablePrimary=True))
    assert seen.problem == f"{A} is no member of a replica set, but the resource names rs0."


def test_standalone_among_several_seeds() -> None:
    seen = tell(Discovery([A, B]), A, **hello(isWritablePrimary=True))
    assert seen.primary is None
    assert seen.problem is not None


def test_mongos_keep_the_main_port_where_it_is() -> None:
    discovery = Discovery([A, B])
    mongos = hello(msg="isdbgrid", isWritablePrimary=True)
    assert tell(discovery, B, **mongos).primary == B
    seen = tell(discovery, A, **mongos)
    assert (seen.kind, seen.primary) == (Kind.SHARDED, B)
    assert discovery.update(Description.unknown(B)).primary == A
    assert tell(discovery, B, **mongos).primary == A


def test_direct_stays_on_its_host() -> None:
    discovery = Discovery([A], direct=True)
    seen = tell(discovery, A, **secondary(A, B, me="elsewhere:1"))
    assert (seen.kind, seen.set_name, roles(seen), seen.primary) == (Kind.REPLICA_SET, "rs0", {A: "secondary"}, A)


def test_load_balanced_is_not_watched() -> None:
    discovery = Discovery([A], load_balanced=True)
    assert discovery.addresses == ()
    assert (discovery.topology.kind, discovery.topology.primary) == (Kind.LOAD_BALANCED, A)


def test_a_member_that_starts_is_no_contradiction() -> None:
    discovery = Discovery([A, B], set_name="rs0")
    tell(discovery, A, **primary(A, B))
    seen = tell(discovery, B, **hello(isreplicaset=True))
    assert (seen.problem, roles(seen)[B]) == (None, "other")


def test_refused_hello_is_no_member() -> None:
    described = Description.of(A, {"ok": 0, "errmsg": "shutting\x1b[31mdown", "code": 91})
    assert described.role is Role.UNKNOWN
    assert described.error is not None
    assert described.error.isprintable()


_HOSTILE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.binary(max_size=12),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=5,
)
_KEYS = [
    "ok",
    "setName",
    "hosts",
    "passives",
    "arbiters",
    "me",
    "setVersion",
    "electionId",
    "msg",
    "secondary",
    "hidden",
]


@given(st.lists(st.dictionaries(st.sampled_from(_KEYS), _HOSTILE), max_size=5))
def test_hostile_hellos_only_ever_describe(hellos: list[dict[str, Any]]) -> None:
    discovery = Discovery([A, B])
    for each in hellos:
        discovery.update(Description.of(A, {"ok": 1, **each}))
        assert discovery.addresses


@st.composite
def dialogue(draw: st.DrawFn) -> list[tuple[str, dict[str, Any]]]:
    hosts = [A, B, C, D]
    steps = []
    for _ in range(draw(st.integers(1, 20))):
        address = draw(st.sampled_from(hosts))
        listed = draw(st.lists(st.sampled_from(hosts), min_size=1, unique=True))
        kind = draw(st.sampled_from([primary, secondary, None]))
        version, election = draw(st.integers(1, 3)), draw(st.integers(1, 4))
        fields = kind(*listed, setVersion=version, electionId=oid(election)) if kind else {"ok": 0}
        steps.append((address, fields))
    return steps


@given(dialogue())
def test_invariants(steps: list[tuple[str, dict[str, Any]]]) -> None:
    discovery = Discovery([A, B])
    newest = b""
    for address, fields in steps:
        seen = tell(discovery, address, **fields)
        primaries = [member.address for member in seen.members if member.role is Role.PRIMARY]
        assert len(primaries) <= 1
        assert seen.members
        assert seen.primary == (primaries[0] if primaries else None)
        for each in discovery.descriptions:
            if each.role is Role.PRIMARY and each.election_id is not None:
                assert each.election_id >= newest
                newest = each.election_id
