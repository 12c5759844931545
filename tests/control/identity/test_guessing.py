"""Guessing through the real API: slowed, never shutting anybody out, and telling nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest
from sqlalchemy import event

from wardgate.api.problems import ProblemError
from wardgate.control.identity.known_passwords import why_not
from wardgate.control.identity.passwords import Cost, Gate, PasswordHasher
from wardgate.secret import Secret

EMAIL, PASSWORD = "admin@example.com", "correct horse battery staple"
LOGIN = "/api/v1/auth/login"


async def login(control: Any, address: str, email: str = EMAIL, password: str = "wrong guess") -> httpx2.Response:
    async with control.client(address=address) as client:
        answer: httpx2.Response = await client.post(LOGIN, json={"email": email, "password": password})
        return answer


@contextmanager
def statements(control: Any) -> Iterator[list[str]]:
    """What the database is asked, in order."""
    seen: list[str] = []
    engines = {control.services.database._reader.sync_engine, control.services.database._writer.sync_engine}

    def note(_c: Any, _k: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    for engine in engines:
        event.listen(engine, "before_cursor_execute", note)
    yield seen
    for engine in engines:
        event.remove(engine, "before_cursor_execute", note)


async def test_an_account_under_attack_from_many_places_opens_to_its_owner(control: Any) -> None:
    assert (await login(control, "203.0.113.5", password=PASSWORD)).status_code == 200
    control.clock.forward(days=1)
    answers = [(await login(control, f"198.51.{n // 3}.7")).status_code for n in range(90)]
    assert answers[:30] == [401] * 30
    assert 429 in answers[30:]
    for _ in range(4):  # at home, mistyping as ever
        assert (await login(control, "203.0.113.5")).status_code == 401
    assert (await login(control, "203.0.113.5", password=PASSWORD)).status_code == 200
    assert (await login(control, "192.0.2.77")).status_code == 401  # on a journey, mistyping once
    assert (await login(control, "192.0.2.77", password=PASSWORD)).status_code == 200


async def test_limits_tell_nothing_of_an_address(control: Any) -> None:
    """The same answers after the same work, from the first guess to the last, whether it is anybody's or not."""
    await login(control, "203.0.113.5", password=PASSWORD)
    seen = {}
    for email in (EMAIL, "nobody@example.com"):
        runs = []
        for n in range(45):
            address = "203.0.113.5" if n % 5 == 0 else f"198.51.100.{n % 12}"
            with statements(control) as asked:
                answer = await login(control, address, email)
                runs.append((answer.status_code, answer.content, tuple(asked)))
        seen[email] = runs
        control.clock.forward(hours=3)
    for first, second in zip(*seen.values(), strict=True):
        assert first == second


async def test_many_guesses_wait_and_the_familiar_go_first() -> None:
    gate, order = Gate(1, 3), []

    async def enter(name: str, *, first: bool = False) -> None:
        async with gate.turn(first=first):
            order.append(name)
            await asyncio.sleep(0)

    async with gate.turn(first=False):
        others = [asyncio.create_task(enter(f"stranger {n}")) for n in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(ProblemError):
            await enter("one too many")
        owner = asyncio.create_task(enter("owner", first=True))
        await asyncio.sleep(0)
        others[1].cancel()
        await asyncio.sleep(0)
    await asyncio.gather(owner, *others, return_exceptions=True)
    assert order == ["owner", "stranger 0", "stranger 2"]
    await enter("afterwards")


async def test_a_turn_that_is_given_up_is_not_lost() -> None:
    gate = Gate(1, 3)
    held = gate.turn(first=False)
    await held.__aenter__()
    waiting = asyncio.create_task(gate.turn(first=False).__aenter__())
    await asyncio.sleep(0)
    await held.__aexit__(None, None, None)
    waiting.cancel()  # at the very moment at which it gets its turn
    await asyncio.gather(waiting, return_exceptions=True)
    async with asyncio.timeout(5), gate.turn(first=False):
        pass


async def test_a_hash_is_verified_as_before() -> None:
    hasher = PasswordHasher(Cost(memory_kib=8, iterations=1))
    kept = await hasher.hash(Secret("some words of mine"))
    assert await hasher.verify(Secret("some words of mine"), kept, first=True)
    assert not await hasher.verify(Secret("other words"), kept)
    assert not await hasher.verify(Secret("some words of mine"), None)


@pytest.mark.parametrize(
    "password",
    ["password", "Password1!", "iloveyou", "football2024", "PASSWORD123", "ann@example.com", "example.com", "12345678"],
)
async def test_what_everybody_knows_is_no_password(control: Any, password: str) -> None:
    email = "ann@example.com"
    assert why_not(password, email) is not None
    async with await control.login(EMAIL) as admin:
        refused = await admin.post("/api/v1/users", json={"email": email, "password": password})
        assert (refused.status_code, refused.json()["code"]) == (422, "invalid_request")
        assert refused.json()["errors"][0]["field"] == "password"
        assert await control.count("users") == 1


@pytest.mark.parametrize(
    "password", [PASSWORD, "wandering violet teapot", "xk7#mQ2!vv9p", "пароль для работы", "ann's own words"]
)
def test_other_words_are_fine(password: str) -> None:
    assert why_not(password, "ann@example.com") is None
