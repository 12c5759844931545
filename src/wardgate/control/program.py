"""`server run`: one process that serves the API, its background jobs, and the embedded relay beside it.

Order of a start: folder, master key, database (migrated), services, listening socket, HTTP, relay, ready. Order of a
stop (SIGTERM, SIGINT): endless answers end, open requests get a few seconds, the relay is ended, the database closed.
"""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import signal
import socket
import ssl
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI

from ..errors import WardgateError
from ..net import folder
from .db import Database, migrate
from .db.engine import sqlite_url
from .embedded_relay import EmbeddedRelay
from .installing import DATABASE, check_made
from .jobs import Jobs
from .mail import Mailer, Outbox, SmtpMailer, SmtpSettings
from .options import Address, RunOptions
from .records import bucket
from .services import Services, open_services
from .settings import Settings
from .vault import providers
from .web import create_app

Ready = Callable[[dict[str, str | None]], None]
_LAST_SECONDS = 5
_BACKLOG = 512
_MOST_OPEN_REQUESTS = 2_000


async def serve(options: RunOptions, ready: Ready) -> None:
    """Run until a signal says stop. WardgateError when it can't start."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # keys are in memory
    os.umask(0o077)
    mailer = _mailer(options)
    database = Database(options.database_url or sqlite_url(options.data_dir / DATABASE))
    try:
        await check_made(database, options.data_dir)  # before the folder is claimed, which makes it
        with folder.claim(options.data_dir):
            await _claimed(options, database, mailer, ready)
    finally:
        await database.close()


async def _claimed(options: RunOptions, database: Database, mailer: Mailer | None, ready: Ready) -> None:
    keys = providers.choose(options.data_dir, options.master_key_file)
    tls = None if options.tls is None else _tls_context(*options.tls)
    with _listen(options.listen) as listener:
        port = listener.getsockname()[1]
        settings = Settings(
            options.data_dir,
            options.url(port),
            options.door(port),
            options.relay_advertise,
            os.environ.get(bucket.VARIABLE) or None,
        )
        await database.run(migrate.upgrade)
        services = await open_services(settings, database, keys, mailer=mailer)
        await _serve(options, services, listener, tls, ready)


async def _serve(
    options: RunOptions, services: Services, listener: socket.socket, tls: ssl.SSLContext | None, ready: Ready
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    server = _Server(_config(create_app(services), tls))
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    jobs = Jobs(services.background, services.leases)
    relay = _relay(options, services)
    try:
        await _first(server.up.wait(), serving)
        jobs.start()
        if relay is not None:
            await _first(relay.start(), serving, stop.wait())
        if not stop.is_set() and not serving.done():
            ready({"url": services.settings.public_url, "relay": options.relay_advertise})
            await _first(stop.wait(), serving)
    finally:
        services.stopping.set()
        await services.mail_links.close()
        server.should_exit = True
        await jobs.stop()
        await services.leave()
        if relay is not None:
            await relay.stop()
        await asyncio.wait([serving])
    serving.result()


def _mailer(options: RunOptions) -> Mailer | None:
    """Where mail goes; WardgateError if the settings can't be used."""
    if options.dev_outbox is not None:
        return Outbox(options.dev_outbox)
    settings = SmtpSettings.from_environment()
    return None if settings is None else SmtpMailer(settings)


def _relay(options: RunOptions, services: Services) -> EmbeddedRelay | None:
    if options.relay_listen is None or options.relay_advertise is None:
        return None
    return EmbeddedRelay(
        services.fleet,
        options.relay_listen,
        options.relay_advertise,
        ca_file=_ca_file(options),
        as_json=options.as_json,
    )


async def _first(*works: Coroutine[Any, Any, Any] | asyncio.Task[Any]) -> None:
    """Wait until one is done; the others are cancelled, but for those that came as tasks. Raises what the first did."""
    tasks = [work if isinstance(work, asyncio.Task) else asyncio.create_task(work) for work in works]
    ours = [task for task, work in zip(tasks, works, strict=True) if task is not work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in ours:
            task.cancel()
        await asyncio.gather(*ours, return_exceptions=True)
    for task in done:
        task.result()


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: they would end this process by the signal, and the relay with it."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Say when connections are accepted."""
        await super().startup(sockets)
        self.up.set()

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        """Signals are ours."""
        return nullcontext()


def _config(app: FastAPI, tls: ssl.SSLContext | None) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,  # it would write whole addresses; web.door writes one line without what may be secret
        proxy_headers=False,  # web.door decides whose forwarded headers count
        server_header=False,
        limit_concurrency=_MOST_OPEN_REQUESTS,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=_LAST_SECONDS,
        ssl_context_factory=None if tls is None else lambda _config, _default: tls,
    )


def _listen(address: Address) -> socket.socket:
    """A bound socket; WardgateError that says why not."""
    try:
        family, kind, protocol, _, bound = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise WardgateError("listen_failed", f"--listen {address}: {error.strerror or error}.") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(bound)
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise WardgateError("port_in_use", f"--listen {address}: another program has that port already.") from None
        raise WardgateError("listen_failed", f"--listen {address}: {error.strerror}.") from None
    return listener


def _tls_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """How the API is served; WardgateError if the files can't be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:  # ssl.SSLError is one
        why = (
            f"{error.filename or certificate}: {error.strerror}"
            if not isinstance(error, ssl.SSLError)
            else (f"{certificate} and {key} must be a PEM certificate chain and the private key that belongs to it")
        )
        raise WardgateError("invalid_tls_files", f"--tls-cert and --tls-key: {why}.") from None
    return context


def _ca_file(options: RunOptions) -> str | None:
    """Whom the relay trusts for HTTPS beside the system: what we were told, else our own certificate."""
    told = os.environ.get("WARDGATE_CA_FILE")
    if told:
        return told
    return None if options.tls is None else str(options.tls[0].absolute())
