"""Building a request from options: a refusal of the model becomes a usage error that names the field."""

from __future__ import annotations

from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

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
