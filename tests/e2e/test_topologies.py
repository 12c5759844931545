"""Every kind of deployment through the whole product: sharded, load-balanced, found by SRV, with members that come and
go, and logins by certificate. The drivers are real; mongos and the load balancer are doubles in front of a real mongod.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pymongo import MongoClient, ReadPreference
from pymongo.errors import AutoReconnect, ConnectionFailure
from pymongo.topology_description import TOPOLOGY_TYPE

from wardgate.testing.dns import DnsServer, Fault
from wardgate.testing.mongo import RS1, MongoDeployment
from wardgate.testing.sharding import LoadBalancer, MongosDouble
from wardgate.testing.stack import Access, Stack

Client = MongoClient[dict[str, Any]]
OpenAccess = Callable[..., Access]
SRV = "cluster0.shop.test"
PATIENCE = 40.0


def until(look: Callable[[], Any], what: str) -> Any:
    """Wait for what has no event to wait for."""
    deadline = time.monotonic() + PATIENCE
    while not (found := look()):
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
    return found


@pytest.fixture(scope="module")
def zone() -> Iterator[DnsServer]:
    with DnsServer() as server:
        yield server


@pytest.fixture(scope="module")
def behind(mongod_binary: Path) -> Iterator[MongoDeployment]:
    """What does the work behind every double; its certificate is for the names of the SRV record too."""
    with MongoDeployment(replace(RS1, names=("m0.shop.test", "m1.shop.test")), mongod=mongod_binary) as deployment:
        yield deployment


@pytest.fixture(scope="module")
def product(zone: DnsServer, behind: MongoDeployment) -> Iterator[Stack]:
    """A product of its own, whose gateway asks our DNS server."""
    folder = Path(tempfile.mkdtemp(prefix="wardgate-topo-"))
    try:
        with Stack(folder) as running:
            running.wardgate.variables["WARDGATE_GATEWAY_DNS"] = zone.address
            yield running.up()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def open_access(product: Stack) -> Iterator[OpenAccess]:
    opened: list[Access] = []

    def open_one(resource: str, account: str = "rw", *options: str) -> Access:
        opened.append(product.access(resource, account, "1h", *options))
        return opened[-1]

    yield open_one
    for one in opened:
        one.process.stop()


def kind_of(client: Client) -> str:
    client.admin.command("ping")
    name: str = TOPOLOGY_TYPE._fields[client.topology_description.topology_type]
    return name


# --- sharded ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def doubles(behind: MongoDeployment) -> Iterator[list[MongosDouble]]:
    with contextlib.ExitStack() as ends:
        pair = [MongosDouble(behind) for _ in range(2)]
        for each in pair:
            ends.callback(each.close)
        yield pair


@pytest.fixture(scope="module")
def cluster(product: Stack, behind: MongoDeployment, doubles: list[MongosDouble]) -> str:
    where = f"mongodb://{','.join(each.address for each in doubles)}/"
    saved = product.add_resource("sharded", behind, connection_string=where)
    assert "2 mongos" in saved["test"]["hops"][-1]["message"]
    product.add_account("rw", "sharded", behind.rw)
    return "sharded"


@pytest.fixture
def whole(doubles: list[MongosDouble]) -> Iterator[list[MongosDouble]]:
    """Both doubles alive, before and after."""
    yield doubles
    for each in doubles:
        each.start()


def test_each_mongos_is_a_member(cluster: str, whole: list[MongosDouble], open_access: OpenAccess) -> None:
    opened = open_access(cluster)
    assert opened.replica_set_uri is None
    assert [member["role"] for member in opened.members] == ["mongos", "mongos"]
    assert {member["member"] for member in opened.members} == {each.address for each in whole}
    for member in opened.members:
        (double,) = [each for each in whole if each.address == member["member"]]
        before = double.commands["find"]
        with Client(f"mongodb://{member['address']}/") as client:
            assert kind_of(client) == "Sharded"
            assert client.shop.orders.find_one({"_id": -1}) is None
            assert "setName" not in client.admin.command("hello")
        assert double.commands["find"] == before + 1


def test_drivers_work_on_the_main_port(cluster: str, whole: list[MongosDouble], open_access: OpenAccess) -> None:
    opened = open_access(cluster)
    with Client(opened.uri) as client:
        assert kind_of(client) == "Sharded"
        orders = client.sharded_main.orders
        orders.drop()
        orders.insert_many({"_id": number, "text": "x" * 1000} for number in range(500))
        assert len(list(orders.find(batch_size=10))) == 500
        assert orders.aggregate([{"$group": {"_id": None, "n": {"$sum": 1}}}]).next()["n"] == 500
        # A secondary's reads go through a mongos as well.
        assert orders.with_options(read_preference=ReadPreference.SECONDARY_PREFERRED).count_documents({}) == 500


def test_transactions_are_pinned_and_carry_the_recovery_token(
    cluster: str, whole: list[MongosDouble], open_access: OpenAccess
) -> None:
    opened = open_access(cluster)
    both = ",".join(member["address"] for member in opened.members)
    with Client(f"mongodb://{both}/", localThresholdMS=10_000) as client:  # a slow one is as good
        orders = client.sharded_txn.orders
        orders.drop()
        orders.insert_one({"_id": "first"})
        begun = [len(each.transactions) for each in whole]
        for number in range(8):
            with client.start_session() as session:

                def work(session: Any, number: int = number) -> None:
                    for part in range(3):
                        orders.insert_one({"_id": (number * 10 + part)}, session=session)
                    assert session._transaction.recovery_token == {"recoveredShardId": "shard0"}

                session.with_transaction(work)
        assert orders.count_documents({}) == 25
        assert all(len(each.transactions) > before for each, before in zip(whole, begun, strict=True)), "both were used"


def test_cursors_stay_where_they_were_opened(cluster: str, whole: list[MongosDouble], open_access: OpenAccess) -> None:
    opened = open_access(cluster)
    both = ",".join(member["address"] for member in opened.members)
    with Client(f"mongodb://{both}/", localThresholdMS=10_000) as client:  # a slow one is as good
        orders = client.sharded_cursors.orders
        orders.drop()
        orders.insert_many({"_id": number} for number in range(200))
        cursors = [orders.find(batch_size=20) for _ in range(10)]
        found = 0
        for _ in range(200):
            found += sum(1 for cursor in cursors if next(cursor, None) is not None)
        assert found == 2000


def test_one_mongos_dies_and_the_main_port_goes_to_the_other(
    cluster: str, whole: list[MongosDouble], open_access: OpenAccess
) -> None:
    opened = open_access(cluster)
    with Client(opened.uri) as client:
        orders = client.sharded_death.orders
        orders.drop()
        orders.insert_one({"_id": "before"})
        first, second = sorted(whole, key=lambda each: -each.commands["insert"])
        serving = max(whole, key=lambda each: each.connections)
        other = next(each for each in whole if each is not serving)
        assert {first, second} == {serving, other}
        before = other.commands["insert"]
        serving.kill()
        orders.insert_one({"_id": "after"})
        assert other.commands["insert"] > before
        serving.start()
        assert orders.count_documents({}) == 2


def test_the_clients_metadata_is_cut_to_what_a_mongos_takes(
    cluster: str, whole: list[MongosDouble], open_access: OpenAccess
) -> None:
    opened = open_access(cluster)
    with Client(opened.uri, appname="a" * 128) as client:
        assert client.admin.command("ping")["ok"] == 1


def test_what_is_no_mongos_among_them_is_said(
    product: Stack, cluster: str, behind: MongoDeployment, whole: list[MongosDouble]
) -> None:
    where = f"mongodb://{whole[0].address},{behind.members[0].address}/"
    answer = product.wardgate.run(
        *("pam", "resource", "add", "mixed", "--project-id", product.project_id, "--gateway", "near-db"),
        *("--connection-string", where, "--ca-certificate", behind.ca_path, "--json"),
        check=False,
    )
    assert answer.status == 1
    assert answer.problem()["code"] == "connection_test_failed"


# --- load-balanced ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def balancer(behind: MongoDeployment) -> Iterator[LoadBalancer]:
    with contextlib.ExitStack() as ends:
        pair = [MongosDouble(behind, balanced=True) for _ in range(2)]
        for each in pair:
            ends.callback(each.close)
        front = LoadBalancer([each.port for each in pair])
        ends.callback(front.close)
        yield front


@pytest.fixture(scope="module")
def balanced(product: Stack, behind: MongoDeployment, balancer: LoadBalancer) -> str:
    where = f"mongodb://{balancer.address}/?loadBalanced=true"
    saved = product.add_resource("balanced", behind, connection_string=where)
    assert saved["test"]["hops"][-1]["message"] == "behind a load balancer"
    product.add_account("rw", "balanced", behind.rw)
    return "balanced"


def test_a_load_balancer(balanced: str, balancer: LoadBalancer, open_access: OpenAccess) -> None:
    opened = open_access(balanced)
    assert opened.uri.endswith("/?loadBalanced=true")
    with Client(opened.uri) as client:
        assert kind_of(client) == "LoadBalanced"
        orders = client.balanced.orders
        orders.drop()
        orders.insert_many({"_id": number} for number in range(100))
        cursors = [orders.find(batch_size=10) for _ in range(4)]
        assert sum(len(list(cursor)) for cursor in cursors) == 400
        with client.start_session() as session, session.start_transaction():
            orders.insert_one({"_id": "a"}, session=session)
            orders.insert_one({"_id": "b"}, session=session)
        assert orders.count_documents({}) == 102
        # Two cursors that are open at once hold two connections, and these lie at different mongos.
        one, two = orders.find(batch_size=10), orders.find(batch_size=10)
        next(one)
        next(two)
        assert len(list(one)) + len(list(two)) == 202
    assert len(balancer.served) == 2


def test_a_client_that_knows_of_no_load_balancer_is_told(balanced: str, open_access: OpenAccess) -> None:
    opened = open_access(balanced)
    plain = f"mongodb://127.0.0.1:{opened.port}/"
    with Client(plain, serverSelectionTimeoutMS=3000) as client, pytest.raises(ConnectionFailure) as caught:
        client.admin.command("ping")
    assert "load balancer" in str(caught.value)


def test_loadbalanced_for_what_is_not(product: Stack, behind: MongoDeployment) -> None:
    where = f"mongodb://{behind.members[0].address}/?loadBalanced=true"
    answer = product.wardgate.run(
        *("pam", "resource", "add", "unbalanced", "--project-id", product.project_id, "--gateway", "near-db"),
        *("--connection-string", where, "--ca-certificate", behind.ca_path, "--json"),
        check=False,
    )
    assert answer.status == 1
    assert "not behind a load balancer" in answer.problem()["detail"]


def test_a_balanced_client_of_a_replica_set(product: Stack, behind: MongoDeployment, open_access: OpenAccess) -> None:
    """`loadBalanced=true` is the client's choice where the deployment is none: it gets a service id."""
    product.add_resource("set", behind)
    product.add_account("rw", "set", behind.rw)
    opened = open_access("set")
    with Client(f"mongodb://127.0.0.1:{opened.port}/?loadBalanced=true") as client:
        assert kind_of(client) == "LoadBalanced"
        client.balanced_set.orders.insert_one({"_id": 1})
        assert len(list(client.balanced_set.orders.find())) == 1


