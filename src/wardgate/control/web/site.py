"""What pages are made with: templates, the layout's facts, messages that survive a redirect, and problems as pages.

    return await site.page(request, "gateways/list.html", gateways=found)

Law: templates escape everything (autoescape is on, `Markup` is made in `showing` and in the icons alone), a page has no
inline script or style, and its Content-Security-Policy would refuse both. Pages are not compressed: what is secret in
them (the CSRF token) stands beside what a visitor typed.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ...api.models import Project
from ...api.problems import Problem, ProblemCode
from ..identity.actor import ORGANISATION, Actor, Scope
from ..identity.permissions import Permission
from ..services import Services
from ..settings import Settings
from . import browser, navigation, showing
from .assets import Assets

_THEMES = frozenset({"light", "dark"})
_FLASH = "wardgate-flash"
_THEME = "wardgate-theme"
_TONES = frozenset({"ok", "warn", "bad"})
_LONGEST_FLASH = 1024
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action {}; base-uri 'none'; frame-ancestors 'none'"
)
_TITLES = {404: "Nothing here", 403: "Not allowed", 500: "Something went wrong", 503: "Not available now"}


class Site:
    """One per application. `paths` are the patterns of the pages that exist; `app.create_app` sets them."""

    def __init__(self, services: Services) -> None:
        self.services = services
        self.settings: Settings = services.settings
        self.assets = _assets()
        self.paths: Collection[str] = frozenset()
        self._templates = _environment()

    # --- answers --------------------------------------------------------------------------------------------------

    async def page(
        self,
        request: Request,
        template: str,
        *,
        status: int = 200,
        form_targets: Sequence[str] = (),
        **facts: Any,
    ) -> HTMLResponse:
        """A whole page. `form_targets` are origins beside ours that a form of it may end at after a redirect."""
        now = self.services.sources.now()
        layout = await self._layout(request, facts)
        text = self._templates.get_template(template).render(
            {"now": now, "ago": lambda moment, never="never": showing.ago(moment, now, never), **layout, **facts}
        )
        answer = HTMLResponse(text, status)
        answer.headers["content-security-policy"] = _CSP.format(" ".join(["'self'", *form_targets]))
        answer.headers["referrer-policy"] = "same-origin"  # with no-referrer, browsers send forms with Origin: null
        answer.headers["permissions-policy"] = "camera=(), geolocation=(), microphone=()"
        if layout["flash"] is not None:
            answer.delete_cookie(browser.cookie_name(https=self.settings.door.https, name=_FLASH), path="/")
        return answer

    def redirect(
        self, request: Request, url: str, *, flash: str | None = None, tone: str = "ok", status: int = 303
    ) -> Response:
        """Go to a page of ours; `flash` is shown there once. For htmx the whole page goes there."""
        answer: Response
        if "hx-request" in request.headers:
            answer = Response(status_code=200, headers={"HX-Redirect": url})
        else:
            answer = RedirectResponse(url, status)
        if flash is not None:
            self.flash(answer, flash, tone)
        return answer

    def flash(self, answer: Response, text: str, tone: str = "ok") -> None:
        """Show `text` once, on the next page that this browser opens."""
        https = self.settings.door.https
        value = base64.urlsafe_b64encode(json.dumps([tone, text[:_LONGEST_FLASH]]).encode()).decode()
        name = browser.cookie_name(https=https, name=_FLASH)
        answer.set_cookie(name, value, max_age=60, httponly=True, secure=https, samesite="lax", path="/")

    async def problem(self, request: Request, problem: Problem) -> Response:
        """A problem as a page; who is not signed in is sent to do so, and back."""
        if problem.code is ProblemCode.NOT_LOGGED_IN:
            return self._to_sign_in(request)
        title = _TITLES.get(problem.status, problem.title)
        answer = await self.page(request, "problem.html", status=problem.status, problem=problem, title=title)
        retry_after = problem.context.get("retry_after_s")
        if isinstance(retry_after, int):
            answer.headers["retry-after"] = str(retry_after)
        return answer

    def _to_sign_in(self, request: Request) -> Response:
        asked = request.url.path if request.method in browser.SAFE_METHODS else "/"
        if request.url.query and asked != "/":
            asked = f"{asked}?{request.url.query}"
        url = "/sign-in" if asked == "/" else f"/sign-in?{urlencode({'next': asked})}"
        answer = self.redirect(request, url)
        if browser.cookie_of(request) is not None:
            browser.clear_cookie(request, answer)
            self.flash(answer, "Your sign-in has ended: please sign in again.", "warn")
        return answer

    # --- the layout's facts -----------------------------------------------------------------------------------------

    async def _layout(self, request: Request, facts: dict[str, Any]) -> dict[str, Any]:
        """What every page's frame shows: who looks, where they are, and where they can go."""
        actor: Actor | None = getattr(request.state, "viewer", None)
        project: Project | None = facts.get("project")
        if project is None and actor is not None:
            project = await self._project(request, actor)
        inside: list[navigation.Link] = []
        outside: list[navigation.Link] = []
        if actor is not None:
            inside, outside = navigation.links(actor, None if project is None else project.id, self.paths)
        theme = request.cookies.get(_THEME)
        return {
            "actor": actor,
            "project": project,
            "project_links": inside,
            "organisation_links": outside,
            "csrf": browser.csrf_of(request) if actor is not None else "",
            "flash": self._flash_of(request),
            "theme": theme if theme in _THEMES else None,
            "here": request.url.path,
            "has_page": self.paths.__contains__,
        }

    async def _project(self, request: Request, actor: Actor) -> Project | None:
        """The project that the page is of, if the viewer sees it."""
        project_id = request.path_params.get("project_id")
        if project_id is None or not actor.sees(Scope(project_id)):
            return None
        async with self.services.database.read() as session:
            if not await self.services.projects.exists(session, project_id):
                return None
        return await self.services.projects.get(project_id)

    def _flash_of(self, request: Request) -> dict[str, str] | None:
        """The message that a page before left; nothing of it is trusted but that it is text."""
        kept = request.cookies.get(browser.cookie_name(https=self.settings.door.https, name=_FLASH))
        if not kept:
            return None
        try:
            tone, text = json.loads(base64.urlsafe_b64decode(kept.encode()))
        except (ValueError, binascii.Error):
            return None
        if tone not in _TONES or not isinstance(text, str):
            return None
        return {"tone": tone, "text": text[:_LONGEST_FLASH]}


