"""Two nodes over one PostgreSQL at once: what one of them may do only once, or only so often, both together do no more.

The second node is another set of services with an engine of its own, as another process has.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from sqlalchemy import select

from wardgate.api.machine import LinkEvent, SessionOrder
from wardgate.api.models import EndReason
from wardgate.control.audit_log import Cause, Event
from wardgate.control.cluster import JobLeases, Signals
from wardgate.control.cluster.model import SignalRow
from wardgate.control.db import Database
from wardgate.control.fleet.model import ConnectionTestRow
from wardgate.control.jobs import Background, Jobs
from wardgate.control.services import Services, open_services
from wardgate.control.vault import MasterKey
from wardgate.control.web import create_app
from wardgate.net import certs

from .conftest import ADMIN_EMAIL, PASSWORD
from .machines import PREFIX, Machine, enrol, passed

Client = httpx2.AsyncClient


@pytest.fixture
async def other(control: Any) -> AsyncIterator[Any]:
    """The same installation at another node."""
    if control.cluster is None:
        pytest.skip("an embedded database has one node")
    services = await open_services(
        control.services.settings,
        Database(control.url),
        [MasterKey.of(bytes(range(32)))],
        sources=control.services.sources,
        hasher=control.services.identity._hasher,
    )
    yield replace(control, services=services, app=create_app(services))
    await services.close()


async def test_the_audit_log_has_one_end(control: Any, other: Any) -> None:
    async def append(services: Services, number: int) -> None:
        async with services.database.write() as session:
            await services.audit_log.append(session, Cause("test"), Event.PROJECT_CREATED, f"prj_{number}")

    before = len(await control.events())
    await asyncio.gather(*(append(each.services, n) for n in range(20) for each in (control, other)))
    assert len(await control.events()) == before + 40
    async with control.services.database.read() as session:
        assert await control.services.audit_log.first_broken(session) is None


async def test_what_a_block_has_read_stays_true_until_it_commits(control: Any, other: Any) -> None:
    """Each adds what it has counted: with anything less than one block at a time, numbers come twice."""

    async def count(services: Services) -> None:
        async with services.database.write() as session:
            there = len((await session.scalars(select(SignalRow).where(SignalRow.topic == "mark"))).all())
            await asyncio.sleep(0)
            session.add(SignalRow(node="n", topic="mark", key=str(there), body={}, sent_at=control.clock()))

    await asyncio.gather(*(count(each.services) for _ in range(10) for each in (control, other)))
    async with control.services.database.read() as session:
        keys = (await session.scalars(select(SignalRow.key).where(SignalRow.topic == "mark"))).all()
    assert sorted(map(int, keys)) == list(range(20))


async def test_an_enrolment_token_works_once(control: Any, other: Any, admin: Client, shop: str) -> None:
    created = (await admin.post(f"{PREFIX}/projects/{shop}/gateways", json={"name": "raced"})).json()

    async def attempt(node: Any) -> int:
        async with node.client() as http:
            return (await enrol(http, created["token"], certs.make_key())).status_code

    outcomes = await asyncio.gather(*(attempt(node) for _ in range(4) for node in (control, other)))
    assert sorted(outcomes) == [200] + [403] * 7


async def test_a_signed_request_is_accepted_by_one_node_once(control: Any, other: Any, gateway: Machine) -> None:
    header = gateway.sign("POST", f"{PREFIX}/gateway/heartbeat", b"{}")

    async def send(node: Any) -> int:
        async with node.client() as http:
            headers = {"authorization": header, "content-type": "application/json"}
            answer = await http.post(f"{PREFIX}/gateway/heartbeat", content=b"{}", headers=headers)
            return int(answer.status_code)

    outcomes = await asyncio.gather(*(send(node) for _ in range(4) for node in (control, other)))
    assert sorted(outcomes) == [200] + [401] * 7
    control.clock.forward(hours=1)
    await control.services.machine_guard.sweep()
    assert await control.count("used_assertions") == 0


async def test_a_refresh_token_that_two_use_at_once_ends_the_sign_in(control: Any, other: Any, nobody: Client) -> None:
    login = {"email": ADMIN_EMAIL, "password": PASSWORD}
    tokens = (await nobody.post(f"{PREFIX}/auth/login", json=login)).json()

    async def refresh(node: Any) -> int:
        async with node.client() as http:
            body = {"refresh_token": tokens["refresh_token"]}
            return int((await http.post(f"{PREFIX}/auth/refresh", json=body)).status_code)

    assert sorted(await asyncio.gather(*(refresh(node) for node in (control, other)))) == [200, 401]
    async with other.client(tokens["access_token"]) as http:
        assert (await http.get(f"{PREFIX}/auth/whoami")).status_code == 401


async def test_two_projects_of_one_name_can_not_be_made(control: Any, other: Any, admin: Client) -> None:
    async with await other.login(ADMIN_EMAIL) as elsewhere:
        made = await asyncio.gather(
            *(http.post(f"{PREFIX}/projects", json={"name": "same"}) for _ in range(3) for http in (admin, elsewhere))
        )
    assert sorted(each.status_code for each in made) == [201] + [409] * 5


async def test_a_signal_reaches_the_other_node(control: Any, other: Any) -> None:
    heard: asyncio.Queue[tuple[str, dict[str, Any]]] = asyncio.Queue()
    other.services.signals.on("news", lambda key, body: heard.put_nowait((key, body)))
    running = [asyncio.create_task(each.services.signals.run()) for each in (control, other)]
    while control.services.signals._seen is None or other.services.signals._seen is None:
        await asyncio.sleep(0.01)
    control.services.signals.send("news", "k", {"n": 1})
    other.services.signals.send("news", "own")
    async with asyncio.timeout(20):
        assert sorted([(await heard.get())[0], (await heard.get())[0]]) == ["k", "own"]
    assert heard.empty(), "its own signal was heard once"
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def test_an_order_at_one_node_goes_down_the_link_at_the_other(control: Any, other: Any, gateway: Machine) -> None:
    running = [asyncio.create_task(each.services.signals.run()) for each in (control, other)]
    while control.services.signals._seen is None:
        await asyncio.sleep(0.01)
    with control.services.hub.connected(gateway.id, gateway.instance_id) as link:
        await control.services.fleet.keep_links()
        assert await other.services.fleet.gateway_online(gateway.id)
        other.services.fleet.order_end(gateway.id, SessionOrder(session_id="ses_x", reason=EndReason.TERMINATED))
        async with asyncio.timeout(20):
            async for line in link.lines(asyncio.Event()):
                if line.startswith("data: "):
                    break
        event = LinkEvent.model_validate_json(line.removeprefix("data: "))
        assert event.end is not None
        assert event.end.session_id == "ses_x"
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


async def test_of_two_nodes_one_does_a_job_and_the_other_takes_over(control: Any, other: Any) -> None:
    did: list[str] = []
    done = asyncio.Event()

    def job(node: Any) -> Jobs:
        services = node.services

        async def work() -> None:
            did.append(services.signals.node)
            if len(did) >= 5:
                done.set()

        return Jobs([Background("raced", work, 0.01)], services.leases)

    first, second = job(control), job(other)
    first.start()
    second.start()
    async with asyncio.timeout(30):
        await done.wait()
    assert len(set(did)) == 1
    holder, follower = (control, other) if did[0] == control.services.signals.node else (other, control)
    await (first if holder is control else second).stop()
    await holder.services.leases.let_go()
    did.clear()
    done.clear()
    async with asyncio.timeout(30):
        await done.wait()
    assert set(did) == {follower.services.signals.node}
    await first.stop()
    await second.stop()


async def test_a_lease_is_not_taken_from_who_has_it(control: Any, other: Any) -> None:
    mine, theirs = (JobLeases(each.services.database, each.services.signals.node) for each in (control, other))
    async with mine.held("job", 1) as ours, theirs.held("job", 1) as too:
        assert (ours, too) == (True, False)
    async with theirs.held("job", 1) as still:
        assert not still, "it is kept for a few turns"


async def test_a_connection_test_is_answered_at_another_node(control: Any, other: Any, gateway: Machine) -> None:
    """Its order is a row and its end a signal, so the gateway may speak to any node."""
    assert isinstance(other.services.signals, Signals)
    row = {"id": "tok_x", "gateway_id": gateway.id, "instance_id": gateway.instance_id}
    async with control.services.database.write() as session:
        session.add(
            ConnectionTestRow(
                **row, order={}, sealed_credentials=None, handed=[], result=None, expires_at=_soon(control)
            )
        )
    report = passed()
    await other.services.tests.report(gateway.id, gateway.instance_id, "tok_x", report)
    async with control.services.database.read() as session:
        assert (await session.get(ConnectionTestRow, "tok_x")).result["ok"] is True


async def test_what_the_database_can_not_keep_is_the_senders_mistake(control: Any, admin: Client) -> None:
    """A NUL in a text, a number beyond its column: PostgreSQL refuses to look for them, SQLite finds nothing."""
    for path in ("/sessions/ses_%00", "/audit-events?target=%00", "/audit-events?after=99999999999999999999"):
        assert (await admin.get(f"{PREFIX}{path}")).status_code < 500, path
    tried = await admin.post(f"{PREFIX}/auth/login", json={"email": "a\x00@b.c", "password": "x"})
    assert tried.status_code in (401, 422)


def _soon(control: Any) -> Any:
    return control.clock() + timedelta(minutes=1)
