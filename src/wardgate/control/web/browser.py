"""The browser's login: a cookie, and proof that a form came from our own page.

The cookie holds an opaque token that is kept hashed; scripts can't read it and other sites' requests don't bear it on
anything that changes something (SameSite=Lax). Every unsafe method must also come from our own origin (the Origin
header, which browsers set and pages can't) and bear the CSRF token, which is an HMAC under the cookie's token: nobody
who can't read the cookie can make it, and it ends with the login.

    actor: Annotated[Actor, Depends(viewer(Permission.PROJECT_GATEWAY_READ))]

declares a page as `requires` declares an API route, and gives the same Actor.

Law: pages take the cookie and nothing else, the JSON API takes bearer tokens and nothing else. So no page on the
Internet can make a browser use the API, and no stolen access token opens pages.
"""

from __future__ import annotations

import base64
import hmac
from typing import Final

from fastapi import Request, Response

from ...api.problems import ProblemCode, ProblemError
from ..identity.actor import Actor
from ..identity.guard import cause_of, requires
from ..identity.model import TokenKind
from .forms import Form

SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
CSRF_FIELD = "csrf"
CSRF_HEADER = "x-csrf-token"
_CSRF_CONTEXT = b"wardgate csrf 1"


def cookie_name(*, https: bool, name: str = "wardgate") -> str:
    """`__Host-` binds a cookie to exactly this host over https; browsers refuse the prefix on plain loopback."""
    return f"__Host-{name}" if https else name


def is_https(request: Request) -> bool:
    """Whether people reach us by https."""
    https: bool = request.app.state.site.settings.door.https
    return https


def set_cookie(request: Request, response: Response, token: str) -> None:
    """Sign the browser in. The cookie goes when the browser is closed; the token ends earlier by itself."""
    https = is_https(request)
    response.set_cookie(cookie_name(https=https), token, httponly=True, secure=https, samesite="lax", path="/")


def clear_cookie(request: Request, response: Response) -> None:
    """Forget the login in the browser."""
    https = is_https(request)
    response.delete_cookie(cookie_name(https=https), httponly=True, secure=https, samesite="lax", path="/")


def cookie_of(request: Request) -> str | None:
    """The token in the browser's cookie."""
    return request.cookies.get(cookie_name(https=is_https(request))) or None


def csrf_of(request: Request) -> str:
    """The token that forms of this login bear; "" without a login."""
    token = cookie_of(request)
    if token is None:
        return ""
    proof = hmac.digest(token.encode(), _CSRF_CONTEXT, "sha256")
    return base64.urlsafe_b64encode(proof).rstrip(b"=").decode()


def check_origin(request: Request) -> None:
    """ProblemError `forbidden` unless our own page sent this. For pages without a login it is all there is."""
    if request.method in SAFE_METHODS:
        return
    ours = f"{'https' if is_https(request) else 'http'}://{request.headers.get('host', '')}".lower()
    if request.headers.get("origin", "").lower() != ours:
        raise ProblemError(
            ProblemCode.FORBIDDEN, "That came from another site, or from a page of another address: open it here."
        )


async def check_csrf(request: Request) -> None:
    """ProblemError `forbidden` unless the form bears the token of this login."""
    if request.method in SAFE_METHODS:
        return
    sent = request.headers.get(CSRF_HEADER) or (await Form.of(request)).raw(CSRF_FIELD)
    expected = csrf_of(request)
    if not expected or not hmac.compare_digest(sent.encode(), expected.encode()):
        raise ProblemError(
            ProblemCode.FORBIDDEN, "That form is of an earlier sign-in: go back, reload the page and try again."
        )


async def find_viewer(request: Request) -> Actor | None:
    """Who looks at a page that needs no login; None for nobody."""
    try:
        return await _authenticate(request)
    except ProblemError as error:
        if error.problem.code is not ProblemCode.NOT_LOGGED_IN:
            raise
        return None


async def _authenticate(request: Request) -> Actor:
    token = cookie_of(request)
    if token is None:
        raise ProblemError(ProblemCode.NOT_LOGGED_IN, "Please sign in.")
    site = request.app.state.site
    actor: Actor = await site.services.sign_ins.authenticate(token, cause_of(request), TokenKind.BROWSER)
    request.state.viewer = actor
    return actor


class viewer(requires):  # noqa: N801 - reads as a word at the route
    """The permission declaration of one page: `requires` for whoever the cookie stands for."""

    async def identify(self, request: Request) -> Actor:
        """Whose cookie that is. A form must be of our own page and of this very login."""
        check_origin(request)
        actor = await _authenticate(request)
        await check_csrf(request)
        return actor