# --- SRV ----------------------------------------------------------------------------------------------------------


def test_srv_leads_to_a_replica_set(
    product: Stack, behind: MongoDeployment, zone: DnsServer, open_access: OpenAccess
) -> None:
    member = behind.members[0]
    zone.add("m0.shop.test", "A", "127.0.0.1")
    zone.add("m1.shop.test", "A", "127.0.0.1")
    zone.add_service(SRV, ("m0.shop.test", member.port))
    zone.add(SRV, "TXT", '"authSource=admin&replicaSet=rs0"')
    saved = product.add_resource("srv", behind, connection_string=f"mongodb+srv://{SRV}/?retryWrites=true")
    first = saved["test"]["hops"][0]
    assert (first["hop"], first["target"], first["ok"]) == ("dns", f"_mongodb._tcp.{SRV}", True)
    product.add_account("rw", "srv", behind.rw)
    opened = open_access("srv")
    assert opened.replica_set_uri is not None
    with Client(opened.replica_set_uri) as client:
        client.srv.orders.insert_one({"_id": 1})
        assert kind_of(client) == "ReplicaSetWithPrimary"
    zone.fail(f"_mongodb._tcp.{SRV}", Fault.REFUSED)
    tested = product.wardgate.run(
        *("pam", "resource", "test", "srv", "--project-id", product.project_id, "--json"), check=False
    )
    assert tested.status == 1
    (hop,) = tested.json()["hops"]
    assert (hop["code"], hop["target"]) == ("dns_failed", f"_mongodb._tcp.{SRV}")
    with Client(opened.uri) as client:  # the session knows its members
        assert client.srv.orders.count_documents({}) == 1
    zone.fail(f"_mongodb._tcp.{SRV}", None)


