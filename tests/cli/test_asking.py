"""What a person is asked for in the course of an access. A control plane that the test plays."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import httpx2
import pytest

from wardgate.api.approvals import AccessRequestCreate
from wardgate.api.client import ApiClient
from wardgate.api.problems import ProblemCode, ProblemError
from wardgate.cli import approval, mfa

NOW = datetime.now(UTC)
APPROVED = {
    "id": "req_1",
    "project_id": "prj_1",
    "resource": "shop",
    "account": "rw",
    "user": "ann@example.com",
    "reason": "",
    "duration": "1h",
    "window": "8h",
    "status": "approved",
    "created_at": NOW.isoformat(),
    "expires_at": (NOW + timedelta(hours=1)).isoformat(),
    "decided_by": "kim@example.com",
}
NEEDED = ProblemError(ProblemCode.APPROVAL_REQUIRED, "The account needs an approval.")


@pytest.fixture(autouse=True)
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream in (sys.stdin, sys.stderr):
        monkeypatch.setattr(stream, "isatty", lambda: True)


@pytest.fixture
def prompts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    asked: list[str] = []

    def prompt(text: str, **_: Any) -> str:
        asked.append(text)
        return "typed"

    monkeypatch.setattr(click, "prompt", prompt)
    monkeypatch.setattr(click, "confirm", lambda *_, **__: True)
    return asked


def answers(*outcomes: ProblemError | str) -> Callable[[], str]:
    left = list(outcomes)

    def send() -> str:
        outcome = left.pop(0)
        if isinstance(outcome, ProblemError):
            raise outcome
        return outcome

    return send


@pytest.mark.parametrize(("given", "asked"), [("ticket 42", []), (None, ["Reason"])])
def test_a_reason_that_was_given_is_not_asked_for(prompts: list[str], given: str | None, asked: list[str]) -> None:
    sent: list[Any] = []

    def control_plane(request: httpx2.Request) -> httpx2.Response:
        sent.append(json.loads(request.content))
        return httpx2.Response(200, json=APPROVED)

    with ApiClient("http://127.0.0.1:1", transport=httpx2.MockTransport(control_plane)) as client:
        found = approval.asking(
            client,
            answers(NEEDED, "let in"),
            "prj_1",
            lambda reason: AccessRequestCreate(resource="shop", account="rw", duration="1h", reason=reason),
            reason=given,
            may_ask=True,
        )
    assert found == "let in"
    assert prompts == asked
    assert [body["reason"] for body in sent] == [given or "typed"]


def test_a_challenge_of_another_version_is_told_as_the_problem_that_it_is(prompts: list[str]) -> None:
    problem = ProblemError(ProblemCode.MFA_REQUIRED, "A second factor is needed.", context={"kind": "passkey"})

    def send(_: str | None) -> str:
        raise problem

    with ApiClient("http://127.0.0.1:1") as client, pytest.raises(ProblemError) as told:
        mfa.answering(client, send, may_ask=True)
    assert told.value is problem
    assert prompts == []
