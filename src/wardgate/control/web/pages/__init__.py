"""The pages, by feature. Each module's `build(site)` gives its routes; `ALL` is what the application has.

Every route declares its permission with `viewer(…)` and calls the service that the API's route of the same thing calls:
pages decide nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from fastapi import APIRouter

from ..site import Site
from . import (
    accounts,
    approve,
    audit,
    devices,
    factors,
    gateways,
    groups,
    home,
    members,
    organisation,
    overview,
    passkey_sign_in,
    password,
    people,
    requests,
    resources,
    search,
    services,
    session,
    sessions,
    set_up,
    settings,
    sign_in,
    sso,
)

ALL: Final[tuple[Callable[[Site], APIRouter], ...]] = (
    set_up.build,
    sign_in.build,
    sso.build,
    passkey_sign_in.build,
    factors.build,
    approve.build,
    home.build,
    devices.build,
    password.build,
    resources.build,
    accounts.build,
    requests.build,
    gateways.build,
    overview.build,
    search.build,
    sessions.build,
    session.build,
    members.build,
    people.build,
    groups.build,
    services.build,
    audit.build,
    settings.build,
    organisation.build,
)
