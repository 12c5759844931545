"""What pages that ask for a passkey have in common.

A page's form carries what the browser is asked (`data-options`), a script has the browser ask its user, and the answer
comes back in the field `passkey` of the same form: see `tools/web/passkeys.js`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from ...api.problems import ProblemCode, ProblemError
from .browser import is_https
from .forms import Form
from .site import Site

FIELD = "passkey"
Model = TypeVar("Model", bound=BaseModel)


def answer_in(form: Form, model: type[Model]) -> Model | None:
    """What the browser answered; None where the form has no answer. ProblemError `invalid_request`."""
    text = form.raw(FIELD)
    if not text:
        return None
    try:
        return model.model_validate_json(text)
    except ValidationError:
        raise ProblemError(ProblemCode.INVALID_REQUEST, "Your browser's answer can't be read: try again.") from None


def facts(site: Site, request: Request) -> Mapping[str, Any]:
    """For templates: `passkeys_here`, whether passkeys work at the address that the browser shows; and `passkeys_at`,
    the origin where they do (null: nowhere)."""
    origin = site.services.passkeys.origin
    here = f"{'https' if is_https(request) else 'http'}://{request.headers.get('host', '')}".lower()
    return {"passkeys_here": origin is not None and here == origin, "passkeys_at": origin}
