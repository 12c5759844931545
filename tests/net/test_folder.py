from __future__ import annotations

from pathlib import Path

import pytest

from wardgate.errors import WardgateError
from wardgate.net import folder


def test_a_folder_has_one_user_at_a_time(tmp_path: Path) -> None:
    place = tmp_path / "deep" / "folder"
    with folder.claim(place):
        assert place.stat().st_mode & 0o777 == 0o700
        with pytest.raises(WardgateError) as caught:
            folder.claim(place)
        assert caught.value.code == "folder_in_use"
    folder.claim(place).release()


def test_a_place_that_can_be_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WardgateError) as caught:
        folder.claim(tmp_path / "file")
    assert caught.value.code == "folder_unusable"


def test_a_private_file_is_private_and_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    folder.write_private(path, b"one")
    folder.write_private(path, b"two")
    assert path.stat().st_mode & 0o777 == 0o600
    assert folder.read_private(path) == b"two"
    assert list(tmp_path.iterdir()) == [path]


def test_what_others_could_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    folder.write_private(path, b"one")
    path.chmod(0o640)
    with pytest.raises(WardgateError) as caught:
        folder.read_private(path)
    assert caught.value.code == "file_exposed"
    assert folder.read_private(tmp_path / "none") is None
