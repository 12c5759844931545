"""The listener that the browser comes back to, and those who are not the browser."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from wardgate.cli.loopback import Arrival, Listener


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as running:
        yield running


def get(listener: Listener, target: str, *, host: str | None = None, method: str = "GET") -> tuple[int, str, Any]:
    address, port = listener.host.split(":")
    connection = http.client.HTTPConnection(address, int(port), timeout=20)
    try:
        connection.request(method, target, headers={} if host is None else {"host": host})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers
    finally:
        connection.close()


def come_back(listener: Listener, target: str) -> tuple[threading.Thread, list[tuple[int, str, Any]]]:
    """A browser that waits for its page."""
    got: list[tuple[int, str, Any]] = []
    thread = threading.Thread(target=lambda: got.append(get(listener, target)))
    thread.start()
    return thread, got


def test_the_code_arrives_and_the_page_says_what_came_of_it(listener: Listener) -> None:
    browser, got = come_back(listener, f"/callback?code=wgc1_x&state={listener.state}")
    arrival = listener.wait(20)
    assert arrival is not None
    assert (arrival.code, arrival.error) == ("wgc1_x", None)
    arrival.tell("Signed in", "as <ann@example.com>")
    browser.join()
    status, page, headers = got[0]
    assert status == 200
    assert "as &lt;ann@example.com&gt;" in page
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["cache-control"] == "no-store"


def test_a_refusal_arrives(listener: Listener) -> None:
    browser, _ = come_back(listener, f"/callback?error=access_denied&state={listener.state}")
    arrival = listener.wait(20)
    assert arrival is not None
    assert (arrival.code, arrival.error) == (None, "access_denied")
    arrival.tell("Not signed in", "")
    browser.join()


@pytest.mark.parametrize(
    ("target", "host"),
    [
        ("/callback?code=x&state=wrong", None),
        ("/callback?code=x", None),
        ("/callback", None),
        ("/callback?code=x&error=y&state={state}", None),
        ("/callback?state={state}", None),
        ("/callback?code=x&code=y&state={state}", None),
        ("/callback?code=x&state={state}&state={state}", None),
        ("/other?code=x&state={state}", None),
        ("/callback/?code=x&state={state}", None),
        ("/callback?code=x&state={state}", "evil.example"),
        ("/callback?code=x&state={state}", "localhost:80"),
        ("/callback?" + "a=b&" * 20 + "code=x&state={state}", None),
    ],
)
def test_what_is_not_ours_ends_nothing(listener: Listener, target: str, host: str | None) -> None:
    filled = target.replace("{state}", listener.state)
    address, port = listener.host.split(":")
    with socket.create_connection((address, int(port)), timeout=20) as raw:
        request = f"GET {filled} HTTP/1.1\r\nhost: {host or listener.host}\r\n\r\n"
        raw.sendall(request.encode())
        answer = b"".join(iter(lambda: raw.recv(4096), b""))
    assert not answer.startswith(b"HTTP/1.0 200")
    assert listener.wait(0) is None
    browser, got = come_back(listener, f"/callback?code=x&state={listener.state}")
    arrival = listener.wait(20)
    assert arrival is not None
    arrival.tell("ok", "")
    browser.join()
    assert got[0][0] == 200


def test_other_methods_are_not_spoken(listener: Listener) -> None:
    assert get(listener, f"/callback?code=x&state={listener.state}", method="POST")[0] == 501
    assert listener.wait(0) is None


def test_who_connects_and_says_nothing_holds_nobody_up(listener: Listener) -> None:
    address, port = listener.host.split(":")
    with socket.create_connection((address, int(port))):
        browser, got = come_back(listener, f"/callback?code=x&state={listener.state}")
        arrival = listener.wait(20)
        assert arrival is not None
        arrival.tell("ok", "")
        browser.join()
    assert got[0][0] == 200


def test_an_arrival_comes_once(listener: Listener) -> None:
    query = f"code=x&state={listener.state}"
    assert isinstance(listener.take(query), Arrival)
    assert listener.take(query) is None
