"""A security key in software, at the level of CTAP 2 commands: what stands in for the piece of plastic, and no more.

Everything above it is real: `fido2`'s client speaks to it as to a USB key, and a relying party gets true attestation
objects, client data and signatures. It can do what a test needs of hardware that nobody has at hand: check its user or
not, count or not, be copied (`clone`), refuse to be touched, and ask for a PIN.
"""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from threading import Event
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from fido2 import cbor
from fido2.client import DefaultClientDataCollector, Fido2Client, UserInteraction
from fido2.cose import ES256, CoseKey
from fido2.ctap import STATUS, CtapDevice, CtapError
from fido2.ctap2.pin import PinProtocolV1
from fido2.hid import CAPABILITY, CTAPHID
from fido2.webauthn import (
    AttestedCredentialData,
    AuthenticatorData,
    PublicKeyCredentialCreationOptions,
    PublicKeyCredentialRequestOptions,
)

_AAGUID = bytes.fromhex("77617264676174652d736f66742d6b65")
_FLAG = AuthenticatorData.FLAG
_MAKE, _GET, _INFO, _PIN, _SELECT = 0x01, 0x02, 0x04, 0x06, 0x0B


@dataclass
class Credential:
    """One key in the key."""

    id: bytes
    rp_id: str
    user: dict[str, Any]
    key: ec.EllipticCurvePrivateKey
    counter: int = 0


