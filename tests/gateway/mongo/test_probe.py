"""The connection test against everything that people get wrong, and against what is right."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from wardgate.api.models import HopKind, TestResult
from wardgate.gateway.mongo import probe
from wardgate.gateway.mongo.errors import Code
from wardgate.gateway.mongo.login import Login
from wardgate.numbers import Numbers
from wardgate.secret import Secret
from wardgate.testing.certificates import CertificateAuthority
from wardgate.testing.mongo import RS1, STANDALONE, MongoDeployment, MongoFactory
from wardgate.testing.ports import free_ports

TargetOf = Callable[..., Any]
LoginOf = Callable[..., Login]
StartServer = Callable[..., Any]


@pytest.fixture
def plain(mongod: MongoFactory) -> MongoDeployment:
    """A standalone without TLS and without passwords."""
    return mongod(replace(STANDALONE, tls=False, auth=False))


def shape(result: TestResult) -> list[tuple[str, bool]]:
    return [(hop.hop.value, hop.ok) for hop in result.hops]


def failures(result: TestResult) -> list[tuple[str, str | None]]:
    for hop in result.hops:
        assert hop.message.isprintable()
        assert (hop.code is None) == hop.ok
        assert hop.ok or hop.code in set(Code)
        assert hop.duration_ms >= 0
    return [(hop.hop.value, hop.code) for hop in result.hops if not hop.ok]


async def test_standalone(target_of: TargetOf, login_of: LoginOf, mongod_standalone: MongoDeployment) -> None:
    result = await probe.test(target_of(mongod_standalone), login_of(mongod_standalone.ro))
    assert result.ok
    assert shape(result) == [("dns", True), ("tcp", True), ("tls", True), ("login", True), ("topology", True)]
    assert result.hops[-1].message == "standalone"


async def test_without_credentials_there_is_no_login_hop(
    target_of: TargetOf, mongod_standalone: MongoDeployment
) -> None:
    result = await probe.test(target_of(mongod_standalone), None)
    assert result.ok
    assert HopKind.LOGIN not in {hop.hop for hop in result.hops}


async def test_every_member_is_tested_also_those_that_nobody_named(
    target_of: TargetOf, login_of: LoginOf, mongod_rs3: MongoDeployment
) -> None:
    await asyncio.to_thread(mongod_rs3.primary)
    hosts = [("127.0.0.1", mongod_rs3.members[0].port)]
    result = await probe.test(target_of(mongod_rs3, hosts=hosts), login_of(mongod_rs3.ro))
    assert result.ok, result
    logins = {hop.target for hop in result.hops if hop.hop is HopKind.LOGIN}
    assert logins == {member.address for member in mongod_rs3.members}
    assert "3 members" in result.hops[-1].message


async def test_one_dead_seed_is_shown_and_tolerated(target_of: TargetOf, mongod_rs1: MongoDeployment) -> None:
    (dead,) = free_ports(1)
    hosts = [("127.0.0.1", dead), ("127.0.0.1", mongod_rs1.members[0].port)]
    result = await probe.test(target_of(mongod_rs1, hosts=hosts), None)
    assert result.ok
    assert failures(result) == [("tcp", "tcp_refused")]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"hosts": [("nowhere.invalid", 27017)]}, ("dns", "dns_failed")),
        ({"hosts": [("169.254.169.254", 27017)]}, ("dns", "address_refused")),
        ({"ca_certificate": None}, ("tls", "tls_untrusted")),
        ({"ca_certificate": CertificateAuthority.create().pem}, ("tls", "tls_untrusted")),
        ({"tls": False, "ca_certificate": None}, ("tls", "tls_required")),
        ({"set_name": "other"}, ("topology", "topology_set_name")),
    ],
)
async def test_wrong_settings(
    target_of: TargetOf, mongod_rs1: MongoDeployment, changes: dict[str, Any], expected: tuple[str, str]
) -> None:
    result = await probe.test(target_of(mongod_rs1, **changes), None)
    assert not result.ok
    assert failures(result) == [expected]


async def test_certificate_for_another_name(
    target_of: TargetOf, start_server: StartServer, mongo_double: Callable[..., Any]
) -> None:
    ca = CertificateAuthority.create()
    address = await start_server(mongo_double(lambda _: {"ok": 1}), pem=ca.issue(["db.example"]))
    result = await probe.test(target_of(address, tls=True, ca_certificate=ca.pem), None)
    assert failures(result) == [("tls", "tls_hostname")]
    assert "127.0.0.1" in result.hops[-1].message


@pytest.mark.parametrize(("name", "password"), [("ro", "wrong"), ("nobody", "pw")])
async def test_wrong_credentials(target_of: TargetOf, mongod_rs1: MongoDeployment, name: str, password: str) -> None:
    result = await probe.test(target_of(mongod_rs1), Login(name, Secret(password), "admin"))
    assert not result.ok
    assert failures(result) == [("login", "login_failed")]
    assert "code 18" in next(hop.message for hop in result.hops if not hop.ok)


async def test_tls_where_the_server_has_none(target_of: TargetOf, plain: MongoDeployment) -> None:
    result = await probe.test(target_of(plain, tls=True), None)
    assert failures(result) == [("tls", "tls_not_spoken")]
    assert "turn SSL off" in result.hops[-1].message


async def test_plain_server(target_of: TargetOf, plain: MongoDeployment) -> None:
    result = await probe.test(target_of(plain), None)
    assert result.ok
    assert shape(result) == [("dns", True), ("tcp", True), ("topology", True)]


async def test_standalone_under_a_set_name(target_of: TargetOf, plain: MongoDeployment) -> None:
    result = await probe.test(target_of(plain, set_name="rs0"), None)
    assert failures(result) == [("topology", "topology_set_name")]


@pytest.mark.parametrize("first", [0, 1])
async def test_a_host_of_another_deployment_is_said_whoever_answers_first(
    target_of: TargetOf, plain: MongoDeployment, mongod: MongoFactory, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    """A set drops from its list whom it does not know, and with that what was to be said of them."""
    behind = mongod(replace(RS1, tls=False, auth=False))
    seeds = (behind.members[0].address, plain.members[0].address)

    async def one_by_one(self: probe.Probe, addresses: tuple[str, ...] | list[str]) -> None:
        for address in sorted(addresses, key=lambda each: each != seeds[first]):
            self._hops[address] = []
            await self._test_member(address)

    monkeypatch.setattr(probe.Probe, "_test_all", one_by_one)
    result = await probe.test(replace(target_of(behind), seeds=seeds), None)
    assert not result.ok
    assert ("topology", Code.TOPOLOGY_SET_NAME) in failures(result)
    assert any(plain.members[0].address in hop.message for hop in result.hops if not hop.ok)


async def test_not_behind_a_load_balancer(target_of: TargetOf, plain: MongoDeployment) -> None:
    result = await probe.test(target_of(plain, load_balanced=True), None)
    assert ("topology", "topology_member") in failures(result)


async def test_web_server(target_of: TargetOf, start_server: StartServer) -> None:
    async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    address = await start_server(web)
    assert failures(await probe.test(target_of(address), None)) == [("topology", "not_mongodb")]


@pytest.mark.parametrize("tls", [True, False])
async def test_silence(target_of: TargetOf, start_server: StartServer, quick: Numbers, tls: bool) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    address = await start_server(silent)
    numbers = replace(quick, tls_handshake=0.2, server_login=0.2)
    result = await probe.test(target_of(address, tls=tls, numbers=numbers), None)
    assert failures(result) == [("tls", "tls_timeout") if tls else ("topology", "server_silent")]


async def test_the_whole_test_has_a_deadline(target_of: TargetOf, start_server: StartServer, quick: Numbers) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    address = await start_server(silent)
    result = await probe.test(target_of(address, numbers=replace(quick, connection_test=0.2, server_login=60)), None)
    assert not result.ok
    assert failures(result)[-1] == ("topology", "server_silent")


async def test_a_set_whose_own_names_lead_nowhere(
    target_of: TargetOf, start_server: StartServer, mongo_double: Callable[..., Any]
) -> None:
    hello = {"ok": 1, "setName": "rs0", "isWritablePrimary": True, "hosts": ["db1.invalid:27017"], "maxWireVersion": 17}
    address = await start_server(mongo_double(lambda _: hello))
    result = await probe.test(target_of(address), None)
    assert not result.ok
    assert failures(result) == [("dns", "dns_failed"), ("topology", "topology_member")]
    assert "directConnection=true" in result.hops[-1].message
    assert (await probe.test(target_of(address, options={"directConnection": True}), None)).ok


async def test_a_hello_that_names_metadata_is_not_followed(
    target_of: TargetOf, start_server: StartServer, mongo_double: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "ELECTION_WAIT", 0.1)
    hello = {"ok": 1, "setName": "rs0", "secondary": True, "hosts": ["169.254.169.254:80"], "maxWireVersion": 17}
    address = await start_server(mongo_double(lambda _: hello))
    result = await probe.test(target_of(address), None)
    assert ("dns", "address_refused") in failures(result)
    assert not result.ok


async def test_hostile_server_at_the_login(
    target_of: TargetOf, start_server: StartServer, mongo_double: Callable[..., Any]
) -> None:
    def answer(command: dict[str, Any]) -> dict[str, Any]:
        if "saslStart" not in command:
            return {"ok": 1, "isWritablePrimary": True}
        nonce = bytes(command["payload"]).rpartition(b"r=")[2]
        payload = b"r=" + nonce + b"x,s=QUFBQUFBQUFBQUFBQUFBQQ==,i=2000000000"
        return {"ok": 1, "conversationId": 1, "done": False, "payload": payload}

    address = await start_server(mongo_double(answer))
    result = await probe.test(target_of(address), Login("ro", Secret("pw"), "admin"))
    assert failures(result) == [("login", "login_hostile")]
    assert "2000000000" in next(hop.message for hop in result.hops if not hop.ok)


async def test_an_election_is_waited_for(
    target_of: TargetOf, start_server: StartServer, mongo_double: Callable[..., Any]
) -> None:
    seen = 0
    address = ""

    def answer(_: dict[str, Any]) -> dict[str, Any]:
        nonlocal seen
        seen += 1
        role = "isWritablePrimary" if seen > 1 else "secondary"
        return {"ok": 1, "setName": "rs0", role: True, "hosts": [address], "maxWireVersion": 17}

    address = await start_server(mongo_double(answer))
    assert (await probe.test(target_of(address), None)).ok


async def test_a_secondary_that_lags_behind_a_new_user_is_waited_for(
    target_of: TargetOf, login_of: LoginOf, mongod_rs3: MongoDeployment
) -> None:
    lagging = (await asyncio.to_thread(mongod_rs3.secondaries))[0]
    point = {"configureFailPoint": "rsSyncApplyStop"}
    with mongod_rs3.client(member=lagging) as secondary, mongod_rs3.client() as root:
        secondary.admin.command({**point, "mode": "alwaysOn"})
        try:
            root.admin.command("createUser", "late", pwd="pw", roles=[], writeConcern={"w": 1})
            testing = asyncio.create_task(probe.test(target_of(mongod_rs3), Login("late", Secret("pw"), "admin")))
            await asyncio.wait([testing], timeout=0.5)
        finally:
            secondary.admin.command({**point, "mode": "off"})
        assert (await testing).ok
        root.admin.command("dropUser", "late")