def test_srv_leads_to_a_sharded_cluster(
    product: Stack, behind: MongoDeployment, zone: DnsServer, open_access: OpenAccess
) -> None:
    with contextlib.ExitStack() as ends:
        pair = [MongosDouble(behind) for _ in range(2)]
        for each in pair:
            ends.callback(each.close)
        name = "grid.shop.test"
        for number in range(2):
            zone.add(f"m{number}.shop.test", "A", "127.0.0.1")
        zone.add_service(name, *[(f"m{number}.shop.test", each.port) for number, each in enumerate(pair)])
        product.add_resource("grid", behind, connection_string=f"mongodb+srv://{name}")
        product.add_account("rw", "grid", behind.rw)
        opened = open_access("grid")
        assert {member["member"] for member in opened.members} == {
            f"m{number}.shop.test:{each.port}" for number, each in enumerate(pair)
        }
        with Client(opened.uri) as client:
            assert kind_of(client) == "Sharded"
            client.grid.orders.insert_one({"_id": 1})
        opened.close()


# --- members that come and go -------------------------------------------------------------------------------------


def test_members_that_come_and_go_while_a_session_is_open(
    product: Stack, mongod_binary: Path, open_access: OpenAccess
) -> None:
    with MongoDeployment(RS1, mongod=mongod_binary) as growing:
        product.add_resource("growing", growing)
        product.add_account("rw", "growing", growing.rw)
        opened = open_access("growing")
        assert opened.replica_set_uri is not None
        with Client(opened.replica_set_uri, heartbeatFrequencyMS=500) as client:
            client.growing.orders.insert_one({"_id": 1})
            assert len(client.nodes) == 1
            growing.add_member(priority=0, votes=0, hidden=True)
            second = growing.add_member(priority=0, votes=0)
            until(lambda: len(client.nodes) == 2, "the driver does not see the new member")
            assert all(host == "127.0.0.1" for host, _ in client.nodes)
            ports = {port for _, port in client.nodes}
            assert not ports & {member.port for member in growing.members}
            reader = client.growing.get_collection("orders", read_preference=ReadPreference.SECONDARY)
            until(lambda: reader.count_documents({}) == 1, "the secondary serves no reads")
            hello = client.admin.command("hello")
            shown = {*hello["hosts"], *hello.get("passives", []), hello["me"], hello["primary"]}
            assert {urlsplit(f"//{address}").port for address in shown} == ports
            growing.remove_member(second)
            until(lambda: len(client.nodes) == 1, "the driver still sees the member that left")
            client.growing.orders.insert_one({"_id": 2})
        opened.close()


