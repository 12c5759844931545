"""Warm server connections, before a server that is a double: what is sent on them, when there are any, when they go."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, cast

import bson
import pytest
import pytest_asyncio

from wardgate.errors import WardgateError
from wardgate.gateway.mongo.discovery import Kind, Member, Role, Topology
from wardgate.gateway.mongo.login import Login
from wardgate.gateway.mongo.target import Target
from wardgate.gateway.spares import Spares
from wardgate.numbers import DEFAULT, Numbers
from wardgate.testing.playbook import document_of
from wardgate.wire.header import build_msg, header_of

Answer = Callable[[dict[str, Any]], dict[str, Any] | bytes | None]


class Server:
    """Counts its connections and what is said on them; answers as `answer` says, with None closes."""

    def __init__(self) -> None:
        self.answer: Answer = lambda command: {"ok": 1}
        self.commands: list[dict[str, Any]] = []
        self.writers: list[asyncio.StreamWriter] = []
        self.open = 0
        self.changed = asyncio.Condition()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        self.open += 1
        await self._tell()
        try:
            while True:
                head = await reader.readexactly(16)
                raw = head + await reader.readexactly(header_of(head).length - 16)
                self.commands.append(document_of(raw))
                await self._tell()
                answer = self.answer(self.commands[-1])
                if answer is None:
                    break
                writer.write(
                    answer
                    if isinstance(answer, bytes)
                    else build_msg(bson.encode(answer), 1, header_of(head).request_id)
                )
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            self.open -= 1
            await self._tell()

    async def _tell(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def until(self, held: Callable[[], bool]) -> None:
        """Wait until something said here makes it true."""
        async with asyncio.timeout(10), self.changed:
            await self.changed.wait_for(held)


class OneStep:
    """A login of one step."""

    async def run(self, exchange: Callable[[dict[str, Any]], Awaitable[Mapping[str, Any]]]) -> None:
        if (await exchange({"saslStart": 1, "$db": "admin"})).get("ok") != 1:
            raise WardgateError("login_failed", "The server refused the login.")


class Taker(asyncio.Protocol):
    """Who takes a spare over."""

    def __init__(self) -> None:
        self.heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        if not self.heard.done():
            self.heard.set_result(data)


class House:
    """Two members behind one double, and the spares of one session."""

    def __init__(self, ports: tuple[int, int], server: Server, numbers: Numbers) -> None:
        self.server = server
        self.first, self.second = (f"127.0.0.1:{port}" for port in ports)
        target = Target(
            seeds=(self.first, self.second), tls=None, verified=False, auth_database="admin", numbers=numbers
        )
        self.spares = Spares(target, cast("Login", OneStep()))

    async def until(self, **wanted: int) -> None:
        """Wait until the statistics are such."""
        async with asyncio.timeout(10):
            while not wanted.items() <= self.spares.statistics().items():
                await asyncio.sleep(0)

    def topology(self, first: Role | None) -> Topology:
        members = [(self.first, first), (self.second, Role.SECONDARY)]
        return Topology(Kind.REPLICA_SET, "rs0", tuple(Member(a, role) for a, role in members if role is not None))


Houses = Callable[..., Awaitable[House]]


@pytest_asyncio.fixture
async def house() -> AsyncIterator[Houses]:
    """Makes a house; everything ends with the test."""
    made: list[House] = []
    listening: list[asyncio.Server] = []

    async def make(**numbers: Any) -> House:
        server = Server()
        found = [await asyncio.start_server(server.serve, "127.0.0.1", 0) for _ in range(2)]
        listening.extend(found)
        first, second = (each.sockets[0].getsockname()[1] for each in found)
        made.append(House((first, second), server, replace(DEFAULT, **numbers)))
        return made[-1]

    yield make
    for each in made:
        each.spares.close()
        await each.server.until(lambda each=each: each.server.open == 0)  # type: ignore[misc]
    for server in listening:
        server.close()
        await server.wait_closed()


async def test_there_are_none_until_a_connection_ran_commands(house: Houses) -> None:
    it = await house()
    assert it.spares.take(it.first) is None
    it.spares.judge(it.first, commands=False)
    assert it.spares.take(it.first) is None
    assert it.spares.statistics()["making"] == 0
    it.spares.judge(it.first, commands=True)
    await it.until(ready=2, logged_in=2)


async def test_nothing_but_the_login_is_said_on_one_and_the_taker_goes_on_with_it(house: Houses) -> None:
    it = await house()
    it.spares.judge(it.first, commands=True)
    await it.until(ready=2)
    assert [next(iter(each)) for each in it.server.commands] == ["saslStart", "saslStart"]
    spare = it.spares.take(it.first)
    assert spare is not None
    assert spare.logged_in
    taker = Taker()
    spare.give(taker)
    taker.transport.write(build_msg(bson.encode({"hello": 1, "$db": "admin"}), 7))
    assert document_of(await taker.heard) == {"ok": 1}
    spare.abort()  # given away is given away
    assert not taker.transport.is_closing()
    taker.transport.abort()


async def test_what_was_taken_is_made_again(house: Houses) -> None:
    it = await house()
    it.spares.judge(it.first, commands=True)
    await it.until(ready=2)
    taken = it.spares.take(it.first)
    assert taken is not None
    assert it.spares.statistics()["ready"] == 1
    await it.until(ready=2, hits=1)
    taken.abort()


async def test_monitors_cost_no_login(house: Houses) -> None:
    """A script opens two monitors and one connection that runs commands."""
    it = await house()
    for commands in (True, False, False):
        it.spares.judge(it.first, commands=commands)
    await it.until(ready=2)
    assert it.server.commands == []
    spare = it.spares.take(it.first)
    assert spare is not None
    assert not spare.logged_in
    spare.abort()


async def test_a_member_that_only_monitors_use_gets_none(house: Houses) -> None:
    it = await house()
    it.spares.judge(it.first, commands=True)
    await it.until(ready=2)
    for _ in range(8):
        it.spares.judge(it.first, commands=False)
    for _ in range(2):
        taken = it.spares.take(it.first)
        assert taken is not None
        taken.abort()
    await it.server.until(lambda: it.server.open == 0)
    it.spares.judge(it.second, commands=True)
    await it.until(ready=2, making=0)  # what was due before is done by then
    assert it.spares.take(it.first) is None


async def test_one_that_the_server_closed_is_not_handed_out(house: Houses) -> None:
    it = await house()
    it.spares.judge(it.first, commands=True)
    await it.until(ready=2)
    for writer in it.server.writers:
        writer.close()
    await it.server.until(lambda: it.server.open == 0)
    assert it.spares.take(it.first) is None


async def test_one_that_was_closed_a_moment_ago_is_not_handed_out(house: Houses) -> None:
    """The end is in the socket, and the loop has not read it yet."""
    it = await house()
    it.spares.judge(it.first, commands=True)
    await it.until(ready=2)
    for writer in it.server.writers:
        writer.get_extra_info("socket").shutdown(socket.SHUT_WR)
    assert it.spares.take(it.first) is None


async def test_one_on_which_something_was_said_is_not_handed_out(house: Houses) -> None:
    it = await house(spare_connections=1)
    it.spares.judge(it.first, commands=True)
    await it.until(ready=1)
    it.server.writers[0].write(build_msg(bson.encode({"ok": 1}), 1))
    await it.server.until(lambda: it.server.open == 0)
    assert it.spares.take(it.first) is None


async def test_a_refused_login_ends_logging_in_ahead(house: Houses) -> None:
    """After a change of the password, or before a server that wants a hello first."""
    it = await house()
    it.spares.judge(it.first, commands=True)
    await it.until(ready=2, logged_in=2)
    it.server.answer = lambda command: {"ok": 0, "code": 18, "errmsg": "Authentication failed."}
    taken = it.spares.take(it.first)
    assert taken is not None
    await it.until(ready=0, failures=1)
    said = len(it.server.commands)
    it.spares.judge(it.first, commands=True)
    await it.until(ready=2, logged_in=0)
    assert len(it.server.commands) == said
    taken.abort()


async def test_a_server_that_hangs_up_at_the_login_gets_none_ahead(house: Houses) -> None:
    it = await house()
    it.server.answer = lambda command: None
    it.spares.judge(it.first, commands=True)
    await it.until(failures=2)
    it.spares.judge(it.first, commands=True)
    await it.until(ready=2, logged_in=0)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        build_msg(bson.encode({"ok": 1}), 1, 99),
        b"\xff" * 40,
        build_msg(bson.encode({"ok": 1}), 1, 1) + b"\x10",  # more than was asked for
    ],
)
async def test_a_broken_answer_to_the_login_is_a_failure(house: Houses, answer: bytes) -> None:
    it = await house(spare_connections=1)
    it.server.answer = lambda command: answer
    it.spares.judge(it.first, commands=True)
    await it.until(failures=1, ready=0)


async def test_a_login_that_is_not_answered_in_time_is_given_up(house: Houses) -> None:
    it = await house(spare_connections=1, server_login=0.05)
    it.server.answer = lambda command: b""
    it.spares.judge(it.first, commands=True)
    await it.until(failures=1, ready=0)
    await it.server.until(lambda: it.server.open == 0)


async def test_nobody_is_told_that_one_could_not_be_dialled(house: Houses) -> None:
    it = await house()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        it.spares.judge(address, commands=True)
        await it.until(failures=2, making=0)
    assert it.spares.take(address) is None


@pytest.mark.parametrize("role", [Role.SECONDARY, Role.UNKNOWN, None])
async def test_a_member_whose_role_changes_loses_them(house: Houses, role: Role | None) -> None:
    it = await house()
    it.spares.topology_changed(it.topology(Role.PRIMARY))
    it.spares.judge(it.first, commands=True)
    it.spares.judge(it.second, commands=True)
    await it.until(ready=4)
    it.spares.topology_changed(it.topology(Role.PRIMARY))
    assert it.spares.statistics()["ready"] == 4
    it.spares.topology_changed(it.topology(role))
    assert it.spares.take(it.first) is None
    assert it.spares.statistics()["ready"] == 2


async def test_a_session_has_no_more_than_its_share(house: Houses) -> None:
    it = await house(spare_connections_session=3)
    it.spares.judge(it.first, commands=True)
    it.spares.judge(it.second, commands=True)
    await it.until(ready=3, making=0)


async def test_without_use_they_are_let_go(house: Houses) -> None:
    it = await house(spare_idle=0.1)
    it.spares.judge(it.first, commands=True)
    await it.until(ready=2)
    await it.server.until(lambda: it.server.open == 0)
    assert it.spares.statistics()["ready"] == 0


async def test_the_end_takes_those_that_are_there_and_those_that_are_being_made(house: Houses) -> None:
    it = await house(spare_connections=1)
    it.spares.judge(it.first, commands=True)
    await it.until(ready=1)
    it.server.answer = lambda command: b""  # the next login hangs
    it.spares.judge(it.second, commands=True)
    await it.server.until(lambda: len(it.server.commands) == 2)
    it.spares.close()
    await it.server.until(lambda: it.server.open == 0)
    it.spares.judge(it.first, commands=True)
    assert it.spares.take(it.first) is None
    assert it.spares.statistics()["making"] == 0
