"""The sessions that are open on this machine, so that `wardgate pam db uri` finds them from another terminal.

Each has a folder of its own below the CLI's: a lock that its local proxy holds for as long as it lives (flock, so that
a killed one holds none), and one 0600 file that says how to connect. Whoever looks removes what the dead left behind,
their Unix sockets too.

Law: the file may hold the session password. Nobody else can read it, and it goes with the session.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

from ...errors import WardgateError
from ...net.folder import FolderLock, claim, read_private
from .listeners import remove_sockets
from .view import EndFacts, Quiet, ReadyFacts, rfc3339

_FOLDER: Final = "sessions"
_FILE: Final = "session.json"
_ID: Final = re.compile(r"ses_[0-9a-z]{26}")


@dataclass(frozen=True, slots=True)
class OpenSession:
    """What is known of one. The names are the keys of `pam db uri --json`."""

    session_id: str
    domain: str
    project_id: str
    resource: str
    account: str
    expires_at: str
    uri: str
    replica_set_uri: str | None
    username: str | None
    password: str | None
    local_auth: bool
    port: int | None
    members: list[dict[str, str]]
    pid: int

    def __repr__(self) -> str:
        return f"OpenSession({self.session_id!r})"


class StateFile(Quiet):
    """The view that keeps the file. Where it can't be kept, the session goes on without it, and `trouble` says why."""

    def __init__(self, folder: Path, domain: str, project_id: str, sockets: Path | None) -> None:
        self.trouble: str | None = None
        self._root = folder / _FOLDER
        self._domain = domain
        self._project_id = project_id
        self._sockets = sockets
        self._place: Path | None = None
        self._lock: FolderLock | None = None

    def begin(self, session_id: str) -> None:
        """The session exists: be its local proxy, and say where its sockets are, in case that we are killed."""
        place = self._root / session_id
        try:
            with _alone(self._root):
                _sweep(self._root)
                self._lock = claim(place)
            self._place = place
            self._write({"sockets": self._sockets_path()})
        except (WardgateError, OSError) as error:
            why = error.message if isinstance(error, WardgateError) else error.strerror
            self.trouble = f"`wardgate pam db uri` will not find this session: {why}"

    def ready(self, facts: ReadyFacts) -> None:
        """It can be used."""
        if self._place is None:
            return
        session = OpenSession(
            session_id=facts.session_id,
            domain=self._domain,
            project_id=self._project_id,
            resource=facts.resource,
            account=facts.account,
            expires_at=rfc3339(facts.expires_at),
            uri=facts.uri,
            replica_set_uri=facts.replica_set_uri,
            username=None if facts.login is None else facts.login.username,
            password=None if facts.login is None else facts.login.password,
            local_auth=facts.local_auth,
            port=facts.port,
            members=facts.members,
            pid=os.getpid(),
        )
        with contextlib.suppress(OSError):
            self._write({"sockets": self._sockets_path(), **asdict(session)})

    def members_changed(self, facts: ReadyFacts) -> None:
        """The full URI is another one."""
        self.ready(facts)

    def ended(self, facts: EndFacts) -> None:
        """It is over."""
        self.close()

    def close(self) -> None:
        """Nothing is left of it; may be called again."""
        place, self._place = self._place, None
        if place is not None:
            _remove(place)
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def _sockets_path(self) -> str | None:
        return None if self._sockets is None else str(self._sockets)

    def _write(self, document: dict[str, object]) -> None:
        """Replace the file in one step. It need not survive a power cut, so nothing waits for the disk."""
        assert self._place is not None
        temporary = self._place / f".{_FILE}.new"
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(document, file)
        temporary.replace(self._place / _FILE)


def open_sessions(folder: Path) -> list[OpenSession]:
    """The sessions whose local proxies live and are ready, oldest first; WardgateError `folder_unusable`."""
    root = folder / _FOLDER
    try:
        if not root.is_dir():
            return []
        with _alone(root):
            return [session for place in _sweep(root) if (session := _read(place)) is not None]
    except OSError as error:
        raise WardgateError("folder_unusable", f"The folder {root} can't be used: {error.strerror}.") from error


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One at a time: who looks for dead ones must not meet one that is being born."""
    for folder in (root.parent, root):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _sweep(root: Path) -> list[Path]:
    """The folders of those that live; what the others left is removed."""
    alive = []
    for place in sorted(each for each in root.iterdir() if _ID.fullmatch(each.name)):
        try:
            lock = claim(place)
        except WardgateError as error:
            if error.code == "folder_in_use":
                alive.append(place)
            continue
        with lock:
            left = _document(place).get("sockets")
            if isinstance(left, str):
                remove_sockets(Path(left))
            _remove(place)
    return alive


def _remove(place: Path) -> None:
    with contextlib.suppress(OSError):
        for name in (_FILE, f".{_FILE}.new", "lock"):
            (place / name).unlink(missing_ok=True)
        place.rmdir()


def _document(place: Path) -> dict[str, object]:
    try:
        content = read_private(place / _FILE)
        found = json.loads(content) if content is not None else None
    except (WardgateError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _read(place: Path) -> OpenSession | None:
    found = _document(place)
    if "uri" not in found:
        return None  # not ready yet
    try:
        return OpenSession(**{field.name: found[field.name] for field in fields(OpenSession)})  # type: ignore[arg-type]
    except KeyError:
        return None  # another version's
