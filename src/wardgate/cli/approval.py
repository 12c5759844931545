"""Asking for an approval in the course of an access, and waiting for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import click

from ..api.approvals import AccessRequest, AccessRequestCreate, RequestStatus
from ..api.client import ApiClient
from ..api.problems import ProblemCode, ProblemError
from . import options
from .forms import path
from .output import line
from .patience import Patience

_POLL_SECONDS = 2.0

Answer = TypeVar("Answer")


def decided(client: ApiClient, request: AccessRequest) -> AccessRequest:
    """Wait until somebody has decided, or nobody has in time; Ctrl+C leaves the request where it is, and an outage of
    the control plane is waited out."""
    patience, place = Patience(worked=True), path("requests", request.id)
    while request.status is RequestStatus.PENDING:
        time.sleep(_POLL_SECONDS)
        request = patience(lambda: client.get(place, AccessRequest))
    return request


def asking(
    client: ApiClient,
    send: Callable[[], Answer],
    project_id: str,
    wanted: Callable[[str], AccessRequestCreate],
    *,
    reason: str | None,
    may_ask: bool,
) -> Answer:
    """`send()`; where that needs an approval, offer to ask for one, wait for it, and `send` again.

    `wanted` makes the request, given the reason, which the person is asked for where none is given here.
    """
    try:
        return send()
    except ProblemError as error:
        if error.problem.code is not ProblemCode.APPROVAL_REQUIRED or not may_ask or not options.on_terminal():
            raise
        request = _request(client, error, project_id, wanted, reason)
    line(f"Waiting for a decision on {request.id}; Ctrl+C leaves the request where it is.", stderr=True)
    request = decided(client, request)
    if request.status is not RequestStatus.APPROVED:
        said = f": {request.note}" if request.note else ""
        raise ProblemError(ProblemCode.APPROVAL_REQUIRED, f"The request {request.id} is {request.status.value}{said}.")
    line(f"Approved by {request.decided_by}.", stderr=True)
    return send()


def _request(
    client: ApiClient,
    error: ProblemError,
    project_id: str,
    wanted: Callable[[str], AccessRequestCreate],
    reason: str | None,
) -> AccessRequest:
    waiting = error.problem.context.get("request_id")
    if isinstance(waiting, str):
        return client.get(path("requests", waiting), AccessRequest)
    line(error.message, stderr=True)
    if not click.confirm("Ask for it now, and wait?", default=True, err=True):
        raise error
    body = wanted(reason or click.prompt("Reason", err=True))
    return client.post(path("projects", project_id, "requests"), AccessRequest, body)