def test_a_member_whose_name_is_in_capitals(product: Stack, mongod_binary: Path, open_access: OpenAccess) -> None:
    with MongoDeployment(RS1, mongod=mongod_binary) as shouting:
        port = shouting.members[0].port
        shouting.set_member(0, host=f"LocalHost:{port}")
        product.add_resource("shouting", shouting)
        product.add_account("rw", "shouting", shouting.rw)
        opened = open_access("shouting")
        assert [member["member"] for member in opened.members] == [f"localhost:{port}"]
        assert opened.replica_set_uri is not None
        with Client(opened.replica_set_uri) as client:
            client.shouting.orders.insert_one({"_id": 1})
            hello = client.admin.command("hello")
            assert hello["hosts"] == [opened.members[0]["address"]]
            assert hello["me"] == hello["hosts"][0]
        opened.close()


# --- logins and servers of other kinds ----------------------------------------------------------------------------


def test_a_client_certificate_as_the_login(product: Stack, behind: MongoDeployment, open_access: OpenAccess) -> None:
    pem = behind.folder / "client.pem"
    pem.write_bytes(behind.create_x509_login("e2e reader", ["readWriteAnyDatabase"]))
    key = pem.read_bytes().splitlines()[1]
    product.add_resource("x509", behind)
    added = product.wardgate.run(
        *("pam", "account", "add", "rw", "--project-id", product.project_id, "--resource", "x509"),
        *("--mechanism", "MONGODB-X509", "--client-certificate", pem, "--json"),
    ).json()
    assert added["username"] == "CN=e2e reader,O=wardgate test clients"
    opened = open_access("x509")
    with Client(opened.uri) as client:
        client.x509.orders.insert_one({"_id": 1})
        status = client.admin.command("connectionStatus")
        assert status["authInfo"]["authenticatedUsers"] == [{"user": added["username"], "db": "$external"}]
    shown = product.wardgate.run(
        *("pam", "account", "show", "rw", "--project-id", product.project_id, "--resource", "x509")
    ).out
    assert "MONGODB-X509" in shown
    assert "expires" in shown
    for path in product.folder.rglob("*"):
        assert not path.is_file() or key not in path.read_bytes(), path