@lru_cache(maxsize=1)
def _assets() -> Assets:
    return Assets()


@lru_cache(maxsize=1)
def _environment() -> Environment:
    """The templates, compiled once for all applications of a process."""
    environment = Environment(
        loader=PackageLoader(__package__ or "wardgate.control.web", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.globals.update(
        asset=_assets().url,
        icon=_icon,
        Permission=Permission,
        Scope=Scope,
        ORGANISATION=ORGANISATION,
        query=_query,
    )
    environment.filters.update(
        exact=showing.exact,
        lasting=showing.lasting,
        milliseconds=showing.milliseconds,
        number=showing.number,
        path=lambda text: quote(str(text), safe=""),
        status=showing.status,
    )
    return environment


def _icon(name: str, classes: str = "") -> Markup:
    """An icon, as SVG in the page; hidden from screen readers, for a word always stands beside it."""
    return Markup(
        '<svg class="icon {}" viewBox="0 0 24 24" fill="none" stroke="currentColor" stroke-width="2" '
        'stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">{}</svg>'
    ).format(classes, Markup(_assets().icons[name]))  # noqa: S704 - built from lucide, not from anybody's input


def safe_next(wanted: str | None, otherwise: str = "/") -> str:
    """A path of ours to go on to, from what a query says; anything that could lead elsewhere is `otherwise`."""
    if not wanted or not wanted.startswith("/") or wanted.startswith("//") or "\\" in wanted:
        return otherwise
    return wanted if wanted.isprintable() and not wanted.startswith("/sign-in") else otherwise


def _query(values: dict[str, Any], **changes: Any) -> str:
    """`?…` of the values with some changed; those that are empty are left out."""
    merged = {**values, **changes}
    kept = {name: str(value) for name, value in merged.items() if value not in (None, "", False)}
    return f"?{urlencode(kept)}" if kept else "?"
