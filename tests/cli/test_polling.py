"""How the command line asks whether it was let in: as often as it is told, until somebody has decided."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest

from wardgate.api.client import ApiClient
from wardgate.api.devices import DeviceRequest
from wardgate.api.models import Tokens, User
from wardgate.api.problems import ProblemCode, ProblemError
from wardgate.cli import sign_in
from wardgate.cli.exits import ExitError

ASKED = DeviceRequest(
    device_code="wgd1_x",
    user_code="BCDF-GHJK",
    verification_uri="https://w/device",
    expires_at=datetime(2030, 1, 1, tzinfo=UTC),
    interval=5,
)
TOKENS = Tokens(
    access_token="a", refresh_token="r", expires_at=datetime(2030, 1, 1, tzinfo=UTC), user=User(id="usr_1", email="a@b")
)


def problem(code: ProblemCode, **context: Any) -> httpx2.Response:
    document = ProblemError(code, "why", context=context).problem
    return httpx2.Response(document.status, content=document.model_dump_json())


class Answers:
    """A control plane that says these things, the last one for ever."""

    def __init__(self, *answers: httpx2.Response | Exception) -> None:
        self._answers = list(answers)
        self.slept: list[float] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        assert request.url.path == "/api/v1/auth/device-requests/token"
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx2.Response(answer.status_code, content=answer.content)

    def poll(self) -> Tokens:
        with ApiClient("http://127.0.0.1:1", transport=httpx2.MockTransport(self)) as client:
            return sign_in._poll(client, ASKED, self.slept.append)


def test_it_asks_until_it_is_let_in_and_slows_down_when_told() -> None:
    pending = problem(ProblemCode.AUTHORIZATION_PENDING, interval=5)
    slow = problem(ProblemCode.SLOW_DOWN, interval=10)
    done = httpx2.Response(200, content=TOKENS.model_dump_json())
    answers = Answers(pending, slow, problem(ProblemCode.AUTHORIZATION_PENDING, interval=10), done)
    assert answers.poll().access_token == "a"
    assert answers.slept == [5, 5, 10, 10]


@pytest.mark.parametrize("code", [ProblemCode.ACCESS_DENIED, ProblemCode.EXPIRED_TOKEN, ProblemCode.RATE_LIMITED])
def test_a_decision_ends_it(code: ProblemCode) -> None:
    with pytest.raises(ProblemError) as caught:
        Answers(problem(code)).poll()
    assert caught.value.problem.code is code


def test_a_control_plane_that_is_away_for_a_while_is_asked_more_seldom() -> None:
    away = httpx2.ConnectError("away")
    answers = Answers(away, away, httpx2.Response(200, content=TOKENS.model_dump_json()))
    answers.poll()
    assert answers.slept == [5, 10, 20]


@pytest.mark.parametrize("interval", [0, -1, 10**9, "1", None, 0.01])
def test_nonsense_for_an_interval_changes_nothing(interval: Any) -> None:
    done = httpx2.Response(200, content=TOKENS.model_dump_json())
    answers = Answers(problem(ProblemCode.SLOW_DOWN, interval=interval), done)
    answers.poll()
    assert answers.slept == [5, 5]


def test_nobody_waits_for_ever() -> None:
    answers = Answers(problem(ProblemCode.AUTHORIZATION_PENDING, interval=60))
    with pytest.raises(ExitError, match="Nobody let this device in"):
        answers.poll()
    assert sum(answers.slept) <= 1_860
