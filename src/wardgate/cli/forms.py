"""Building a request from options: what a field can't take becomes a usage error that names it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from .. import durations
from ..errors import WardgateError
from .exits import Exit, ExitError

Form = TypeVar("Form", bound=BaseModel)

_NAME_RULE = "use 1 to 63 of a-z, 0-9, “.”, “_” and “-”, beginning with a letter or digit"


def build(model: type[Form], **fields: Any) -> Form:
    """`model` of `fields`; ExitError with one sentence for the first field that it refuses."""
    try:
        return model(**fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "request"
        rule = _NAME_RULE if first["type"] == "string_pattern_mismatch" else first["msg"].lower()
        raise ExitError(
            "invalid_request", f"The {field.replace('_', ' ')} can't be used: {rule}.", Exit.USAGE
        ) from None


def path(*parts: str) -> str:
    """An API path of `parts`, each quoted whole, so that no name can reach another path."""
    return "/" + "/".join(quote(part, safe="") for part in parts)


def moment(text: str | None) -> datetime | None:
    """A time, or how long ago; ExitError for anything else."""
    if text is None:
        return None
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        try:
            return datetime.now(UTC) - durations.parse(text)
        except WardgateError:
            detail = f"“{text}” is no time: give 2026-11-23T08:00:00Z, or how long ago, as 7d."
            raise ExitError("invalid_time", detail, Exit.USAGE) from None
    return read if read.tzinfo is not None else read.astimezone()