@dataclass
class SoftKey(CtapDevice):
    """`verifies`: it has a fingerprint reader, which always agrees. `pin`: it asks for that first. `counts`: its
    signature counter goes up; synced passkeys say zero. `touched` is asked for the touch; False: nobody touches it."""

    verifies: bool = True
    pin: str | None = None
    counts: bool = True
    synced: bool = False
    touched: Callable[[], bool] = lambda: True
    credentials: list[Credential] = field(default_factory=list)
    capabilities: int = CAPABILITY.CBOR
    _agreement: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    _token: bytes = field(default_factory=lambda: os.urandom(16))

    def clone(self) -> SoftKey:
        """A copy of it, as a thief with the right laboratory has: the same keys, counters of its own."""
        return SoftKey(
            self.verifies, self.pin, self.counts, self.synced, self.touched, [copy.copy(c) for c in self.credentials]
        )

    @classmethod
    def list_devices(cls) -> Iterator[CtapDevice]:
        """Software is plugged in nowhere."""
        return iter(())

    # --- what a browser does with it ------------------------------------------------------------------------------

    def create(self, options: dict[str, Any], origin: str) -> dict[str, Any]:
        """`navigator.credentials.create(…).toJSON()` of a page of `origin`."""
        made = self._client(origin).make_credential(PublicKeyCredentialCreationOptions.from_dict(options))
        return _plain(made)

    def get(self, options: dict[str, Any], origin: str, *, choose: int = 0) -> dict[str, Any]:
        """`navigator.credentials.get(…).toJSON()` of a page of `origin`."""
        found = self._client(origin).get_assertion(PublicKeyCredentialRequestOptions.from_dict(options))
        return _plain(found.get_response(choose))

    def _client(self, origin: str) -> Fido2Client:
        pin = self.pin

        class Person(UserInteraction):
            def request_pin(self, permissions: Any, rp_id: str | None) -> str | None:
                return pin

        return Fido2Client(self, DefaultClientDataCollector(origin, verify=lambda *_: True), Person())

    # --- CTAP -----------------------------------------------------------------------------------------------------

    def call(
        self,
        cmd: int,
        data: bytes = b"",
        event: Event | None = None,
        on_keepalive: Callable[[STATUS], None] | None = None,
    ) -> bytes:
        """One command; the answer is a status byte and CBOR."""
        if cmd != CTAPHID.CBOR:
            raise CtapError(CtapError.ERR.INVALID_COMMAND)
        command, arguments = data[0], cbor.decode(data[1:]) if len(data) > 1 else {}
        handlers: dict[int, Callable[[Any], Any]] = {
            _INFO: self._info,
            _MAKE: lambda it: self._make(it, on_keepalive),
            _GET: lambda it: self._get(it, on_keepalive),
            _PIN: self._client_pin,
            _SELECT: lambda _: self._touch(on_keepalive),
        }
        try:
            answer = handlers[command](arguments)
        except KeyError:
            return bytes([CtapError.ERR.INVALID_COMMAND])
        except CtapError as error:
            return bytes([error.code])
        return b"\0" + (b"" if answer is None else cbor.encode(answer))

    def _info(self, _: Any) -> dict[int, Any]:
        options: dict[str, bool] = {"rk": True, "up": True}
        if self.verifies and self.pin is None:
            options["uv"] = True
        if self.pin is not None:
            options["clientPin"] = True
        return {1: ["FIDO_2_0"], 2: [], 3: _AAGUID, 4: options, 5: 1200, 6: [1], 7: 8, 8: 64}

    def _touch(self, on_keepalive: Callable[[STATUS], None] | None) -> None:
        if on_keepalive is not None:
            on_keepalive(STATUS.UPNEEDED)
        if not self.touched():
            raise CtapError(CtapError.ERR.USER_ACTION_TIMEOUT)

    def _verified(self, client_data_hash: bytes, proof: bytes | None, options: dict[str, Any]) -> bool:
        if self.pin is not None and proof is not None:
            if proof != PinProtocolV1().authenticate(self._token, client_data_hash):  # type: ignore[no-untyped-call]
                raise CtapError(CtapError.ERR.PIN_AUTH_INVALID)
            return True
        return self.verifies and self.pin is None and bool(options.get("uv"))

    def _make(self, arguments: dict[int, Any], on_keepalive: Callable[[STATUS], None] | None) -> dict[int, Any]:
        rp, user, options = arguments[2], arguments[3], arguments.get(7, {})
        if ES256.ALGORITHM not in [each["alg"] for each in arguments[4]]:
            raise CtapError(CtapError.ERR.UNSUPPORTED_ALGORITHM)
        verified = self._verified(arguments[1], arguments.get(8), options)
        self._touch(on_keepalive)
        if arguments.get(5) and self._held(rp["id"], arguments[5]):
            raise CtapError(CtapError.ERR.CREDENTIAL_EXCLUDED)
        made = Credential(os.urandom(32), rp["id"], dict(user), ec.generate_private_key(ec.SECP256R1()))
        self.credentials.append(made)
        public = ES256.from_cryptography_key(made.key.public_key())  # type: ignore[no-untyped-call]
        attested = AttestedCredentialData.create(_AAGUID, made.id, public)
        return {1: "none", 2: self._said(made, verified, attested), 3: {}}

    def _get(self, arguments: dict[int, Any], on_keepalive: Callable[[STATUS], None] | None) -> dict[int, Any]:
        options = arguments.get(5, {})
        verified = self._verified(arguments[2], arguments.get(6), options)
        present = options.get("up", True)
        if present:
            self._touch(on_keepalive)
        held = self._held(arguments[1], arguments.get(3))
        if not held:
            raise CtapError(CtapError.ERR.NO_CREDENTIALS)
        chosen = held[-1]  # the newest, as keys without a screen do
        data = self._said(chosen, verified, None, present=present)
        signature = chosen.key.sign(bytes(data) + arguments[2], ec.ECDSA(hashes.SHA256()))
        answer: dict[int, Any] = {1: {"id": chosen.id, "type": "public-key"}, 2: bytes(data), 3: signature}
        if not arguments.get(3):
            answer[4] = {"id": chosen.user["id"]}
        return answer

    def _held(self, rp_id: str, wanted: list[dict[str, Any]] | None) -> list[Credential]:
        ids = None if wanted is None else {each["id"] for each in wanted}
        return [c for c in self.credentials if c.rp_id == rp_id and (ids is None or c.id in ids)]

    def _said(
        self,
        credential: Credential,
        verified: bool,
        attested: AttestedCredentialData | None,
        *,
        present: bool = True,
    ) -> AuthenticatorData:
        if self.counts and present:
            credential.counter += 1
        flags = (_FLAG.UP if present else _FLAG(0)) | (_FLAG.UV if verified else _FLAG(0))
        flags |= (_FLAG.BE | _FLAG.BS) if self.synced else _FLAG(0)
        flags |= _FLAG(0) if attested is None else _FLAG.AT
        data: AuthenticatorData = AuthenticatorData.create(
            hashlib.sha256(credential.rp_id.encode()).digest(), flags, credential.counter, attested or b""
        )
        return data

    # --- its PIN, protocol one ------------------------------------------------------------------------------------

    def _client_pin(self, arguments: dict[int, Any]) -> dict[int, Any]:
        step = arguments[2]
        if step == 1:
            return {3: 8}
        if step == 2:
            return {1: _agreement_key(self._agreement)}
        if step == 5:
            return {2: self._token_for(arguments)}
        raise CtapError(CtapError.ERR.INVALID_COMMAND)

    def _token_for(self, arguments: dict[int, Any]) -> bytes:
        peer = CoseKey.parse(arguments[3])
        numbers = ec.EllipticCurvePublicNumbers(
            int.from_bytes(peer[-2], "big"), int.from_bytes(peer[-3], "big"), ec.SECP256R1()
        )
        shared = hashlib.sha256(self._agreement.exchange(ec.ECDH(), numbers.public_key())).digest()
        cipher = Cipher(algorithms.AES(shared), modes.CBC(bytes(16)))
        opened = cipher.decryptor().update(arguments[6])
        if self.pin is None or opened != hashlib.sha256(self.pin.encode()).digest()[:16]:
            raise CtapError(CtapError.ERR.PIN_INVALID)
        return cipher.encryptor().update(self._token)


def _agreement_key(key: ec.EllipticCurvePrivateKey) -> dict[int, Any]:
    numbers = key.public_key().public_numbers()
    return {1: 2, 3: -25, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}


def _plain(answer: Any) -> dict[str, Any]:
    """JSON as a page would send it."""
    document = dict(answer)
    document["response"] = dict(answer.response)
    document["clientExtensionResults"] = dict(answer.client_extension_results)
    return document
