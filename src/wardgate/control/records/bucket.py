"""Objects in a bucket of S3-compatible storage.

`s3://bucket/prefix?endpoint=https://…&region=…`; what is left out comes from the environment, as do the credentials
(AWS_ACCESS_KEY_ID and the like, a role, a web identity): never from the URL, which stands in process lists.

Law: create only. The service is asked to refuse a name that exists (`If-None-Match: *`), so that two control planes, or
an old one that comes back, can't write over what the other one kept. An answer that is not a plain yes is StoreAway.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlsplit

from ...api.domain import is_loopback
from ...errors import WardgateError
from .objects import StoreAway

if TYPE_CHECKING:
    from obstore.store import S3Store

VARIABLE: Final = "WARDGATE_RECORDS_STORE"
_OPTIONS: Final = frozenset({"endpoint", "path_style", "region"})
_ATTEMPT: Final = timedelta(seconds=10)
_IN_ALL: Final = timedelta(seconds=20)  # a gateway waits for its answer: it tries again by itself


class Bucket:
    """One bucket, below one prefix."""

    def __init__(self, url: str) -> None:
        """WardgateError for a URL that can't be used, or without the package."""
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        if parts.scheme != "s3" or not parts.hostname or parts.fragment or parts.netloc != parts.hostname:
            raise _bad("write it as s3://bucket/prefix, with ?endpoint=https://… and &region=… where they are needed")
        unknown = options.keys() - _OPTIONS
        if unknown:
            raise _bad(f"it has the unknown option {min(unknown)[:40]}; there are {', '.join(sorted(_OPTIONS))}")
        self._prefix = parts.path.strip("/")
        self._where = f"the bucket {parts.hostname}"
        self._store = _open(parts.hostname, options)

    def put(self, name: str, data: bytes) -> None:
        """See `ObjectStore.put`."""
        import obstore
        from obstore.exceptions import AlreadyExistsError, BaseError

        try:
            # In one piece: only a single request is made or refused as a whole.
            obstore.put(self._store, self._path(name), data, mode="create", use_multipart=False)
        except AlreadyExistsError as error:
            raise FileExistsError(name) from error
        except BaseError as error:
            raise self._away("does not take", error) from error

    def get(self, name: str) -> bytes:
        """See `ObjectStore.get`."""
        import obstore
        from obstore.exceptions import BaseError

        try:
            return bytes(obstore.get(self._store, self._path(name)).bytes())
        except FileNotFoundError:
            raise
        except BaseError as error:
            raise self._away("does not give", error) from error

    def delete(self, name: str) -> None:
        """See `ObjectStore.delete`."""
        import obstore
        from obstore.exceptions import BaseError

        try:
            obstore.delete(self._store, self._path(name))
        except FileNotFoundError:
            return
        except BaseError as error:
            raise self._away("does not let go of", error) from error

    def _path(self, name: str) -> str:
        return f"{self._prefix}/{name}" if self._prefix else name

    def _away(self, what: str, error: Exception) -> StoreAway:
        return StoreAway(f"{self._where} {what} an object: {_reason(str(error))}")


def _open(bucket: str, options: dict[str, str]) -> S3Store:
    try:
        from obstore.store import S3Store
    except ImportError:
        raise _bad("this needs the extra objectstore: install wardgate[server,objectstore]") from None
    endpoint = options.get("endpoint")
    allow_http = False
    if endpoint is not None:
        where = urlsplit(endpoint)
        allow_http = where.scheme == "http" and is_loopback(where.hostname or "")
        if not where.hostname or (where.scheme != "https" and not allow_http):
            raise _bad("its endpoint must be an https:// address: objects are sealed, the credentials are not")
    path_style = options.get("path_style", "true" if endpoint is not None else "false")
    if path_style not in ("true", "false"):
        raise _bad("path_style is true or false")
    extra = {name: value for name, value in (("endpoint", endpoint), ("region", options.get("region"))) if value}
    return S3Store(
        bucket,
        virtual_hosted_style_request=path_style == "false",
        client_options={"allow_http": allow_http, "connect_timeout": _ATTEMPT, "timeout": _ATTEMPT},
        retry_config={"max_retries": 2, "retry_timeout": _IN_ALL},
        **extra,  # type: ignore[arg-type]
    )


def _reason(text: str) -> str:
    """The service's answer without what may be long or secret: the status, or what failed on the way."""
    answered = _STATUS.search(text)
    if answered is not None:
        status = answered[1]
        return f"it answered {status} ({_MEANINGS[status]})" if status in _MEANINGS else f"it answered {status}"
    lowered = text.lower().replace("retry_timeout", "")
    for word, meaning in _FAILURES.items():
        if word in lowered:
            return meaning
    return "it answered something unexpected"


_STATUS: Final = re.compile(r"\bstatus: (\d{3})\b")  # in the library's own description of the answer
_MEANINGS: Final = {
    "400": "the request is not understood",
    "401": "the credentials are refused",
    "403": "access is denied: check the credentials and the bucket's policy",
    "404": "there is no such bucket",
    "409": "another request is under way",
    "429": "too many requests",
    "500": "an error of its own",
    "501": "it lacks create-only puts (If-None-Match), which wardgate needs",
    "502": "a bad gateway",
    "503": "it is unavailable or asks to slow down",
    "504": "a time-out behind it",
}
_FAILURES: Final = {
    "certificate": "its certificate is not trusted",
    "dns error": "its name can't be resolved",
    "credential": "there are no credentials for it",
    "timeout": "it did not answer in time",
    "timed out": "it did not answer in time",
    "connect": "it can't be reached",
}


def _bad(why: str) -> WardgateError:
    return WardgateError("bad_records_store", f"{VARIABLE}: {why}.")
