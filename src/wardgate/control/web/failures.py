"""Every failure is a problem document, and none repeats what was sent.

Services raise ProblemError; what the framework finds (no such route, wrong method, a body that does not fit its model,
one that is too large) is put into the same form here; anything else is a bug of ours: the log has the traceback, the
client has the request id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from ...api.problems import FieldError, Problem, ProblemCode, ProblemError
from ...errors import WardgateError
from ...net import logs
from .routes import API

MEDIA_TYPE = "application/problem+json"
_MOST_ERRORS = 20
# Classes of SQLSTATE. A lock that was not got in time, and a deadlock, are gone when the client asks again.
_BAD_VALUE = ("22",)
_AWAY = ("08", "40", "53", "55", "57")
_MOST_FIELD_CHARS = 100
# Messages of the validation library that quote what was typed; the type alone says enough.
_QUOTING = {
    "union_tag_invalid": "Not one of the known kinds.",
    "json_invalid": "Not valid JSON.",
}
_BY_STATUS = {
    404: (ProblemCode.NOT_FOUND, "There is nothing at this address."),
    405: (ProblemCode.METHOD_NOT_ALLOWED, "This address does not take that method."),
    413: (ProblemCode.TOO_LARGE, "The request's body is larger than this address takes."),
}

_log = logs.get("control.web")


def install(app: FastAPI) -> None:
    """Register the handlers."""
    app.add_exception_handler(WardgateError, _on_wardgate_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(DBAPIError, _on_database)
    app.add_exception_handler(PoolTimeout, _on_database)


def problem_response(problem: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """`problem` as an HTTP answer, with the headers its status asks for."""
    extra = dict(headers or {})
    if problem.status == 401:
        extra.setdefault("WWW-Authenticate", "Bearer")
    retry_after = problem.context.get("retry_after_s")
    if problem.status == 429 and isinstance(retry_after, int):
        extra.setdefault("Retry-After", str(retry_after))
    return JSONResponse(
        problem.model_dump(mode="json"), status_code=problem.status, media_type=MEDIA_TYPE, headers=extra
    )


async def answer(request: Request, problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """`problem` as whoever asked reads it: a page for pages, a problem document for the API."""
    if request.url.path.startswith(API):
        return problem_response(problem, headers)
    page: Response = await request.app.state.site.problem(request, problem)
    return page


async def _on_wardgate_error(request: Request, error: Exception) -> Response:
    if isinstance(error, ProblemError):
        return await answer(request, error.problem)
    if isinstance(error, WardgateError) and error.code in {code.value for code in ProblemCode}:
        # Floor-0 rooms raise plain WardgateErrors; where their code is one of the contract's, it is meant as such.
        return await answer(request, ProblemError(ProblemCode(error.code), error.message).problem)
    return await answer(request, bug_problem(request.scope.get("wardgate.request_id", ""), error))


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = field_errors(error.errors())
    first = errors[0] if errors else FieldError(field="body", message="Not valid.")
    detail = f"The request is not valid: {first.field}: {first.message}"
    return await answer(request, ProblemError(ProblemCode.INVALID_REQUEST, detail, errors=errors).problem)


def field_errors(errors: Sequence[Mapping[str, Any]]) -> list[FieldError]:
    """The validation library's errors without its `input`, `ctx` and `url`, all of which can hold what was sent."""
    found = []
    for error in errors[:_MOST_ERRORS]:
        path = [str(part) for part in error.get("loc", ()) if part != "body"]
        message = _QUOTING.get(error.get("type", ""), str(error.get("msg", "Not valid.")))
        message = message.removeprefix("Value error, ")
        if error.get("type") == "json_invalid":
            path = []  # where in the text it broke, counted in characters: no field
        found.append(FieldError(field=".".join(path)[:_MOST_FIELD_CHARS] or "body", message=message))
    return found


async def _on_database(request: Request, error: Exception) -> Response:
    """What PostgreSQL says beyond our own rules: a value that it can't keep is the sender's, its absence is nobody's.

    Such values (a NUL in a text, a number that no column holds) match nothing on SQLite; here they are refused.
    """
    state = str(getattr(getattr(error, "orig", None), "sqlstate", None) or "")
    if state.startswith(_BAD_VALUE):
        detail = "A value in the request is none that the database can keep or look for."
        return await answer(request, ProblemError(ProblemCode.INVALID_REQUEST, detail).problem)
    if isinstance(error, DBAPIError) and not error.connection_invalidated and not state.startswith(_AWAY):
        return await answer(request, bug_problem(request.scope.get("wardgate.request_id", ""), error))
    _log.error("the database is away or busy", error=type(error).__name__, state=state)
    detail = "The control plane's database does not answer now: try again in a moment."
    return await answer(request, ProblemError(ProblemCode.DATABASE_UNAVAILABLE, detail).problem)


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code, detail = _BY_STATUS.get(error.status_code, (None, ""))
    if code is None:
        code = ProblemCode.INTERNAL if error.status_code >= 500 else ProblemCode.INVALID_REQUEST
        detail = "The request could not be served." if code is ProblemCode.INTERNAL else "The request is not valid."
    return await answer(request, ProblemError(code, detail).problem, error.headers)


def bug_problem(request_id: str, error: BaseException) -> Problem:
    """The problem for an exception that nobody foresaw, which is logged."""
    # The type and the place, not the text: an exception's text may quote a value. Ours never does.
    why = error.message if isinstance(error, WardgateError) else None
    _log.error("request failed", request_id=request_id, error=type(error).__name__, why=why, at=_place(error))
    detail = f"Something went wrong in the control plane; its log has the cause under request {request_id}."
    return ProblemError(ProblemCode.INTERNAL, detail, context={"request_id": request_id}).problem


def _place(error: BaseException) -> list[str]:
    """The frames of the traceback, innermost last, without values."""
    frames = []
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        frames.append(f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return frames[-12:]
