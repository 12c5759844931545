from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog

from wardgate.net import logs
from wardgate.secret import Secret


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    logs.configure("test", json=True)
    yield written
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


SECRETS = [
    "wge1_eyJ1cmwiOiJodHRwOi8vMTI3LjAuMC4xIn0",
    "wga1_AAAAAAAAAAAAAAAAAAAAAAAA",
    "Bearer wga1_AAAAAAAAAAAAAAAAAAAAAAAA",
    "WGA1 eyJraWQiOiJ4In0.MEUCIQ",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_tokens_never_reach_a_line(lines: io.StringIO, secret: str) -> None:
    log = logs.get("x")
    log.info(f"said {secret} here", note=secret, deep={"list": [f"a {secret} b"]})
    logging.getLogger("other").warning("said %s", secret)
    text = lines.getvalue()
    assert len(text.splitlines()) == 2
    for part in secret.split():
        if len(part) > 6:
            assert part not in text


def test_telling_names_are_enough(lines: io.StringIO) -> None:
    logs.get("x").info(
        "e",
        password="hunter2",
        api_key="hunter2",
        nested={"client_secret": "hunter2"},
        hidden=Secret("hunter2"),
        raw=b"hunter2",
        uri="mongodb://user:hunter2@db1/",
    )
    assert "hunter2" not in lines.getvalue()


def test_an_exception_is_redacted_too(lines: io.StringIO) -> None:
    try:
        raise ValueError(SECRETS[0])
    except ValueError:
        logs.get("x").exception("failed")
    assert SECRETS[0] not in lines.getvalue()
    assert "ValueError" in lines.getvalue()


def test_facts_are_kept(lines: io.StringIO) -> None:
    logs.get("x").info("gateway connected", gateway="gw_1", token_id="tok_1", count=3)
    line = json.loads(lines.getvalue())
    assert line["event"] == "gateway connected"
    assert (line["gateway"], line["token_id"], line["count"], line["level"]) == ("gw_1", "tok_1", 3, "info")
    assert line["program"] == "test"
