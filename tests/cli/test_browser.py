"""Opening a page: only pages, only in a browser of its own, and without our token."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from wardgate.cli import browser

URL = "https://wardgate.example/authorize/dvr_1?x=y&z"


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A browser that writes down what it was given."""
    path = tmp_path / "browser.py"
    path.write_text(
        "import os, pathlib, sys\n"
        "pathlib.Path(__file__).with_name('seen').write_text(sys.argv[1] + ' ' + str('WARDGATE_TOKEN' in os.environ))\n"
        "sys.exit(sys.argv[1].endswith('fails'))\n"
    )
    monkeypatch.setenv("BROWSER", f"{sys.executable} {path} %s")
    monkeypatch.setenv("WARDGATE_TOKEN", "a token")
    return path


def test_the_chosen_browser_gets_the_address_and_not_the_token(script: Path) -> None:
    assert browser.can_open()
    assert browser.open_page(URL, patience=60)
    assert script.with_name("seen").read_text() == f"{URL} False"


def test_a_browser_that_fails_has_opened_nothing(script: Path) -> None:
    assert not browser.open_page("https://wardgate.example/fails", patience=60)


@pytest.mark.parametrize(
    "url",
    [
        "http://wardgate.example/x",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "--version",
        "https://user@wardgate.example/x",
        "https://wardgate.example/x y",
        "https://wardgate.example/\x1b[2J",
        "",
    ],
)
def test_only_pages_are_opened(script: Path, url: str) -> None:
    assert not browser.open_page(url)
    assert not script.with_name("seen").exists()


def test_without_a_display_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert not browser.can_open()
    assert not browser.open_page(URL)
    monkeypatch.setenv("BROWSER", "/no/such/browser")
    assert not browser.open_page(URL)
