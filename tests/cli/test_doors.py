"""What the local proxy opens for which deployment, and what it tells when that changes."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import quote

import pytest

from wardgate.cli.access import proxy
from wardgate.cli.access.listeners import Loopback, SocketFolder
from wardgate.cli.access.owner import Owner
from wardgate.tunnel import frames

from .test_local_proxy import SET, STANDALONE, GatewayEnd, Scene, scene

SHARDED = frames.Topology(
    kind="sharded",
    members=[frames.Member(address=f"s{number}.internal:27017", role="mongos") for number in (1, 2)],
)
BALANCED = frames.Topology(kind="load_balanced", members=[frames.Member(address="lb.internal:27017", role="mongos")])


def of_set(**roles: str) -> frames.Topology:
    members = [
        frames.Member.model_validate({"address": f"{name}.internal:27017", "role": roles[name]}) for name in roles
    ]
    return frames.Topology(kind="replica_set", set_name="rs0", members=members)


async def change(s: Scene, control: GatewayEnd, topology: frames.Topology) -> frames.Listeners:
    """The deployment is another; the answer of the local proxy."""
    await control.send(topology)
    listeners = await control.receive()
    assert isinstance(listeners, frames.Listeners)
    await asyncio.sleep(0)
    return listeners


# --- kinds


async def test_each_mongos_gets_a_listener() -> None:
    async with scene() as s:
        _, listeners, facts = await s.begin(SHARDED)
        assert set(listeners.members) == {member.address for member in SHARDED.members}
        assert {each["address"] for each in facts.members} == set(listeners.members.values())
        assert facts.replica_set_uri is None


async def test_clients_of_a_load_balancer_are_told_so() -> None:
    async with scene() as s:
        _, listeners, facts = await s.begin(BALANCED)
        assert listeners.members == {}
        assert facts.uri == f"mongodb://{s.main.address}/?loadBalanced=true"


async def test_a_single_port_is_the_only_one() -> None:
    async with scene(doors=Loopback(single=True)) as s:
        _, listeners, facts = await s.begin(SET)
        assert listeners == frames.Listeners(main=s.main.address, single=True)
        assert facts.replica_set_uri == f"mongodb://{s.main.address}/?replicaSet=rs0"
        assert facts.members == [
            {"address": s.main.address, "role": "primary", "member": "db1.internal:27017"},
        ]


async def test_local_authentication_is_in_the_uris() -> None:
    async with scene(local_auth=True) as s:
        _, _, facts = await s.begin(SET)
        assert facts.uri == f"mongodb://readonly-user:wgs_secret@{s.main.address}/"
        assert facts.shown_uri == f"mongodb://readonly-user@{s.main.address}/"
        assert facts.replica_set_uri is not None
        assert facts.replica_set_uri.startswith("mongodb://readonly-user:wgs_secret@")


# --- sockets


async def test_sockets_in_place_of_ports() -> None:
    doors = SocketFolder()
    async with scene(doors=doors) as s:
        _, listeners, facts = await s.begin(SET)
        paths = [listeners.main, *listeners.members.values()]
        assert sorted(map(Path, paths)) == sorted(doors.folder.iterdir())
        assert facts.uri == f"mongodb://{quote(listeners.main, safe='')}/"
        assert facts.port is None
        for member, path in [(None, listeners.main), *listeners.members.items()]:
            _, writer = await asyncio.open_unix_connection(path)
            data = await s.gateway.data.get()
            opened = await data.receive()
            assert isinstance(opened, frames.Open)
            assert (opened.member, opened.local) == (member, path)
            writer.close()
        s.proxy.interrupt()
        await s.result()
    assert not doors.folder.exists()


async def test_a_socket_of_another_user_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy, "owner_of_unix_peer", lambda _: Owner.OTHERS)
    async with scene(doors=SocketFolder()) as s:
        _, listeners, _ = await s.begin(STANDALONE)
        reader, writer = await asyncio.open_unix_connection(listeners.main)
        assert await reader.read() == b""
        writer.close()
        assert s.gateway.data.empty()
        assert any("another user" in notice for notice in s.view.notices)


# --- changes


async def test_another_primary_is_told_with_its_address() -> None:
    async with scene() as s:
        control, listeners, _ = await s.begin(of_set(db1="primary", db2="secondary"))
        await change(s, control, of_set(db1="unknown", db2="secondary"))
        await change(s, control, of_set(db1="secondary", db2="primary"))
        where = listeners.members["db2.internal:27017"]
        assert s.view.notices == [
            "The set has no primary now; what needs one waits for it.",
            f"The primary is db2.internal:27017 ({where}) now.",
        ]
        assert s.view.changes == []


async def test_members_that_come_and_go_change_the_full_uri() -> None:
    async with scene() as s:
        control, before, _ = await s.begin(of_set(db1="primary", db2="secondary"))
        after = await change(s, control, of_set(db1="primary", db3="secondary"))
        await change(s, control, of_set(db1="primary", db3="secondary", arb="arbiter"))
        [facts] = s.view.changes
        assert facts.replica_set_uri is not None
        assert after.members["db3.internal:27017"] in facts.replica_set_uri
        assert before.members["db2.internal:27017"] not in facts.replica_set_uri
        assert [each["member"] for each in facts.members] == ["db1.internal:27017", "db3.internal:27017"]
        assert s.view.notices == []


async def test_what_stays_the_same_is_not_told() -> None:
    async with scene() as s:
        control, _, _ = await s.begin(of_set(db1="primary", db2="secondary"))
        await change(s, control, of_set(db2="unknown", db1="primary"))
        assert (s.view.notices, s.view.changes) == ([], [])


# --- the end


async def test_the_last_words_for_a_client_reach_it() -> None:
    """The gateway answers a waiting command and closes the stream; on another connection it says that all ends."""
    async with scene() as s:
        control, listeners, _ = await s.begin(STANDALONE)
        host, _, port = listeners.main.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        data = await s.gateway.data.get()
        await data.receive()
        await control.send(frames.Ended(reason="terminated", message="Terminated by an administrator."))
        await s.view.is_ready
        loop = asyncio.get_running_loop()
        last = b"the session was terminated" * 10_000
        sending = asyncio.create_task(loop.sock_sendall(data.sock, last))
        assert await reader.readexactly(len(last)) == last
        await sending
        data.sock.close()
        assert await reader.read() == b""
        writer.close()
        assert (await s.result()).reason == "terminated"
