"""Who may set a stream, what is refused, what is told of it, and what it may never be lured to."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import httpx2
from hypothesis import given
from hypothesis import strategies as st

from wardgate.control.identity.actor import Scope
from wardgate.control.identity.permissions import Role
from wardgate.control.streams.formats import syslog
from wardgate.control.streams.lines import Line, Severity

from ..conftest import Control
from ..records.conftest import AT
from .conftest import Streams
from .receivers import Http, Syslog, parse_syslog


async def refused(streams: Streams, **form: Any) -> dict[str, Any]:
    body = {"name": "siem", "kind": "webhook", "url": "https://siem.example.com/in", **form}
    answer = await streams.admin.post("/api/v1/streams", json=body)
    assert answer.status_code == 422, answer.text
    found: dict[str, Any] = answer.json()
    return found


_BAD_URLS = [
    ("webhook", "http://siem.example.com/in"),
    ("webhook", "https://user:password@siem.example.com/in"),
    ("webhook", "ftp://siem.example.com/in"),
    ("webhook", "https://siem.example.com/in#part"),
    ("otlp", "syslog+tls://siem.example.com"),
    ("syslog", "https://siem.example.com"),
    ("syslog", "syslog+tls://siem.example.com/path"),
    ("syslog", "syslog+tls://user@siem.example.com"),
    ("syslog", "syslog+tls://siem.example.com:0"),
    ("syslog", "syslog://siem.example.com"),
    ("syslog", "syslog+tcp://"),
]


async def test_urls_that_make_no_sense_are_refused(streams: Streams) -> None:
    for kind, url in _BAD_URLS:
        problem = await refused(streams, kind=kind, url=url)
        assert (url, problem["errors"][0]["field"]) == (url, "url")
        assert "password" not in json.dumps(problem)


async def test_bodies_go_over_tls_only(streams: Streams) -> None:
    url = "syslog+udp://siem.example.com"
    assert "TLS" in (await refused(streams, kind="syslog", url=url, bodies=True))["detail"]
    made = await streams.add("siem", "syslog", url)
    answer = await streams.admin.patch("/api/v1/streams/siem", json={"bodies": True})
    assert answer.status_code == 422
    assert (await streams.get(made))["bodies"] is False


_BAD_HEADERS = [
    {"Host": "metadata"},
    {"Content-Length": "0"},
    {"X-A": "a\r\nX-B: b"},
    {"X-A": "é"},
    {"X-A": ""},
    {"X A": "a"},
    {"webhook-signature": "v1,x"},
]


async def test_headers_that_would_change_the_request_are_refused(streams: Streams) -> None:
    for headers in _BAD_HEADERS:
        assert "metadata" not in json.dumps(await refused(streams, headers=headers))


async def test_a_certificate_that_is_none_is_refused(streams: Streams) -> None:
    assert (await refused(streams, ca_certificate="no certificate"))["errors"][0]["field"] == "ca_certificate"


async def test_no_stream_reaches_metadata_or_what_was_not_named(streams: Streams) -> None:
    """The name may be set, since it is judged at each connection by what it stands for; nothing is connected to."""
    for number, (kind, url) in enumerate(
        [
            ("syslog", "syslog+tls://169.254.169.254:9/"),
            ("syslog", "syslog+udp://169.254.169.254:9/"),
            ("syslog", "syslog+tcp://10.0.0.1:9/"),
            ("webhook", "https://[::ffff:169.254.169.254]/"),
            ("webhook", "https://[fd00:ec2::254]/"),
            ("otlp", "https://[::1]:9/"),
            ("otlp", "https://0.0.0.0:9/"),
        ]
    ):
        made = await streams.add(f"siem-{number}", kind, url)
        answer = await streams.admin.post(f"/api/v1/streams/siem-{number}/test")
        assert answer.status_code == 200
        assert answer.json()["ok"] is False
        assert "WARDGATE_PRIVATE_HOSTS" in answer.json()["message"]
        await streams.deliver(made)
        assert (await streams.get(made))["status"]["failures"] == 1


async def test_a_redirect_is_not_followed_and_nothing_of_the_answer_is_told(
    streams: Streams, server_tls: Any, ca_pem: str
) -> None:
    elsewhere = "location: https://127.0.0.1:9/\r\n"
    async with Http(server_tls, answer=b"the-secret-of-another", headers=elsewhere) as receiver:
        await streams.add("hook", "webhook", f"https://localhost:{receiver.port}/", ca_certificate=ca_pem)
        for status in (302, 401, 404, 500):
            receiver.status = status
            answer = await streams.admin.post("/api/v1/streams/hook/test")
            assert answer.json()["ok"] is False
            assert "secret-of-another" not in answer.text
            assert len([r for r in receiver.requests if r[0].startswith("POST / ")]) == len(receiver.requests)


async def test_a_test_says_whether_it_arrived(streams: Streams, syslog: Syslog) -> None:
    await streams.add("siem", "syslog", f"syslog+tcp://127.0.0.1:{syslog.port}")
    answer = await streams.admin.post("/api/v1/streams/siem/test")
    assert answer.json()["ok"] is True
    while not syslog.messages:
        await asyncio.sleep(0)
    assert syslog.messages[0].line["kind"] == "test"
    tested = [event for event in await streams.control.events() if event.event == "stream.tested"]
    assert [event.details["ok"] for event in tested] == [True]


async def test_what_is_done_is_an_event_without_secrets(streams: Streams) -> None:
    headers = {"Authorization": "Bearer of-the-receiver"}
    made = await streams.add("hook", "webhook", "https://siem.example.com/in?key=in-the-url", headers=headers)
    await streams.admin.patch("/api/v1/streams/hook", json={"bodies": True, "headers": headers})
    assert (await streams.admin.delete("/api/v1/streams/hook")).status_code == 204
    assert (await streams.admin.get("/api/v1/streams/hook")).status_code == 404
    events = [event for event in await streams.control.events() if event.event.startswith("stream.")]
    assert [event.event for event in events] == ["stream.created", "stream.updated", "stream.deleted"]
    assert events[1].details["bodies"] == {"from": False, "to": True}
    text = json.dumps([event.details for event in events])
    for secret in ("of-the-receiver", "in-the-url", made["secret"]):
        assert secret not in text
    raw = b"".join(path.read_bytes() for path in streams.control.services.settings.data_dir.rglob("wardgate.db*"))
    assert b"of-the-receiver" not in raw
    assert made["secret"].encode() not in raw


async def test_a_new_url_drops_the_headers_that_were_meant_for_the_old_one(streams: Streams) -> None:
    await streams.add("hook", "webhook", "https://siem.example.com/in", headers={"Authorization": "Bearer x"})
    answer = await streams.admin.patch("/api/v1/streams/hook", json={"paused": True})
    assert answer.json()["header_names"] == ["Authorization"]
    answer = await streams.admin.patch("/api/v1/streams/hook", json={"url": "https://elsewhere.example.com/in"})
    assert answer.json()["header_names"] == []


async def test_streams_are_set_by_administrators_of_their_place(
    streams: Streams, login_as: Callable[..., Awaitable[httpx2.AsyncClient]], shop: str
) -> None:
    form = {"name": "siem", "kind": "syslog", "url": "syslog+tls://siem.example.com"}
    place = f"/api/v1/projects/{shop}/streams"
    async with await login_as("pa@example.com", (Role.ADMIN, Scope(shop))) as project_admin:
        assert (await project_admin.post("/api/v1/streams", json=form)).status_code == 403
        assert (await project_admin.post(place, json=form)).status_code == 201
        assert (await project_admin.post(place, json=form)).status_code == 409
    async with await login_as("au@example.com", (Role.AUDITOR, Scope(shop))) as auditor:
        assert [item["name"] for item in (await auditor.get(place)).json()["items"]] == ["siem"]
        for ask in (
            auditor.patch(f"{place}/siem", json={"paused": True}),
            auditor.delete(f"{place}/siem"),
            auditor.post(f"{place}/siem/test"),
        ):
            assert (await ask).status_code == 403
    async with await login_as("co@example.com", (Role.CONNECTOR, Scope(shop))) as connector:
        assert (await connector.get(place)).status_code == 403
    assert (await streams.admin.get("/api/v1/streams/siem")).status_code == 404  # it is the project's


async def test_there_is_an_end_to_how_many(streams: Streams) -> None:
    for number in range(20):
        await streams.add(f"siem-{number}", "syslog", "syslog+tls://siem.example.com")
    body = {"name": "more", "kind": "syslog", "url": "syslog+tls://siem.example.com"}
    assert (await streams.admin.post("/api/v1/streams", json=body)).status_code == 409
    first = await streams.admin.get("/api/v1/streams", params={"limit": 15})
    rest = await streams.admin.get("/api/v1/streams", params={"limit": 15, "after": first.json()["next"]})
    assert (len(first.json()["items"]), len(rest.json()["items"]), rest.json()["next"]) == (15, 5, None)


async def test_switching_commands_off_forgets_what_waited(streams: Streams, control: Control) -> None:
    await streams.add("siem", "syslog", "syslog+tls://siem.example.com")
    await control.execute("INSERT INTO stream_positions SELECT id, 'ses_x', 1, 0, '', true, created_at FROM streams")
    answer = await streams.admin.patch("/api/v1/streams/siem", json={"commands": False})
    assert answer.json()["status"]["sessions_behind"] == 0
    assert await control.count("stream_positions") == 0


# --- lines ----------------------------------------------------------------------------------------------------------

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(facts=st.dictionaries(st.text(), _VALUES, max_size=6), most=st.integers(300, 5_000), host=st.text(max_size=300))
def test_no_line_can_end_early_or_pass_for_another(facts: dict[str, Any], most: int, host: str) -> None:
    at = datetime.fromtimestamp(AT / 1e6, UTC)
    line = Line("ses_x/1/2", "command", at, Severity.NOTICE, {"id": "ses_x/1/2", "kind": "command", **facts})
    raw = syslog(line, host, most)
    message = parse_syslog(raw)
    assert all(32 <= byte < 127 for byte in raw)
    assert len(line.text(most)) <= most
    if "id" not in facts:
        assert message.line["id"] == "ses_x/1/2"
