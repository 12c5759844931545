"""The built style, script and fonts, served from memory.

They come from `tools/web/build` and are committed, so neither an installation nor a test needs Node. All of them stand
below one address that holds a digest of the whole: browsers may keep them for ever, and a new build is a new address.

Law: only names that were in the folder when the program started are served; no path is ever joined with what a client
sent.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_FOLDER = Path(__file__).with_name("static")
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
_ICONS = "icons.json"
_KEPT = {"cache-control": "public, max-age=31536000, immutable", "vary": "accept-encoding"}
_LEAST_GZIPPED = 512


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    gzipped: bytes | None
    media_type: str


class Assets:
    """An ASGI application for everything below `/static`, and what templates need of it."""

    def __init__(self, folder: Path = _FOLDER) -> None:
        found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}
        digest = hashlib.sha256()
        self._files: dict[str, _File] = {}
        for name, path in found.items():
            body = path.read_bytes()
            digest.update(f"{name}\0{len(body)}\0".encode() + body)
            if path.suffix in _TYPES:
                self._files[name] = _load(body, _TYPES[path.suffix])
        self._digest = digest.hexdigest()[:16]
        self.icons: dict[str, str] = json.loads(found[_ICONS].read_text()) if _ICONS in found else {}

    def url(self, name: str) -> str:
        """The address of an asset; KeyError if there is none of that name."""
        if name not in self._files:
            raise KeyError(f"no asset {name}: tools/web/build makes them")
        return f"/static/{self._digest}/{name}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request for `/static/{digest}/{name}`. An older page's digest gets today's file, kept for no time."""
        headers = dict(scope["headers"])
        digest, _, name = scope["path"].removeprefix("/static/").partition("/")
        file = self._files.get(name)
        if scope["method"] not in ("GET", "HEAD") or file is None:
            await Response(status_code=404)(scope, receive, send)
            return
        kept = _KEPT if digest == self._digest else {"cache-control": "no-cache", "vary": "accept-encoding"}
        body = file.body
        extra = dict(kept)
        if file.gzipped is not None and b"gzip" in headers.get(b"accept-encoding", b""):
            body, extra["content-encoding"] = file.gzipped, "gzip"
        await Response(body, media_type=file.media_type, headers=extra)(scope, receive, send)


def _load(body: bytes, media_type: str) -> _File:
    # None of this depends on who asks, so its compressed size tells no secret: the reason why pages are not compressed.
    worth = media_type != "font/woff2" and len(body) >= _LEAST_GZIPPED
    return _File(body, gzip.compress(body, 9, mtime=0) if worth else None, media_type)
