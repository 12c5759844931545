"""Reading records with the command line: searching, following, and what an outage does to it."""

from __future__ import annotations

import json

import pytest

from wardgate.api.client import UnreachableError
from wardgate.api.problems import ProblemCode, ProblemError
from wardgate.cli.patience import LONGEST, Patience

from ..control.records.conftest import Epoch, Recorded
from ..control.records.samples import CLOSED, OPENED, denied, failed, find, ok
from .conftest import Live


async def whole(recorded: Recorded) -> Epoch:
    epoch = (await recorded.lease()).append(OPENED, find(value="needle"), ok(2, 7), find(), failed(4), denied())
    await epoch.ship()
    return epoch


async def test_search_finds_by_facts_and_by_text(live: Live, recorded: Recorded) -> None:
    await whole(recorded)
    found = await live.run("pam", "search", "--json", "--namespace", "shop.orders", "--kind", "command")
    assert found.code == 0, found.err
    assert [hit["record"]["seq"] for hit in found.lines] == [4, 2]
    assert {hit["user"] for hit in found.lines} == {"ann@example.com"}
    assert "body" not in json.dumps([hit["record"] for hit in found.lines if hit["record"]["body"]])
    found = await live.run("pam", "search", "--json", "--failed")
    assert [hit["record"]["seq"] for hit in found.lines] == [6, 4]
    found = await live.run("pam", "search", "--json", "needle", "--namespace", "shop")
    (hit,) = found.lines
    assert hit["record"]["body"]["filter"] == {"n": "needle"}
    found = await live.run("pam", "search", "--json", "--limit", "1", "--session", recorded.session_id)
    assert len(found.lines) == 1


async def test_search_for_people_is_one_line_each(live: Live, recorded: Recorded) -> None:
    await whole(recorded)
    found = await live.run("pam", "search", "--user", "ann@example.com", "--min-documents", "7")
    assert found.code == 0, found.err
    (line,) = found.out.splitlines()
    for word in ("find shop.orders", "7 documents", "ann@example.com mongo/reader", recorded.session_id):
        assert word in line
    assert (await live.run("pam", "search", "--user", "nobody@example.com")).out == ""


async def test_a_search_that_makes_no_sense_is_a_usage_error(live: Live) -> None:
    for arguments in (["--since", "yesterday"], ["--min-duration", "long"], ["--effect", "magic"]):
        found = await live.run("pam", "search", *arguments)
        assert (arguments, found.code, found.out) == (arguments, 2, "")
        assert found.err


async def test_following_goes_on_until_the_session_is_over(live: Live, recorded: Recorded) -> None:
    epoch = await whole(recorded)
    process = await live.begin("pam", "session", "logs", recorded.session_id, "--follow", "--json")
    assert process.stdout is not None
    seen = [json.loads(await process.stdout.readline())["seq"] for _ in range(4)]
    await epoch.append(find(), ok(epoch.writer.seq + 1)).ship()
    seen.append(json.loads(await process.stdout.readline())["seq"])
    await epoch.append(CLOSED).ship()
    await recorded.end()
    await recorded.records.sweep()
    rest, _ = await process.communicate()
    seen += [json.loads(line)["seq"] for line in rest.splitlines()]
    assert seen == [1, 2, 4, 6, 7, 9]
    assert process.returncode == 0


async def test_following_survives_an_outage_without_a_gap_or_a_repetition(live: Live, recorded: Recorded) -> None:
    epoch = await whole(recorded)
    process = await live.begin("pam", "session", "logs", recorded.session_id, "--follow", "--json")
    assert process.stdout is not None
    assert process.stderr is not None
    seen = [json.loads(await process.stdout.readline())["seq"] for _ in range(4)]
    await live.stop()
    assert b"Waiting for it" in await process.stderr.readline()
    await epoch.append(find(), ok(epoch.writer.seq + 1), CLOSED).ship()
    await recorded.end()
    await recorded.records.sweep()
    await live.start()
    assert b"It is back" in await process.stderr.readline()
    rest, _ = await process.communicate()
    assert seen + [json.loads(line)["seq"] for line in rest.splitlines()] == [1, 2, 4, 6, 7, 9]
    assert process.returncode == 0


async def test_a_control_plane_that_was_never_there_is_told_at_once(live: Live, recorded: Recorded) -> None:
    await live.stop()
    found = await live.run("pam", "session", "logs", recorded.session_id, "--follow")
    assert found.code == 6
    assert "can't be reached" in found.err


# --- patience -------------------------------------------------------------------------------------------------------


class Outage:
    """Answers by turns."""

    def __init__(self, *answers: object) -> None:
        self.answers = list(answers)
        self.slept: list[float] = []

    def ask(self) -> object:
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    def clock(self) -> float:
        return sum(self.slept)


AWAY = UnreachableError("unreachable", "The control plane can't be reached.")
NO_STORE = ProblemError(ProblemCode.STORE_UNAVAILABLE, "The store of records is not available.")


def test_patience_waits_for_what_worked_once() -> None:
    outage = Outage(1, AWAY, NO_STORE, AWAY, 2)
    patience = Patience(sleep=outage.sleep, clock=outage.clock)
    assert [patience(outage.ask), patience(outage.ask)] == [1, 2]
    assert outage.slept == [0.5, 1.0, 2.0]


def test_patience_has_an_end() -> None:
    outage = Outage(1, AWAY)
    patience = Patience(sleep=outage.sleep, clock=outage.clock)
    patience(outage.ask)
    with pytest.raises(UnreachableError):
        patience(outage.ask)
    assert LONGEST <= sum(outage.slept) < LONGEST + 11


def test_patience_is_not_for_refusals() -> None:
    outage = Outage(1, ProblemError(ProblemCode.FORBIDDEN, "No."))
    patience = Patience(sleep=outage.sleep, clock=outage.clock)
    patience(outage.ask)
    with pytest.raises(ProblemError):
        patience(outage.ask)
    assert outage.slept == []
