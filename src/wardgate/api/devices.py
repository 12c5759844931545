"""Bodies of the API that are about signing a device in without typing a password into it.

Two flows end in the same `Tokens`. A device with a browser of its own sends it to an approval page and gets a one-time
code on loopback (RFC 8252, RFC 7636); one without shows a code that somebody types in elsewhere (RFC 8628). Their
errors bear the names of those specifications as problem codes.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field, SecretStr, StringConstraints

from .models import Request

# base64url of a SHA-256, RFC 7636 section 4.2; `plain` challenges do not exist here
Challenge = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$")]
# Only the address: what "localhost" means is for the machine's resolver to say (RFC 8252 section 8.3).
_PORT = "(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
LoopbackUri = Annotated[str, StringConstraints(pattern=rf"^http://127\.0\.0\.1:{_PORT}/callback$")]
State = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{22,128}$")]
DeviceName = Annotated[str, Field(max_length=64, description="What the device calls itself; shown, never believed.")]


class BrowserRequestCreate(Request):
    """A device asks to be let in from its own browser."""

    code_challenge: Challenge
    code_challenge_method: Literal["S256"] = "S256"
    redirect_uri: LoopbackUri
    state: State
    device: DeviceName = ""


class BrowserRequest(BaseModel):
    """What the device opens in the browser, and shows beside it."""

    request_id: str
    url: str
    short_code: str = Field(description="Shown by the device and by the page, to compare.")
    expires_at: datetime


class BrowserTokenRequest(Request):
    """The code that came to the redirect address, with the proof that it is the same device which asked."""

    code: SecretStr = Field(min_length=1, max_length=128)
    code_verifier: SecretStr = Field(min_length=43, max_length=128)
    redirect_uri: LoopbackUri


class DeviceRequestCreate(Request):
    """A device asks to be let in from a browser elsewhere."""

    device: DeviceName = ""


class DeviceRequest(BaseModel):
    """What the device shows, and the secret that it asks with."""

    device_code: str = Field(repr=False)
    user_code: str = Field(description="What the person types in.")
    verification_uri: str = Field(description="Where they type it in.")
    expires_at: datetime
    interval: int = Field(description="Seconds between two questions at least.")


class DeviceTokenRequest(Request):
    """The question whether somebody has let the device in."""

    device_code: SecretStr = Field(min_length=1, max_length=128)


class PendingDevice(BaseModel):
    """A device that waits to be let in, as it is shown to who decides."""

    code: str = Field(description="The short code or the user code: what the device shows.")
    flow: Literal["browser", "code"]
    returns_to: str | None = Field(description="The origin on loopback to which the decision leads the browser.")
    name: str
    address: str | None = Field(description="Where it asked from.")
    same_address: bool = Field(description="Whether that is where you are.")
    created_at: datetime
    expires_at: datetime


class DeviceDecision(BaseModel):
    """Where the browser goes next; null: nowhere, the device asks by itself."""

    redirect: str | None = Field(default=None, repr=False)
