"""S3-compatible storage for tests: one bucket in memory, spoken to over HTTP, that can be told to misbehave.

It knows what wardgate asks for: PUT (with `If-None-Match: *`), GET and HEAD of an object, deleting several; requests
signed with its access key (the signature itself is not checked). Not here: listing, multipart uploads.
"""

from __future__ import annotations

import hashlib
import html
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import unquote, urlsplit

ACCESS_KEY: Final = "WARDGATETESTKEY"
SECRET_KEY: Final = "wardgate-test-secret"
BUCKET: Final = "records"


class BucketDouble:
    """`with BucketDouble() as bucket:`; `fail` is the status that every request gets while it is set."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.requests: list[tuple[str, str]] = []
        self.fail: int | None = None
        self.fail_after_keeping = False  # the object is kept, and its maker is told that it was not
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self.port = 0

    @property
    def endpoint(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """What WARDGATE_RECORDS_STORE is set to."""
        return f"s3://{BUCKET}/wardgate?endpoint={self.endpoint}&region=eu-test-1"

    @property
    def environment(self) -> dict[str, str]:
        """The credentials."""
        return {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}

    def __enter__(self) -> BucketDouble:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Listen; on the port that it had before, if it had one."""
        double = self

        class Handler(_Handler):
            bucket = double

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Listen no more; what was kept stays."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = self._thread = None

    @contextmanager
    def failing(self, status: int = 503) -> Iterator[None]:
        """Every request gets `status` inside the block."""
        self.fail = status
        try:
            yield
        finally:
            self.fail = None

    def answer(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """What a request gets: (status, body)."""
        name = unquote(urlsplit(path).path).removeprefix(f"/{BUCKET}/")
        with self._lock:
            self.requests.append((method, name))
            if self.fail is not None and not (self.fail_after_keeping and method == "PUT"):
                return self.fail, _error("SlowDown")
            if f"Credential={ACCESS_KEY}/" not in headers.get("authorization", ""):
                return 403, _error("InvalidAccessKeyId")
            if urlsplit(path).path != f"/{BUCKET}" and not urlsplit(path).path.startswith(f"/{BUCKET}/"):
                return 404, _error("NoSuchBucket")
            status, answer = self._act(method, name, headers, body)
            return (self.fail or 503, _error("InternalError")) if self.fail_after_keeping else (status, answer)

    def _act(self, method: str, name: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        if method == "PUT":
            if headers.get("if-none-match") == "*" and name in self.objects:
                return 412, _error("PreconditionFailed")
            self.objects[name] = body
            return 200, b""
        if method == "POST":  # …?delete: several at once
            keys = re.findall(rb"<Key>([^<]*)</Key>", body)
            for key in keys:
                self.objects.pop(html.unescape(key.decode()), None)
            deleted = b"".join(b"<Deleted><Key>%b</Key></Deleted>" % key for key in keys)
            return 200, b"<?xml version='1.0'?><DeleteResult>%b</DeleteResult>" % deleted
        if name not in self.objects:
            return 404, _error("NoSuchKey")
        return 200, self.objects[name]


class _Handler(BaseHTTPRequestHandler):
    bucket: BucketDouble
    protocol_version = "HTTP/1.1"
    timeout = 5

    def _serve(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        status, answer = self.bucket.answer(self.command, self.path, headers, body)
        self.send_response(status)
        self.send_header("ETag", f'"{hashlib.sha256(answer or body).hexdigest()[:32]}"')
        self.send_header("Last-Modified", "Tue, 01 Jan 2030 00:00:00 GMT")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    do_PUT = do_GET = do_HEAD = do_POST = _serve  # noqa: N815 - names that the base class looks for

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Nothing."""


def _error(code: str) -> bytes:
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
