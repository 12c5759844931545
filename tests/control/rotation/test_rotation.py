"""One master key replaces another while everything runs, and whatever breaks off in between loses nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import pytest

from wardgate.control.db import Database
from wardgate.control.installing import drop_master_keys, new_master_key
from wardgate.control.services import open_services
from wardgate.control.vault import MasterKey, Vault, master
from wardgate.control.vault.envelope import VaultError
from wardgate.control.vault.providers import FixedKeys, KeyFile
from wardgate.errors import WardgateError

V1 = "/api/v1"
OLD = bytes(range(32))  # the master key of `control`


@pytest.fixture
def key_file(control: Any, tmp_path: Path) -> Path:
    """The keys of the running node, in a file from now on."""
    path = tmp_path / "keys" / "master.key"
    path.parent.mkdir()
    master.create(path, OLD)
    control.services.vault._provider = KeyFile(path)
    return path


async def sealed(control: Any, projects: int = 3) -> list[tuple[str, bytes]]:
    """A secret in each of several projects."""
    made = []
    for number in range(projects):
        async with control.services.database.write() as session:
            blob = await control.services.vault.seal(session, f"prj_{number}", "t", "r", "c", b"secret %d" % number)
        made.append((f"prj_{number}", blob))
    return made


async def opened(vault: Vault, database: Database, blobs: list[tuple[str, bytes]]) -> list[bytes]:
    async with database.read() as session:
        return [(await vault.open(session, project, "t", "r", "c", blob)).reveal() for project, blob in blobs]


async def test_everything_is_sealed_anew_while_the_server_runs(
    control: Any, admin: httpx2.AsyncClient, key_file: Path
) -> None:
    blobs = await sealed(control)
    before = (await admin.get(f"{V1}/vault")).json()
    assert (before["current"], before["newest"], before["rotating"]) == (MasterKey.of(OLD).key_id,) * 2 + (False,)
    _, new_id = new_master_key(control.folder, key_file)
    waiting = (await admin.get(f"{V1}/vault")).json()
    assert (waiting["current"], waiting["newest"]) == (before["current"], new_id)
    with pytest.raises(WardgateError, match="still seals"):
        await drop_master_keys(control.folder, key_file, _url(control))

    done = await admin.post(f"{V1}/vault/rotate")
    assert done.status_code == 200, done.text
    assert (done.json()["current"], done.json()["rotating"]) == (new_id, False)
    assert {key["id"]: key["sealed"] for key in done.json()["keys"]}[before["current"]] == 0
    assert (await admin.post(f"{V1}/vault/rotate")).json() == done.json(), "again changes nothing"
    events = [event.event for event in await control.events()]
    assert events.count("vault.rotation_begun") == events.count("vault.rotated") == 1

    database = control.services.database
    assert await opened(control.services.vault, database, blobs) == [b"secret 0", b"secret 1", b"secret 2"]
    await drop_master_keys(control.folder, key_file, _url(control))
    new = KeyFile(key_file).load()
    assert [key.key_id for key in new] == [new_id]
    assert await opened(Vault(new, control.services.sources), database, blobs) == [
        b"secret 0",
        b"secret 1",
        b"secret 2",
    ]
    with pytest.raises(WardgateError, match="is not the one"):
        await open_services(control.services.settings, database, [MasterKey.of(OLD)])
    later = await sealed(control, 5)
    assert await opened(Vault(new, control.services.sources), database, later) == [b"secret %d" % n for n in range(5)]


async def test_what_breaks_off_in_the_middle_is_gone_on_with(
    control: Any, admin: httpx2.AsyncClient, key_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs = await sealed(control)
    new_master_key(control.folder, key_file)
    monkeypatch.setattr("wardgate.control.rotation.service._AT_ONCE", 1)
    rewrap, times = control.services.vault.rewrap, []

    async def breaks(session: Any, most: int) -> int:
        times.append(1)
        found: int = await rewrap(session, most)
        if len(times) == 2:
            raise ConnectionError  # in the middle of a transaction, which is undone
        return found

    monkeypatch.setattr(control.services.vault, "rewrap", breaks)
    assert (await admin.post(f"{V1}/vault/rotate")).status_code == 500
    assert (await admin.get(f"{V1}/vault")).json()["rotating"] is True
    fresh = Vault(KeyFile(key_file), control.services.sources)
    expected = [b"secret 0", b"secret 1", b"secret 2"]
    assert await opened(fresh, control.services.database, blobs) == expected, "with both keys all of it opens"
    with pytest.raises(WardgateError, match="still seals"):
        await drop_master_keys(control.folder, key_file, _url(control))
    await control.services.rotation.go_on()
    assert (await admin.get(f"{V1}/vault")).json()["rotating"] is False
    only_new = FixedKeys([KeyFile(key_file).load()[-1]])
    assert await opened(Vault(only_new, control.services.sources), control.services.database, blobs) == expected


async def test_a_node_that_has_not_the_new_key_seals_nothing_with_the_old_one(
    control: Any, admin: httpx2.AsyncClient, key_file: Path
) -> None:
    """Which key seals is asked of the database, in the transaction that seals."""
    late = Vault([MasterKey.of(OLD)], control.services.sources)
    new_master_key(control.folder, key_file)
    await admin.post(f"{V1}/vault/rotate")
    async with control.services.database.write() as session:
        with pytest.raises(WardgateError, match="not among those of this node"):
            await late.seal(session, "prj_new", "t", "r", "c", b"secret")


async def test_a_rotation_waits_for_every_node(control: Any, admin: httpx2.AsyncClient, key_file: Path) -> None:
    if control.cluster is None:
        pytest.skip("an embedded database has one node")
    database = Database(control.url)
    services = await open_services(
        control.services.settings, database, [MasterKey.of(OLD)], sources=control.services.sources
    )
    await services.nodes.beat()
    new_master_key(control.folder, key_file)
    refused = await admin.post(f"{V1}/vault/rotate")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert "not at every node" in refused.json()["detail"]
    await services.leave()
    await services.close()
    assert (await admin.post(f"{V1}/vault/rotate")).status_code == 200


async def test_no_key_is_shown(control: Any, admin: httpx2.AsyncClient, key_file: Path) -> None:
    new_master_key(control.folder, key_file)
    said = (await admin.post(f"{V1}/vault/rotate")).text
    for key in KeyFile(key_file).load():
        raw = key.key.reveal()
        assert raw.hex() not in said
        assert master.encode(raw) not in said
        assert raw not in control.dump()


async def test_a_key_that_is_missing_is_told_and_opens_nothing(control: Any) -> None:
    blobs = await sealed(control, 1)
    other = Vault([MasterKey.of(bytes(32))], control.services.sources)
    with pytest.raises((VaultError, WardgateError), match="not among"):
        await opened(other, control.services.database, blobs)


def _url(control: Any) -> str | None:
    return None if control.cluster is None else control.url
