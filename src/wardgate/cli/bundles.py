"""Verifying an exported bundle on this machine: no control plane is asked, nothing in the file is believed."""

from __future__ import annotations

import base64
from pathlib import Path

from ..api.models import Verification, VerificationState
from ..proof.bundle import Bundle, BundleError
from ..proof.seals import TrustedKeys
from .exits import Exit, ExitError


def verify_bundle(path: Path, key: Path, session_id: str | None) -> Verification:
    """What the bundle is worth; ExitError where a file is not what it should be."""
    try:
        trusted = TrustedKeys(key.read_bytes())
    except (OSError, ValueError) as error:
        raise ExitError("invalid_key", f"{key} can't be used as the published keys: {error}.", Exit.USAGE) from error
    try:
        with path.open("rb") as file:
            return _checked(Bundle(file), trusted, session_id)
    except (OSError, BundleError) as error:
        raise ExitError("invalid_bundle", f"{path} can't be verified: {error}.", Exit.FAILED) from error


def _checked(bundle: Bundle, trusted: TrustedKeys, session_id: str | None) -> Verification:
    manifest = bundle.manifest
    if session_id is not None and manifest.session_id != session_id:
        raise ExitError("invalid_bundle", f"The bundle is of session {manifest.session_id[:64]}.", Exit.FAILED)
    checked = bundle.check(trusted)
    answer = Verification(
        session_id=manifest.session_id,
        state=VerificationState.VERIFIED,
        records=checked.records,
        epochs=len(manifest.epochs),
        seals=len(manifest.seals),
        sealed_at=checked.sealed_at,
    )
    if checked.last is not None:
        answer.head = checked.last.hash.hex()
    broken = checked.broken
    if broken is not None:
        answer.state, answer.how = VerificationState.TAMPERED, broken.how.value
        answer.epoch, answer.seq, answer.detail = broken.epoch, broken.seq, str(broken)
    elif checked.sealed:
        answer.signature = base64.b64encode(manifest.seals[-1].signature).decode()
    elif manifest.ended:
        answer.state = VerificationState.INCOMPLETE
        answer.detail = "The control plane has not sealed the end of this session: its record was not whole then."
    else:
        answer.state = VerificationState.OPEN
        answer.detail = "The session went on when it was exported: export it again after its end."
    return answer
