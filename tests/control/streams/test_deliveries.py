"""Streams to real receivers: everything arrives, in order, at least once; an outage of the receiver loses nothing."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from wardgate.audit.records import CommandIntent

from ..records.conftest import Recorded
from ..records.samples import CLOSED, OPENED, denied, failed, find, insert, ok
from .conftest import Streams
from .receivers import DatagramSyslog, Http, Syslog, Webhook, parse_otlp


def told(lines: list[dict[str, Any]], session_id: str | None = None) -> list[tuple[str, int]]:
    """(kind, seq) of a session's lines."""
    return [(line["kind"], line["seq"]) for line in lines if "seq" in line and session_id in (None, line["session_id"])]


async def whole_session(recorded: Recorded) -> None:
    epoch = (await recorded.lease()).append(OPENED, find(), ok(2), find(value="secret"), failed(4), denied(), CLOSED)
    await epoch.ship()
    await recorded.end()
    await recorded.records.sweep()


async def test_syslog_over_tcp_gets_every_line_in_order(streams: Streams, recorded: Recorded, syslog: Syslog) -> None:
    made = await streams.add("siem", "syslog", f"syslog+tcp://127.0.0.1:{syslog.port}")
    assert made["secret"] is None
    await whole_session(recorded)
    await streams.deliver(made)
    lines = [message.line for message in syslog.messages]
    assert told(lines) == [("session", 1), ("command", 2), ("command", 4), ("denied", 6), ("session", 7)]
    first = syslog.messages[0]
    assert (first.facility, first.host, first.app, first.msgid) == (13, "127.0.0.1", "wardgate", "event")
    assert first.line["event"] == "stream.created"
    by_seq = {line["seq"]: line for line in lines if "seq" in line}
    assert by_seq[2]["ok"] == 1.0
    assert (by_seq[2]["database"], by_seq[2]["collection"], by_seq[2]["command"]) == ("shop", "orders", "find")
    assert by_seq[2]["user"] == "ann@example.com"
    assert by_seq[4]["code"] == 11000
    assert not any("body" in line for line in lines)
    severities = {message.line.get("seq"): message.severity for message in syslog.messages}
    assert (severities[2], severities[4], severities[6]) == (6, 5, 4)
    (seal,) = [line for line in lines if line["kind"] == "seal"]
    assert seal["final"] is True
    assert "session.sealed" in [line.get("event") for line in lines]
    status = (await streams.get(made))["status"]
    assert (status["state"], status["sent"]) == ("current", len(lines))
    assert await streams.control.count("stream_positions") == 0  # nothing more can come


async def test_nothing_is_sent_twice_when_all_goes_well(streams: Streams, recorded: Recorded, syslog: Syslog) -> None:
    made = await streams.add("siem", "syslog", f"syslog+tcp://127.0.0.1:{syslog.port}", events=False)
    epoch = (await recorded.lease()).append(OPENED)
    for _ in range(3):
        await epoch.append(find(), ok(epoch.writer.seq + 1)).ship()
        await streams.deliver(made)
        await streams.deliver(made)
    assert told([m.line for m in syslog.messages]) == [("session", 1), ("command", 2), ("command", 4), ("command", 6)]
    assert syslog.connections == 1


async def test_tls_syslog_wants_a_certificate_that_is_trusted(
    streams: Streams, recorded: Recorded, server_tls: ssl.SSLContext, ca_pem: str
) -> None:
    async with Syslog(server_tls) as receiver:
        url = f"syslog+tls://localhost:{receiver.port}"
        doubted = await streams.add("doubted", "syslog", url)
        trusted = await streams.add("trusted", "syslog", url, ca_certificate=ca_pem, bodies=True, events=False)
        await whole_session(recorded)
        await streams.deliver(doubted)
        status = (await streams.get(doubted))["status"]
        assert (status["state"], status["sent"], status["failures"]) == ("failing", 0, 1)
        assert "certificate that is not trusted" in status["last_error"]
        await streams.deliver(trusted)
        bodies = [message.line["body"] for message in receiver.messages if "body" in message.line]
        assert bodies[0] == {"find": "orders", "filter": {"n": {"$numberInt": "1"}}, "$db": "shop"}