def test_a_server_that_wants_an_api_version(product: Stack, mongod_binary: Path, open_access: OpenAccess) -> None:
    from pymongo.server_api import ServerApi

    with MongoDeployment(RS1, mongod=mongod_binary) as strict:
        product.add_resource("strict", strict)
        product.add_account("rw", "strict", strict.rw)
        with strict.client() as client:
            client.admin.command("setParameter", 1, requireApiVersion=True)
        tested = product.wardgate.run(
            *("pam", "resource", "test", "strict", "--account", "rw", "--project-id", product.project_id, "--json")
        ).json()
        assert tested["ok"], tested
        opened = open_access("strict")
        with Client(opened.uri, server_api=ServerApi("1", strict=True)) as client:
            client.strict.orders.insert_one({"_id": 1})
            assert client.strict.orders.count_documents({}) == 1
        with Client(opened.uri, serverSelectionTimeoutMS=5000) as client, pytest.raises(Exception, match="apiVersion"):
            client.strict.orders.find_one()
        opened.close()


# --- several seeds ------------------------------------------------------------------------------------------------


def test_one_dead_seed_of_three(product: Stack, behind: MongoDeployment, open_access: OpenAccess) -> None:
    from wardgate.testing.ports import free_ports

    dead = [f"127.0.0.1:{port}" for port in free_ports(2)]
    where = f"mongodb://{dead[0]},{behind.members[0].address},{dead[1]}/?replicaSet=rs0"
    saved = product.add_resource("seeds", behind, connection_string=where)
    assert [hop["ok"] for hop in saved["test"]["hops"]].count(False) == 2
    product.add_account("rw", "seeds", behind.rw)
    opened = open_access("seeds")
    assert [member["member"] for member in opened.members] == [behind.members[0].address]
    with Client(opened.uri) as client:
        with contextlib.suppress(AutoReconnect):
            client.admin.command("ping")
        assert client.seeds.orders.find_one() is None
