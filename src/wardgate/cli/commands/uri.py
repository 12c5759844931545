"""`wardgate pam db uri`: the URI of a session that is open on this machine, for another terminal or a script."""

from __future__ import annotations

import sys
from dataclasses import asdict

import click

from .. import options
from ..access.state import OpenSession, open_sessions
from ..exits import Exit, ExitError
from ..output import to_json
from ..settings import Settings


@click.command()
@click.argument("session", required=False)
@click.option("--replica-set", is_flag=True, help="The URI that names every member of the replica set.")
@options.json_output
def uri(session: str | None, replica_set: bool, as_json: bool) -> int:
    """Print the URI of SESSION, or of the only session that is open on this machine."""
    chosen = _choose(open_sessions(Settings().folder), session)
    if as_json:
        sys.stdout.write(to_json(asdict(chosen), indent=2) + "\n")
        return int(Exit.OK)
    wanted = chosen.replica_set_uri if replica_set else chosen.uri
    if wanted is None:
        message = f"The session {chosen.session_id} leads to no replica set: leave --replica-set out."
        raise ExitError("no_replica_set", message, Exit.USAGE)
    sys.stdout.write(wanted + "\n")
    return int(Exit.OK)


def _choose(known: list[OpenSession], wanted: str | None) -> OpenSession:
    listed = ", ".join(f"{each.session_id} ({each.account} on {each.resource})" for each in known)
    if wanted is not None:
        for each in known:
            if each.session_id == wanted:
                return each
        rest = f"; these are: {listed}." if known else ", nor is any other."
        raise ExitError("session_not_open", f"The session {wanted} is not open on this machine{rest}", Exit.FAILED)
    if not known:
        message = "No session is open on this machine: open one with `wardgate pam db access`."
        raise ExitError("session_not_open", message, Exit.FAILED)
    if len(known) > 1:
        raise ExitError("session_needed", f"Several sessions are open, so name one: {listed}.", Exit.USAGE)
    return known[0]