async def test_udp_syslog_is_one_small_datagram_each(streams: Streams, recorded: Recorded) -> None:
    loop = asyncio.get_running_loop()
    transport, receiver = await loop.create_datagram_endpoint(DatagramSyslog, local_addr=("127.0.0.1", 0))
    port = transport.get_extra_info("sockname")[1]
    made = await streams.add("siem", "syslog", f"syslog+udp://127.0.0.1:{port}", events=False)
    body = b"\x05\0\0\0\0"
    epoch = (await recorded.lease()).append(
        OPENED, CommandIntent(1, 1, "shop", "x" * 200, "find" * 30, "read", body, 9, client_app="é" * 3000), ok(2)
    )
    await epoch.ship()
    await streams.deliver(made)
    while len(receiver.messages) < 2:
        await asyncio.sleep(0)
    transport.close()
    assert max(receiver.sizes) < 2300
    assert receiver.messages[1].line["shortened"] is True
    assert receiver.messages[1].line["seq"] == 2


async def test_a_webhook_is_signed_and_a_lost_answer_is_sent_again(
    streams: Streams, recorded: Recorded, webhook: tuple[Http, Webhook], ca_pem: str
) -> None:
    receiver, checks = webhook
    made = await streams.add(
        "hook", "webhook", f"https://localhost:{receiver.port}/in", ca_certificate=ca_pem, bodies=True,
        headers={"Authorization": "Bearer of-the-receiver"},
    )  # fmt: skip
    checks.secret = made["secret"]
    assert "of-the-receiver" not in json.dumps(await streams.get(made))
    assert (await streams.get(made))["header_names"] == ["Authorization"]
    await whole_session(recorded)
    receiver.status = 503
    await streams.deliver(made)
    status = (await streams.get(made))["status"]
    assert (status["state"], status["failures"], checks.lines) == ("failing", 1, [])
    assert "503" in status["last_error"]
    assert status["next_try_at"] is not None
    receiver.status = 200
    await streams.deliver(made)
    request, headers, _ = receiver.requests[-1]
    assert request == "POST /in HTTP/1.1"
    assert headers["authorization"] == "Bearer of-the-receiver"
    assert headers["host"] == f"localhost:{receiver.port}"
    assert told(checks.lines) == [("session", 1), ("command", 2), ("command", 4), ("denied", 6), ("session", 7)]
    assert [line["body"]["filter"]["n"] for line in checks.lines if line["kind"] == "command"][1] == "secret"
    assert (await streams.get(made))["status"]["state"] == "current"
    # The receiver had it, and its answer was lost: the same lines come again under the same id.
    await streams.control.execute("UPDATE streams SET event_seq = event_seq - 1")
    before = len(checks.lines)
    await streams.deliver(made)
    await streams.control.execute("UPDATE streams SET event_seq = event_seq - 1")
    await streams.deliver(made)
    assert len(checks.lines) <= before + 1
    assert checks.replayed >= 1


async def test_a_new_secret_takes_the_old_ones_place(
    streams: Streams, webhook: tuple[Http, Webhook], ca_pem: str
) -> None:
    receiver, checks = webhook
    made = await streams.add("hook", "webhook", f"https://localhost:{receiver.port}/", ca_certificate=ca_pem)
    answer = await streams.admin.post("/api/v1/streams/hook/secret")
    assert answer.json()["secret"] != made["secret"]
    checks.secret = answer.json()["secret"]
    await streams.deliver(made)
    assert [line["event"] for line in checks.lines] == ["stream.created", "stream.secret_made"]


async def test_a_receiver_that_takes_little_gets_little_at_once(
    streams: Streams, recorded: Recorded, webhook: tuple[Http, Webhook], ca_pem: str
) -> None:
    receiver, checks = webhook
    made = await streams.add(
        "hook", "webhook", f"https://localhost:{receiver.port}/", ca_certificate=ca_pem, events=False
    )
    checks.secret = made["secret"]
    receiver.most = 4_000
    epoch = (await recorded.lease()).append(OPENED)
    for _ in range(40):
        epoch.append(find(), ok(epoch.writer.seq + 1))
    await epoch.ship()
    await streams.deliver(made)
    assert len(told(checks.lines)) == 41
    assert (await streams.get(made))["status"]["failures"] == 0


