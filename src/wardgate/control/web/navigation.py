"""The navigation: which pages there are, for whom, and the keys that lead there.

An entry is shown to who has its permission in the project (or, for the second group, in the organisation), and only
where the application has a page at that address: a feature that adds its page is in the navigation at once.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from ..identity.actor import ORGANISATION, Actor, Scope
from ..identity.permissions import Permission


@dataclass(frozen=True, slots=True)
class Entry:
    """One page of the navigation. `path` is the route's pattern; `keys` are typed after `g`."""

    key: str
    label: str
    icon: str
    path: str
    permission: Permission
    keys: str = ""


PROJECT: Final = (
    Entry("overview", "Overview", "gauge", "/projects/{project_id}/overview", Permission.ACCOUNT_OWN_SESSION_READ, "o"),
    Entry(
        "resources", "Resources", "database", "/projects/{project_id}/resources", Permission.RESOURCE_DETAILS_READ, "r"
    ),
    Entry(
        "sessions",
        "Sessions",
        "square-terminal",
        "/projects/{project_id}/sessions",
        Permission.ACCOUNT_OWN_SESSION_READ,
        "s",
    ),
    Entry("search", "Search", "search", "/projects/{project_id}/search", Permission.ACCOUNT_RECORD_READ, "f"),
    Entry(
        "requests",
        "Requests",
        "inbox",
        "/projects/{project_id}/requests",
        Permission.ACCOUNT_DETAILS_READ,
        "q",
    ),
    Entry("gateways", "Gateways", "router", "/projects/{project_id}/gateways", Permission.PROJECT_GATEWAY_READ, "w"),
    Entry("members", "Members", "users", "/projects/{project_id}/members", Permission.ACCOUNT_BINDING_READ, "m"),
    Entry("audit", "Audit log", "scroll-text", "/projects/{project_id}/audit", Permission.PROJECT_AUDIT_READ, "a"),
    Entry(
        "settings",
        "Settings",
        "sliders-horizontal",
        "/projects/{project_id}/settings",
        Permission.PROJECT_RECORDS_READ,
        "e",
    ),
)

GLOBAL: Final = (
    Entry("people", "People", "user-round", "/users", Permission.ORGANISATION_USER_READ, "u"),
    Entry("groups", "Groups", "users-round", "/groups", Permission.ORGANISATION_GROUP_READ),
    Entry("services", "Services", "bot", "/services", Permission.ORGANISATION_SERVICE_READ),
    Entry("relays", "Relays", "waypoints", "/relays", Permission.ORGANISATION_RELAY_READ, "y"),
    Entry("events", "Audit log", "scroll-text", "/audit", Permission.ORGANISATION_AUDIT_VERIFY),
    Entry("organisation", "Organisation", "building-2", "/settings", Permission.ORGANISATION_SETTINGS_READ),
)


@dataclass(frozen=True, slots=True)
class Link:
    """An entry as a page shows it."""

    key: str
    label: str
    icon: str
    url: str
    keys: str


def links(actor: Actor, project_id: str | None, paths: Collection[str]) -> tuple[list[Link], list[Link]]:
    """(the project's pages, the organisation's pages) that the actor may open. `paths` are the pages that exist."""
    inside: list[Link] = []
    if project_id is not None:
        place = Scope(project_id)
        inside = [_link(each, project_id) for each in PROJECT if _shown(each, actor, place, paths)]
    return inside, [_link(each, None) for each in GLOBAL if _shown(each, actor, ORGANISATION, paths)]


def _shown(entry: Entry, actor: Actor, place: Scope, paths: Collection[str]) -> bool:
    may = actor.may(entry.permission, place) if place == ORGANISATION else actor.may_within(entry.permission, place)
    return may and entry.path in paths


def _link(entry: Entry, project_id: str | None) -> Link:
    url = entry.path if project_id is None else entry.path.format(project_id=project_id)
    return Link(entry.key, entry.label, entry.icon, url, entry.keys)
