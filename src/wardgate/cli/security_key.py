"""Speaking with a security key that is plugged in, by USB, without a browser.

The package for it is an extra (`wardgate[security-key]`): where it is missing, or no key is plugged in, nobody is asked
to touch anything. Law: a key is asked for the control plane that this command speaks with, never for a name that an
answer contains: whoever sits in between gets a signature that is good nowhere else.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ..api.domain import PasskeySite, passkey_site
from ..api.webauthn import Options, PasskeyAssertion, PasskeyCredential
from ..errors import WardgateError

if TYPE_CHECKING:
    from fido2.client import ClientError, Fido2Client
    from fido2.ctap import CtapDevice

_CODE = "security_key"
Say = Callable[[str], None]
AskPin = Callable[[], str]
Made = TypeVar("Made")


class NotThisKeyError(WardgateError):
    """The key that is plugged in can't answer this: it is none of those that are asked for, or has no PIN."""


def find() -> CtapDevice | None:
    """A security key that is plugged in; None without one, or without the package."""
    if importlib.util.find_spec("fido2") is None:
        return None
    from fido2.hid import CtapHidDevice

    try:
        return next(iter(CtapHidDevice.list_devices()), None)
    except OSError:
        return None  # it is there, but not ours to open


class SecurityKey:
    """One key, for one control plane. `say` tells the person what to do, `ask_pin` asks for the key's PIN."""

    def __init__(self, device: CtapDevice, domain: str, say: Say, ask_pin: AskPin) -> None:
        self._device = device
        self._site = passkey_site(domain)
        self._say = say
        self._ask_pin = ask_pin

    def get(self, options: Options) -> PasskeyAssertion:
        """The key's answer to a challenge. NotThisKeyError, or WardgateError where nobody touched it."""
        from fido2.webauthn import PublicKeyCredentialRequestOptions

        site = self._checked(options.get("rpId"))

        def ask(asked: Options) -> PasskeyAssertion:
            found = self._client(site).get_assertion(PublicKeyCredentialRequestOptions.from_dict(asked))
            return PasskeyAssertion.model_validate(_plain(found.get_response(0)))

        easier = {**options, "userVerification": "discouraged"}
        return _asked(ask, options, None if options.get("userVerification") == "required" else easier)

    def create(self, options: Options) -> PasskeyCredential:
        """A new passkey on the key. NotThisKeyError where it is set up already, or WardgateError."""
        from fido2.webauthn import PublicKeyCredentialCreationOptions

        site = self._checked(options.get("rp", {}).get("id"))

        def ask(asked: Options) -> PasskeyCredential:
            made = self._client(site).make_credential(PublicKeyCredentialCreationOptions.from_dict(asked))
            return PasskeyCredential.model_validate(_plain(made))

        wish = options.get("authenticatorSelection", {})
        easier = {**options, "authenticatorSelection": {**wish, "userVerification": "discouraged"}}
        return _asked(ask, options, None if wish.get("userVerification") == "required" else easier)

    def _checked(self, rp_id: Any) -> PasskeySite:
        if self._site is None or rp_id != self._site.rp_id:
            raise NotThisKeyError(_CODE, "This control plane's passkeys are for another name than the one used here.")
        return self._site

    def _client(self, site: PasskeySite) -> Fido2Client:
        from fido2.client import DefaultClientDataCollector, Fido2Client, UserInteraction

        say, ask_pin = self._say, self._ask_pin

        class Person(UserInteraction):
            def prompt_up(self) -> None:
                say("Touch your security key.")

            def request_pin(self, permissions: Any, rp_id: str | None) -> str | None:
                return ask_pin()

        collector = DefaultClientDataCollector(site.origin, verify=lambda rp_id, _: rp_id == site.rp_id)
        return Fido2Client(self._device, collector, Person())


def _asked(ask: Callable[[Options], Made], options: Options, easier: Options | None) -> Made:
    """`ask` the key; a key that could check its user but was never given a PIN is asked without that, if it may be."""
    from fido2.client import ClientError

    try:
        try:
            return ask(options)
        except ClientError as error:
            if error.code is not ClientError.ERR.CONFIGURATION_UNSUPPORTED or easier is None:
                raise
            return ask(easier)
    except ClientError as error:
        raise _told(error) from None
    except OSError as error:
        raise WardgateError(_CODE, f"The security key went away ({error.strerror}).") from None


def _told(error: ClientError) -> WardgateError:
    """What went wrong with a key, for the person who holds it."""
    from fido2.client import ClientError
    from fido2.ctap import CtapError

    if error.code is ClientError.ERR.DEVICE_INELIGIBLE:
        return NotThisKeyError(_CODE, "That security key does not fit: it is another one, or is set up already.")
    if error.code is ClientError.ERR.CONFIGURATION_UNSUPPORTED:
        return NotThisKeyError(_CODE, "That security key can't check who you are: it has no PIN yet. Give it one.")
    if error.code is ClientError.ERR.TIMEOUT:
        return WardgateError(_CODE, "Nobody touched the security key in time.")
    cause = getattr(error.cause, "code", None)
    if cause in (CtapError.ERR.PIN_INVALID, CtapError.ERR.PIN_AUTH_INVALID):
        return WardgateError(_CODE, "That is not the security key's PIN. A few wrong ones lock it.")
    if cause in (CtapError.ERR.PIN_BLOCKED, CtapError.ERR.PIN_AUTH_BLOCKED):
        return WardgateError(_CODE, "The security key is locked after wrong PINs: take it out and put it in again.")
    return WardgateError(_CODE, f"The security key did not do it ({error.code.name.lower().replace('_', ' ')}).")


def _plain(answer: Any) -> dict[str, Any]:
    return {**answer, "response": dict(answer.response)}