async def test_otlp_gets_log_records(
    streams: Streams, recorded: Recorded, server_tls: ssl.SSLContext, ca_pem: str
) -> None:
    async with Http(server_tls) as receiver:
        made = await streams.add(
            "collector", "otlp", f"https://localhost:{receiver.port}/v1/logs", ca_certificate=ca_pem,
            headers={"api-key": "k"},
        )  # fmt: skip
        await whole_session(recorded)
        await streams.deliver(made)
        assert all(headers["api-key"] == "k" for _, headers, _ in receiver.requests)
        records = [record for _, _, body in receiver.requests for record in parse_otlp(body)]
    commands = [record for record in records if record.event == "wardgate.command"]
    assert [record.attributes["db.operation.name"] for record in commands] == ["find", "find"]
    assert commands[0].attributes["db.system.name"] == "mongodb"
    assert commands[0].attributes["user.email"] == "ann@example.com"
    assert commands[0].time_ns == 1_893_456_000_000_000_000 + commands[0].body["seq"] // 2 * 1000
    assert [record.severity for record in records if record.event == "wardgate.denied"] == [13]
    assert {record.attributes["log.record.uid"] for record in records} == {record.body["id"] for record in records}


async def test_a_command_that_runs_is_waited_for_then_sent_as_pending(
    streams: Streams, recorded: Recorded, syslog: Syslog
) -> None:
    made = await streams.add("siem", "syslog", f"syslog+tcp://127.0.0.1:{syslog.port}", events=False)
    epoch = (await recorded.lease()).append(OPENED, find(), find())
    await epoch.ship()
    await streams.deliver(made)
    assert told([m.line for m in syslog.messages]) == [("session", 1)]
    await epoch.append(ok(2)).ship()
    await streams.deliver(made)
    assert told([m.line for m in syslog.messages])[1:] == [("command", 2)]
    assert syslog.messages[1].line["ok"] == 1.0
    streams.control.clock.forward(seconds=3)
    await streams.deliver(made)
    assert syslog.messages[2].line["pending"] is True
    assert (await streams.get(made))["status"]["sessions_behind"] == 0
    await epoch.append(failed(3)).ship()
    await streams.deliver(made)
    outcome = syslog.messages[3].line
    assert (outcome["kind"], outcome["seq"], outcome["ok"]) == ("outcome", 3, 0.0)
    assert outcome["id"] == f"{recorded.session_id}/1/3/outcome"


async def test_epochs_that_arrive_late_are_sent_too(streams: Streams, recorded: Recorded, syslog: Syslog) -> None:
    made = await streams.add("siem", "syslog", f"syslog+tcp://127.0.0.1:{syslog.port}", events=False)
    one = (await recorded.lease()).append(OPENED, find(), ok(2))
    await one.ship()
    two = (await recorded.lease(2, "gw_two", one.link)).append(OPENED, find(), ok(2))
    await two.ship()
    await streams.deliver(made)
    await one.append(find(), ok(4)).ship()  # its gateway came back
    await streams.deliver(made)
    lines = [m.line for m in syslog.messages]
    assert [(line["epoch"], line["seq"]) for line in lines] == [(1, 1), (1, 2), (2, 1), (2, 2), (1, 4)]


async def test_a_receiver_that_was_away_gets_everything(streams: Streams, recorded: Recorded, syslog: Syslog) -> None:
    made = await streams.add("siem", "syslog", f"syslog+tcp://127.0.0.1:{syslog.port}")
    await syslog.stop()
    await whole_session(recorded)
    for _ in range(3):
        await streams.deliver(made)
    status = (await streams.get(made))["status"]
    assert (status["state"], status["failures"], status["sent"]) == ("failing", 3, 0)
    assert "could not be reached" in status["last_error"]
    assert status["events_behind"] > 0
    assert status["sessions_behind"] == 1
    streams.control.clock.forward(minutes=50)
    assert (await streams.get(made))["status"]["lag_s"] >= 3000
    await syslog.start()
    await streams.deliver(made)
    lines = [m.line for m in syslog.messages]
    assert told(lines) == [("session", 1), ("command", 2), ("command", 4), ("denied", 6), ("session", 7)]
    events = [line["event"] for line in lines if line["kind"] == "event"]
    assert [name for name in events if name.startswith("stream.")] == [
        "stream.created", "stream.failing", "stream.recovered",
    ]  # fmt: skip
    numbers = [line["number"] for line in lines if line["kind"] == "event"]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


