"""HTML forms: what was sent, as text; what a contract model makes of it; and what to show when that is refused.

A form's fields have the names of the API model's fields, so that the model's own errors stand beside the right field.

Law: a secret is never put back into a page. `Filled` holds the text of the fields that were named as shown; a template
can't reach any other.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from fastapi import Request
from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError
from starlette.types import ASGIApp, Receive, Scope, Send

from ...api.problems import FieldError, Problem, ProblemCode, ProblemError
from .failures import field_errors

_FORM_TYPE = "application/x-www-form-urlencoded"
_MOST_FIELDS = 200

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Form:
    """A form as it was sent: the last value of each field, as text."""

    values: Mapping[str, str] = field(repr=False)

    @classmethod
    async def of(cls, request: Request) -> Form:
        """The request's form; ProblemError `invalid_request` where its body is none."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        body = await request.body()
        if body and kind != _FORM_TYPE:
            raise ProblemError(ProblemCode.INVALID_REQUEST, "The request's body is not a form.")
        try:
            pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
        except ValueError:  # UnicodeDecodeError is one
            raise ProblemError(ProblemCode.INVALID_REQUEST, "The form can't be read.") from None
        return cls({name: value.replace("\r\n", "\n") for name, value in pairs})

    def text(self, name: str) -> str:
        """A field without the blanks around it; "" if it was not sent."""
        return self.values.get(name, "").strip()

    def raw(self, name: str) -> str:
        """A field byte for byte, for passwords."""
        return self.values.get(name, "")

    def flag(self, name: str) -> bool:
        """Whether a box was ticked."""
        return name in self.values

    def read(self, model: type[Model], *, only: Collection[str] | None = None, **more: Any) -> Model:
        """`model` of the fields (of those in `only`), and `more` beside them; ProblemError `invalid_request`.

        A box that was not ticked is false. An empty field is left out where the model has a default, so that its
        default counts, and stays empty where it has none.
        """
        data: dict[str, Any] = {}
        for name, info in model.model_fields.items():
            if name in more or (only is not None and name not in only):
                continue
            if info.annotation in (bool, bool | None):
                data[name] = self.flag(name)
                continue
            secret = _is_secret(info.annotation)
            value = self.raw(name) if secret else self.text(name)
            if name in self.values and (value or info.is_required()):
                data[name] = value
        try:
            return model.model_validate({**data, **more})
        except ValidationError as error:
            errors = field_errors([{**each} for each in error.errors(include_input=False, include_url=False)])
            raise ProblemError(ProblemCode.INVALID_REQUEST, "Some fields need your attention.", errors=errors) from None


@dataclass(frozen=True, slots=True)
class Filled:
    """A form as a page shows it (again): values by field, what is wrong with each, and with the whole."""

    values: Mapping[str, Any] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    problem: Problem | None = None

    def value(self, name: str) -> Any:
        """What stands in the field."""
        value = self.values.get(name)
        return "" if value is None else value

    def error(self, name: str) -> str | None:
        """What is wrong with the field."""
        return self.errors.get(name)

    @classmethod
    def again(
        cls,
        form: Form,
        refused: ProblemError,
        shown: Collection[str],
        blame: Mapping[ProblemCode, str] | None = None,
    ) -> Filled:
        """The form that was refused. `shown` are the fields that may be shown again (no secrets), `blame` names the
        field that a code is about, for problems that name none."""
        problem = refused.problem
        errors = problem.errors
        field_to_blame = (blame or {}).get(problem.code)
        if not errors and field_to_blame is not None:
            errors = [FieldError(field=field_to_blame, message=problem.detail)]
        by_field = {each.field: _sentence(each.message) for each in reversed(errors)}
        return cls({name: form.values[name] for name in shown if name in form.values}, by_field, problem)


def _is_secret(annotation: Any) -> bool:
    parts = getattr(annotation, "__args__", (annotation,))
    return any(part in (SecretStr, SecretBytes) for part in parts)


# The validation library's words for what is missing; a person needs no “string should have at least 1 character”.
_PLAIN = (
    ("String should have at least 1 character", "Please fill this in."),
    ("Value should have at least 1 item", "Please fill this in."),
    ("Field required", "Please fill this in."),
    (
        "String should match pattern",
        "Use lower-case letters, digits, “.”, “_” and “-”, beginning with a letter or digit.",
    ),
)


def _sentence(message: str) -> str:
    return next((plain for said, plain in _PLAIN if message.startswith(said)), message)


class WithoutEmpty:
    """ASGI middleware: the pages' routes see no parameter in their query that is empty.

    A browser sends every field of a filter, also those that nobody filled in (`?user=&end_reason=`), and means nothing
    by them. The API below `api` is left alone: there an empty value is a mistake to be told of.
    """

    def __init__(self, app: ASGIApp, *, api: str) -> None:
        self._app = app
        self._api = api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "http" and not scope["path"].startswith(self._api):
            scope["query_string"] = b"&".join(
                each for each in scope["query_string"].split(b"&") if each.partition(b"=")[2]
            )
        await self._app(scope, receive, send)
