"""`wardgate stream …`: set, tried, watched and removed from the command line."""

from __future__ import annotations

import pytest

from ..control.streams.receivers import Syslog
from .conftest import Live


async def test_a_stream_from_its_making_to_its_end(live: Live) -> None:
    async with Syslog() as receiver:
        url = f"syslog+tcp://127.0.0.1:{receiver.port}"
        made = await live.run("stream", "add", "siem", "--kind", "syslog", "--url", url, "--json")
        assert made.code == 0, made.err
        assert (made.json["secret"], made.json["stream"]["project_id"]) == (None, None)
        tried = await live.run("stream", "test", "siem")
        assert tried.code == 0, tried.err
        await live.control.services.deliveries.deliver(made.json["stream"]["id"])
        assert [message.msgid for message in receiver.messages][:2] == ["test", "event"]
        listed = await live.run("stream", "list")
        assert "current" in listed.out
        shown = await live.run("stream", "show", "siem")
        for word in ("commands and events", "the organisation", url):
            assert word in shown.out
        paused = await live.run("stream", "update", "siem", "--pause", "--no-events", "--json")
        assert (paused.json["status"]["state"], paused.json["events"]) == ("paused", False)
        assert (await live.run("stream", "remove", "siem")).code == 0
        assert "No stream yet" in (await live.run("stream", "list")).out
    await live.control.services.deliveries.close()


async def test_a_webhooks_secrets_stay_out_of_sight(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIEM_TOKEN", "Bearer of-the-receiver")
    arguments = [
        "--kind",
        "webhook",
        "--url",
        "https://siem.example.com/in",
        "--header-env",
        "Authorization=SIEM_TOKEN",
    ]
    made = await live.run("stream", "add", "hook", *arguments)
    assert made.code == 0, made.err
    secret = made.out.rpartition("whsec_")[2].strip()
    assert len(secret) == 44
    shown = await live.run("stream", "show", "hook", "--json")
    assert shown.json["header_names"] == ["Authorization"]
    for text in (shown.out, (await live.run("stream", "list")).out):
        assert secret not in text
        assert "of-the-receiver" not in text
    again = await live.run("stream", "secret", "hook", "--json")
    assert again.json["secret"] not in (None, f"whsec_{secret}")
    missing = await live.run("stream", "add", "more", *arguments[:-1], "Authorization=NOT_SET")
    assert missing.code == 2
    assert (await live.run("stream", "update", "hook")).code == 2
    assert (await live.run("stream", "test", "nothing")).code == 4