async def test_what_a_reset_connection_may_have_lost_is_sent_again(
    streams: Streams, recorded: Recorded, syslog: Syslog
) -> None:
    made = await streams.add("siem", "syslog", f"syslog+tcp://127.0.0.1:{syslog.port}", events=False)
    epoch = (await recorded.lease()).append(OPENED)
    await epoch.ship()
    await streams.deliver(made)
    sender = streams.control.services.deliveries._senders[made["stream"]["id"]][1]
    syslog.drop()
    while not sender._peer.is_lost:  # type: ignore[attr-defined]
        await asyncio.sleep(0)
    await epoch.append(find(), ok(2)).ship()
    await streams.deliver(made)
    sent = told([m.line for m in syslog.messages])
    assert set(sent) == {("session", 1), ("command", 2)}
    assert sent[-1] == ("command", 2)


async def test_a_projects_stream_gets_that_project_only(
    streams: Streams, make_session: Callable[..., Awaitable[Recorded]], syslog: Syslog
) -> None:
    ours, theirs = await make_session(project="ours"), await make_session(project="theirs")
    url = f"syslog+tcp://127.0.0.1:{syslog.port}"
    made = await streams.add("siem", "syslog", url, project=ours.project_id)
    for recorded in (ours, theirs):
        await whole_session(recorded)
    await streams.deliver(made)
    lines = [m.line for m in syslog.messages]
    assert {line.get("project_id") for line in lines} == {ours.project_id}
    assert told(lines, theirs.session_id) == []
    assert len(told(lines, ours.session_id)) == 5


async def test_a_paused_stream_keeps_its_place(streams: Streams, recorded: Recorded, syslog: Syslog) -> None:
    made = await streams.add("siem", "syslog", f"syslog+tcp://127.0.0.1:{syslog.port}", events=False)
    answer = await streams.admin.patch("/api/v1/streams/siem", json={"paused": True})
    assert answer.json()["status"]["state"] == "paused"
    await whole_session(recorded)
    await streams.deliver(made)
    assert syslog.messages == []
    await streams.admin.patch("/api/v1/streams/siem", json={"paused": False})
    await streams.deliver(made)
    assert len(told([m.line for m in syslog.messages])) == 5


async def test_two_control_planes_do_not_send_at_once(streams: Streams, recorded: Recorded, syslog: Syslog) -> None:
    made = await streams.add("siem", "syslog", f"syslog+tcp://127.0.0.1:{syslog.port}", events=False)
    await streams.control.execute("UPDATE streams SET holder = 'another', held_until = '2030-01-01 00:01:00.000000'")
    await whole_session(recorded)
    await streams.deliver(made)
    assert syslog.messages == []
    streams.control.clock.forward(seconds=61)
    await streams.deliver(made)
    assert len(told([m.line for m in syslog.messages])) == 5


async def test_large_bodies_go_with_their_size_bounded(
    streams: Streams, recorded: Recorded, webhook: tuple[Http, Webhook], ca_pem: str
) -> None:
    receiver, checks = webhook
    made = await streams.add(
        "hook", "webhook", f"https://localhost:{receiver.port}/", ca_certificate=ca_pem, bodies=True, events=False
    )
    checks.secret = made["secret"]
    epoch = (await recorded.lease()).append(OPENED, insert(900_000), ok(epoch_seq := 2))
    assert epoch_seq == 2
    await epoch.ship()
    await streams.deliver(made)
    (line,) = [line for line in checks.lines if line["kind"] == "command"]
    assert line["body"] == {"$wardgate": "left out here for its size: wardgate pam session logs shows it"}
    assert line["command"] == "insert"


async def test_the_loop_delivers_by_itself_and_ends_when_told(
    streams: Streams, recorded: Recorded, syslog: Syslog
) -> None:
    made = await streams.add("siem", "syslog", f"syslog+tcp://127.0.0.1:{syslog.port}", events=False)
    running = asyncio.create_task(streams.control.services.deliveries.run())
    await whole_session(recorded)
    while (await streams.get(made))["status"]["sent"] < 6:
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert len(syslog.messages) == 6


async def test_what_was_there_before_a_stream_is_not_sent(streams: Streams, recorded: Recorded, syslog: Syslog) -> None:
    epoch = (await recorded.lease()).append(OPENED, find(), ok(2))
    await epoch.ship()
    streams.control.clock.forward(seconds=10)
    made = await streams.add("siem", "syslog", f"syslog+tcp://127.0.0.1:{syslog.port}")
    await epoch.append(find(), ok(4)).ship()
    await streams.deliver(made)
    assert told([m.line for m in syslog.messages]) == [("command", 4)]
    assert [m.line["event"] for m in syslog.messages if m.msgid == "event"] == ["stream.created"]
