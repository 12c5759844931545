"""Sealed values open at their place with their key, and nowhere else."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardgate.control.sources import Sources
from wardgate.control.vault import MasterKey, Vault, envelope, master
from wardgate.control.vault.envelope import Place, VaultError
from wardgate.errors import WardgateError

KEY, KEY_ID, NONCE = bytes(32), bytes(16), bytes(12)
PLACE = Place("prj_1", "accounts", "acc_1", "password")


@given(st.binary(max_size=200))
def test_a_sealed_value_opens_at_its_place(plaintext: bytes) -> None:
    blob = envelope.seal(KEY, KEY_ID, NONCE, PLACE, plaintext)
    assert envelope.open_(KEY, PLACE, blob) == plaintext
    assert plaintext not in blob or len(plaintext) < 8


@pytest.mark.parametrize(
    "place",
    [
        Place("prj_2", "accounts", "acc_1", "password"),
        Place(None, "accounts", "acc_1", "password"),
        Place("prj_1", "relays", "acc_1", "password"),
        Place("prj_1", "accounts", "acc_2", "password"),
        Place("prj_1", "accounts", "acc_1", "username"),
        Place("prj_1", "accountsacc_1", "", "password"),
    ],
)
def test_a_sealed_value_opens_nowhere_else(place: Place) -> None:
    blob = envelope.seal(KEY, KEY_ID, NONCE, PLACE, b"secret")
    with pytest.raises(VaultError):
        envelope.open_(KEY, place, blob)


@given(st.data())
def test_a_changed_byte_or_a_cut_end_opens_nothing(data: st.DataObject) -> None:
    blob = bytearray(envelope.seal(KEY, KEY_ID, NONCE, PLACE, b"secret"))
    if data.draw(st.booleans()):
        blob[data.draw(st.integers(0, len(blob) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    else:
        del blob[data.draw(st.integers(0, len(blob) - 1)) :]
    with pytest.raises(VaultError):
        envelope.open_(KEY, PLACE, bytes(blob))


async def test_projects_have_keys_of_their_own(control: Any) -> None:
    vault = control.services.vault
    async with control.services.database.write() as session:
        one = await vault.seal(session, "prj_1", "t", "r", "c", b"x")
        again = await vault.seal(session, "prj_1", "t", "r", "c", b"x")
        two = await vault.seal(session, "prj_2", "t", "r", "c", b"x")
    ids = [envelope.key_id_of(blob, PLACE) for blob in (one, again, two)]
    assert ids[0] == ids[1] != ids[2]
    assert one != again
    async with control.services.database.read() as session:
        assert (await vault.open(session, "prj_1", "t", "r", "c", one)).reveal() == b"x"
        with pytest.raises(VaultError):
            await vault.open(session, "prj_2", "t", "r", "c", one)


async def test_a_key_of_an_undone_transaction_seals_nothing_later(control: Any) -> None:
    vault, database = control.services.vault, control.services.database
    with suppress(LookupError):
        async with database.write() as session:
            await vault.seal(session, "prj_1", "t", "r", "c", b"lost")
            raise LookupError
    async with database.write() as session:
        blob = await vault.seal(session, "prj_1", "t", "r", "c", b"kept")
    fresh = Vault([MasterKey.of(bytes(range(32)))], Sources())
    async with database.read() as session:
        assert (await fresh.open(session, "prj_1", "t", "r", "c", blob)).reveal() == b"kept"


async def test_another_master_key_is_recognised(control: Any) -> None:
    other = Vault([MasterKey.of(bytes(32))], Sources())
    async with control.services.database.read() as session:
        with pytest.raises(WardgateError, match="not the one"):
            await other.check(session)
        await control.services.vault.check(session)


def test_the_key_file_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    made = master.create(path, bytes(range(32)))
    assert path.stat().st_mode & 0o777 == 0o600
    assert master.load(path) == [made]
    with pytest.raises(WardgateError, match="already"):
        master.create(path, bytes(32))
    path.chmod(0o640)
    with pytest.raises(WardgateError, match="chmod 600"):
        master.load(path)


@pytest.mark.parametrize("text", ["", "wgm1_", "wgm1_AAAA", "hello", "wgm1_" + "A" * 60, "wgm1_ü"])
def test_what_is_no_key_is_refused_without_being_repeated(tmp_path: Path, text: str) -> None:
    path = tmp_path / "master.key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(WardgateError, match="does not hold") as refused:
        master.load(path)
    assert not text or text not in refused.value.message


def test_a_missing_key_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WardgateError, match="--master-key-file"):
        master.load(tmp_path / "none")


def test_a_master_key_prints_as_redacted() -> None:
    assert "redacted" in repr(MasterKey.of(bytes(range(32))))
