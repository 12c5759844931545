"""`wardgate server init` and `wardgate server run`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ..net import logs, loop
from .options import RunOptions, UsageError, password_from

_DATA_DIR = click.option(
    "--data-dir", type=click.Path(path_type=Path, file_okay=False), required=True, help="The control plane's folder."
)
_MASTER_KEY = click.option(
    "--master-key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The master key, kept outside the data folder; WARDGATE_MASTER_KEY works too. Default: <data-dir>/master.key.",
)

_DATABASE = click.option(
    "--database-url-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file with a PostgreSQL database's URL; WARDGATE_DATABASE_URL works too. Default: an embedded database.",
)


@click.group()
def cli() -> None:
    """The control plane: who may use which account, the credentials, the CA and the records."""


@cli.command()
@_DATA_DIR
@click.option(
    "--admin-email",
    metavar="EMAIL",
    help="The first administrator. Left out, the first-run page makes one, with the code in <data-dir>/setup-code.",
)
@click.option("--admin-password-stdin", is_flag=True, help="Read their password from standard input.")
@click.option("--organisation", help="What this installation is called; the first-run page asks for it too.")
@_MASTER_KEY
@_DATABASE
def init(
    data_dir: Path,
    admin_email: str | None,
    admin_password_stdin: bool,
    organisation: str | None,
    master_key_file: Path | None,
    database_url_file: Path | None,
) -> None:
    """Make a new control plane: its folder, master key, database, CA and first administrator.

    Without --admin-email, the first administrator is made in the browser, with the code that is left in the folder.
    A folder, or a PostgreSQL database, that has a control plane is refused.
    """
    from .installing import InitOptions, database_url, initialise

    if (admin_email is not None) != admin_password_stdin:
        raise UsageError("--admin-email and --admin-password-stdin go together.")
    if admin_email is None and organisation is not None:
        raise UsageError("--organisation goes with --admin-email: without it, the first-run page asks for the name.")
    logs.configure("server")
    password = password_from(sys.stdin.buffer) if admin_password_stdin else None
    url = database_url(database_url_file)
    options = InitOptions(data_dir, admin_email, password, organisation or "wardgate", master_key_file, url)
    key_path = loop.run(initialise(options))
    if admin_email is not None:
        click.echo(f"The control plane in {data_dir} is made; {admin_email} is its administrator.")
    else:
        click.echo(
            f"The control plane in {data_dir} is made. Nobody can sign in yet: when it runs, open its address in a"
        )
        click.echo(f"browser and make the first administrator there, with the code in {data_dir / 'setup-code'}.")
    if key_path is not None:
        click.echo(f"Its master key is {key_path}: keep a copy elsewhere, without it the database opens nothing.")
    click.echo(f"Start it with: wardgate server run --data-dir {data_dir}")


@cli.command()
@_DATA_DIR
@_MASTER_KEY
def new_master_key(data_dir: Path, master_key_file: Path | None) -> None:
    """Put a new master key behind the one in its file; the old one goes on sealing until wardgate vault rotate.

    With several nodes, give each the same file. A server that runs finds the new key by itself.
    """
    from .installing import new_master_key as make

    path, key_id = make(data_dir, master_key_file)
    click.echo(f"The master key {key_id} is added to {path}. Keep a copy elsewhere, then run wardgate vault rotate.")


@cli.command()
@_DATA_DIR
@_MASTER_KEY
@_DATABASE
def drop_master_keys(data_dir: Path, master_key_file: Path | None, database_url_file: Path | None) -> None:
    """Take every master key but the newest out of the file; refused while another still seals anything."""
    from .installing import database_url, drop_master_keys

    path, dropped = loop.run(drop_master_keys(data_dir, master_key_file, database_url(database_url_file)))
    click.echo(f"{path} holds one master key now; {dropped} taken out. Backups made before need the old ones.")


@cli.command()
@_DATA_DIR
@click.option("--listen", default="127.0.0.1:8400", show_default=True, metavar="HOST:PORT", help="Where the API is.")
@click.option("--relay-listen", metavar="HOST:PORT", help="Run a relay too, as a process of its own.")
@click.option("--relay-advertise", metavar="HOST:PORT", help="How people and gateways reach --relay-listen.")
@click.option("--public-url", metavar="URL", help="How people and gateways reach the API, where it is not --listen.")
@click.option("--tls-cert", type=click.Path(path_type=Path, dir_okay=False), help="Certificate chain, PEM.")
@click.option("--tls-key", type=click.Path(path_type=Path, dir_okay=False), help="Its private key, PEM.")
@click.option(
    "--behind-proxy",
    multiple=True,
    metavar="CIDR",
    help="TLS ends before this program, at these peers; their forwarded headers count. May be repeated.",
)
@click.option(
    "--dev-outbox",
    type=click.Path(path_type=Path, dir_okay=False),
    help="For development: add mail to this file (0600) in place of sending it.",
)
@_MASTER_KEY
@_DATABASE
@click.option("--json", "as_json", is_flag=True, help="Print the ready line, and log, as JSON.")
def run(
    data_dir: Path,
    listen: str,
    relay_listen: str | None,
    relay_advertise: str | None,
    public_url: str | None,
    tls_cert: Path | None,
    tls_key: Path | None,
    behind_proxy: tuple[str, ...],
    dev_outbox: Path | None,
    master_key_file: Path | None,
    database_url_file: Path | None,
    as_json: bool,
) -> None:
    """Run the control plane until SIGTERM or Ctrl+C.

    It listens on loopback; anything else needs --tls-cert and --tls-key, or --behind-proxy. Mail goes through the
    server that WARDGATE_SMTP_URL names.
    """
    from .installing import database_url
    from .program import serve

    logs.configure("server", json=as_json)
    options = RunOptions.check(
        data_dir=data_dir,
        listen=listen,
        relay_listen=relay_listen,
        relay_advertise=relay_advertise,
        public_url=public_url,
        tls_cert=tls_cert,
        tls_key=tls_key,
        behind_proxy=behind_proxy,
        master_key_file=master_key_file,
        as_json=as_json,
        dev_outbox=dev_outbox,
        database_url=database_url(database_url_file),
    )
    loop.run(serve(options, _json_ready if as_json else _text_ready))


def _text_ready(facts: dict[str, str | None]) -> None:
    relay = f", with a relay at {facts['relay']}" if facts["relay"] else ""
    click.echo(f"The control plane is ready at {facts['url']}{relay}.")


def _json_ready(facts: dict[str, str | None]) -> None:
    import json

    click.echo(json.dumps({"event": "ready", **facts}))
