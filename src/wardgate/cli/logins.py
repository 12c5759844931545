"""The logins of this person on this machine: one 0600 file, by domain.

The file is replaced atomically, and every change of it happens under a lock beside it: two CLIs that renew at the same
moment must not present one refresh token twice, which the control plane would take for theft and answer by ending the
whole login.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from ..api.client import ApiClient, NoLogin
from ..api.models import RefreshRequest, Tokens
from ..api.problems import ProblemError
from ..api.workloads import ServiceToken, ServiceTokenRequest
from .exits import Exit, ExitError

_EARLY = timedelta(seconds=60)  # renew before the server's clock says so


@dataclass(frozen=True, slots=True)
class StoredLogin:
    """What is kept of one login. The tokens are secrets: the repr leaves them out."""

    email: str
    access_token: str
    refresh_token: str
    expires_at: datetime

    def __repr__(self) -> str:
        return f"StoredLogin(email={self.email!r})"

    @classmethod
    def of(cls, tokens: Tokens) -> StoredLogin:
        """The stored form of the control plane's answer."""
        return cls(tokens.user.email, tokens.access_token, tokens.refresh_token, tokens.expires_at)

    def to_json(self) -> dict[str, str]:
        """Plain values for the file."""
        return {
            "email": self.email,
            "access_token": self.access_token,
            "refresh_token": self.refresh_token,
            "expires_at": self.expires_at.isoformat(),
        }

    @classmethod
    def from_json(cls, value: Any) -> StoredLogin:
        """The reverse; raises KeyError, TypeError or ValueError on anything else."""
        return cls(
            str(value["email"]),
            str(value["access_token"]),
            str(value["refresh_token"]),
            datetime.fromisoformat(value["expires_at"]).astimezone(UTC),
        )


class LoginFile:
    """`logins.json` in `folder`, which is made 0700 when first written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "logins.json"

    def domains(self) -> list[str]:
        """The domains with a login, oldest first."""
        return list(self._read())

    def get(self, domain: str) -> StoredLogin | None:
        """The login for `domain`; None if there is none that can be read."""
        try:
            return StoredLogin.from_json(self._read()[domain])
        except (KeyError, TypeError, ValueError):
            return None

    def put(self, domain: str, login: StoredLogin) -> None:
        """Keep `login`, replacing another for the same domain."""
        with self.locked():
            self.put_locked(domain, login)

    def put_locked(self, domain: str, login: StoredLogin) -> None:
        """As `put`, by one who holds `locked()`."""
        self._write({**self._read(), domain: login.to_json()})

    def remove(self, domain: str) -> None:
        """Forget the login for `domain`."""
        with self.locked():
            logins = self._read()
            if logins.pop(domain, None) is not None:
                self._write(logins)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Exclusive among this person's CLIs."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._must_be_ours()
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        lock = os.open(self._folder / "logins.lock", flags, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _must_be_ours(self) -> None:
        """Whoever may write here can put a login of theirs in place of ours, and with it a domain."""
        found = self._folder.stat()
        if found.st_uid not in (os.geteuid(), 0) or stat.S_IMODE(found.st_mode) & stat.S_IWOTH:
            raise ExitError(
                "exposed_login",
                f"{self._folder} can be changed by other users: choose a folder of your own.",
                Exit.NOT_LOGGED_IN,
            )

    def _read(self) -> dict[str, Any]:
        try:
            with self._path.open("rb") as file:
                self._must_be_ours()
                if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                    raise ExitError(
                        "exposed_login",
                        f"{self._path} can be read by other users: remove it, log in again, and revoke the old login.",
                        Exit.NOT_LOGGED_IN,
                    )
                value = json.load(file)
        except FileNotFoundError:
            return {}
        except ValueError as error:
            raise ExitError(
                "broken_login_file", f"{self._path} is damaged: remove it and log in again.", Exit.NOT_LOGGED_IN
            ) from error
        return value if isinstance(value, dict) else {}

    def _write(self, logins: dict[str, Any]) -> None:
        descriptor, name = tempfile.mkstemp(prefix=".logins-", dir=self._folder)  # 0600 by definition
        try:
            with os.fdopen(descriptor, "w") as file:
                json.dump(logins, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self._path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


class FileLogin:
    """The stored login of one domain as `api.client.Login`: renews itself, under the file's lock."""

    def __init__(self, file: LoginFile, domain: str, ca_file: Path | None) -> None:
        self._file = file
        self._domain = domain
        self._ca_file = ca_file
        self._current = file.get(domain)

    def token(self) -> str | None:
        """The access token, renewed first where it is about to expire."""
        if self._current is not None and self._current.expires_at - _EARLY <= datetime.now(UTC):
            self.renew()
        return None if self._current is None else self._current.access_token

    def renew(self) -> bool:
        """Get a new access token, or take the one that another CLI got meanwhile."""
        with self._file.locked():
            stored = self._file.get(self._domain)
            if stored is None:
                self._current = None
                return False
            if self._current is None or stored.access_token != self._current.access_token:
                self._current = stored
                return True
            try:
                with ApiClient(self._domain, NoLogin(), ca_file=self._ca_file) as client:
                    body = RefreshRequest(refresh_token=SecretStr(stored.refresh_token))
                    self._current = StoredLogin.of(client.post("/auth/refresh", Tokens, body))
            except ProblemError:
                self._current = None
                return False
            self._file.put_locked(self._domain, self._current)
            return True


_SERVICE_SECRET = "wgk1_"  # noqa: S105 - the beginning of one


def environment_login(token: str, domain: str, ca_file: Path | None) -> EnvironmentLogin | SecretLogin:
    """What `WARDGATE_TOKEN` holds: a token, or a service's client secret."""
    if token.startswith(_SERVICE_SECRET):
        return SecretLogin(token, domain, ca_file)
    return EnvironmentLogin(token)


class SecretLogin:
    """A service's client secret in `WARDGATE_TOKEN`: exchanged for short tokens, none of which is stored."""

    def __init__(self, secret: str, domain: str, ca_file: Path | None) -> None:
        self._secret = SecretStr(secret)
        self._domain = domain
        self._ca_file = ca_file
        self._current: ServiceToken | None = None

    def token(self) -> str | None:
        """A token, a new one where the last is about to expire. ProblemError if the secret is not accepted."""
        if self._current is None or self._current.expires_at - _EARLY <= datetime.now(UTC):
            self.renew()
        return None if self._current is None else self._current.access_token

    def renew(self) -> bool:
        """Get a new one. ProblemError if the secret is not accepted."""
        with ApiClient(self._domain, NoLogin(), ca_file=self._ca_file) as client:
            self._current = client.post("/auth/service-token", ServiceToken, ServiceTokenRequest(secret=self._secret))
        return True


class EnvironmentLogin:
    """`WARDGATE_TOKEN`: sent as it is, never renewed, never stored."""

    def __init__(self, token: str) -> None:
        self._token = token

    def token(self) -> str | None:
        """The token."""
        return self._token

    def renew(self) -> bool:
        """A service's token is replaced by whoever set it."""
        return False
