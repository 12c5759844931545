"""Signing a device in over HTTP: the device's own requests, which need no login, and the decision, which does."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from ...api.devices import (
    BrowserRequest,
    BrowserRequestCreate,
    BrowserTokenRequest,
    DeviceDecision,
    DeviceRequest,
    DeviceRequestCreate,
    DeviceTokenRequest,
    PendingDevice,
)
from ...api.models import Tokens
from ...secret import Secret
from ..identity import Actor, Permission, requires
from ..identity.guard import cause_of
from .service import DeviceService

_Approver = Annotated[Actor, Depends(requires(Permission.SELF_DEVICE_APPROVE))]


def build(devices: DeviceService) -> APIRouter:
    """The routes below `/auth` that are about other devices."""
    router = APIRouter(prefix="/auth", tags=["identity"])
    _device(router, devices)
    _decisions(router, devices)
    return router


def _device(router: APIRouter, devices: DeviceService) -> None:
    @router.post("/browser-requests", status_code=201)
    async def create_browser_request(body: BrowserRequestCreate, request: Request) -> BrowserRequest:
        """Ask to be let in from the browser on the same machine (RFC 8252, with PKCE)."""
        return await devices.begin_browser(body, cause_of(request))

    @router.post("/browser-requests/{request_id}/token")
    async def redeem_browser_request(request_id: str, body: BrowserTokenRequest, request: Request) -> Tokens:
        """Exchange the one-time code that came to the redirect address."""
        return await devices.redeem_browser(request_id, body, cause_of(request))

    @router.post("/device-requests", status_code=201)
    async def create_device_request(body: DeviceRequestCreate, request: Request) -> DeviceRequest:
        """Ask to be let in from a browser elsewhere (RFC 8628)."""
        return await devices.begin_code(body, cause_of(request))

    @router.post("/device-requests/token")
    async def redeem_device_request(body: DeviceTokenRequest, request: Request) -> Tokens:
        """Ask whether somebody has let the device in: `authorization_pending` and `slow_down` mean: ask again."""
        return await devices.redeem_code(Secret(body.device_code.get_secret_value()), cause_of(request))


def _decisions(router: APIRouter, devices: DeviceService) -> None:
    @router.get("/waiting-devices/{code}")
    async def get_waiting_device(code: str, actor: _Approver) -> PendingDevice:
        """A device that waits to be let in, by the code that it shows or the id of its request."""
        return await devices.describe(actor, code)

    @router.post("/waiting-devices/{code}/approve")
    async def approve_waiting_device(code: str, actor: _Approver) -> DeviceDecision:
        """Let a device in as yourself; `fresh_sign_in_required` unless you signed in a moment ago."""
        return await devices.approve(actor, code)

    @router.post("/waiting-devices/{code}/deny")
    async def deny_waiting_device(code: str, actor: _Approver) -> DeviceDecision:
        """Turn a device away."""
        return await devices.deny(actor, code)
