"""`wardgate pam request …`: asking to be let in, and deciding on it."""

from __future__ import annotations

import click

from ...api.approvals import AccessRequest, AccessRequestCreate, Decision, RequestStatus
from .. import approval, options
from ..exits import Exit
from ..forms import build, path
from ..output import exact, line, print_facts, print_json, print_list, when
from ..settings import Settings


@click.command()
@click.option("--resource", required=True, help="The resource to reach.")
@click.option("--account", required=True, help="The account to reach it as.")
@options.project_id
@click.option("--duration", required=True, metavar="D", help="The longest session that you need, as 1h.")
@click.option("--window", default="8h", show_default=True, metavar="D", help="For how long after the approval.")
@click.option("--reason", required=True, help="Why.")
@click.option("--wait", is_flag=True, help="Wait for the decision: exit status 0 approved, 4 not.")
@options.json_output
@options.settings
def create(
    settings: Settings,
    resource: str,
    account: str,
    project_id: str,
    duration: str,
    window: str,
    reason: str,
    wait: bool,
    as_json: bool,
) -> int:
    """Ask for access to an account that needs an approval."""
    body = build(
        AccessRequestCreate, resource=resource, account=account, duration=duration, window=window, reason=reason
    )
    with settings.api() as client:
        made = client.post(path("projects", project_id, "requests"), AccessRequest, body)
        if wait:
            line(f"{made.id} waits for a decision.", stderr=True)
            made = approval.decided(client, made)
    _tell(made, as_json)
    return int(Exit.OK if made.status in (RequestStatus.PENDING, RequestStatus.APPROVED) else Exit.REFUSED)


@click.command(name="list")
@options.project_id
@click.option("--pending", is_flag=True, help="Only those that wait for a decision.")
@options.json_output
@options.settings
def list_(settings: Settings, project_id: str, pending: bool, as_json: bool) -> None:
    """List your requests and those that you may read, newest first."""
    with settings.api() as client:
        asked = {"pending": "true"} if pending else {}
        requests = list(client.pages(path("projects", project_id, "requests"), AccessRequest, asked))
    print_list(
        requests,
        as_json,
        ("ID", "STATUS", "WHO", "RESOURCE", "ACCOUNT", "DURATION", "ASKED", "REASON"),
        lambda r: (r.id, r.status.value, r.user, r.resource, r.account, r.duration, when(r.created_at), r.reason),
        empty="Nothing waits." if pending else "Nobody has asked for anything yet.",
    )


@click.command()
@click.argument("request")
@options.json_output
@options.settings
def show(settings: Settings, request: str, as_json: bool) -> None:
    """Show the access request REQUEST."""
    with settings.api() as client:
        _tell(client.get(path("requests", request), AccessRequest), as_json)


@click.command()
@click.argument("request")
@click.option("--note", default="", help="A word with it.")
@options.json_output
@options.settings
def approve(settings: Settings, request: str, note: str, as_json: bool) -> None:
    """Let the one who made REQUEST in; never yourself."""
    _turn(settings, request, "approve", as_json, build(Decision, note=note))


@click.command()
@click.argument("request")
@click.option("--note", default="", help="A word with it.")
@options.json_output
@options.settings
def deny(settings: Settings, request: str, note: str, as_json: bool) -> None:
    """Refuse REQUEST; of a grant: take it back, and sessions that stand on it end."""
    _turn(settings, request, "deny", as_json, build(Decision, note=note))


@click.command()
@click.argument("request")
@options.json_output
@options.settings
def cancel(settings: Settings, request: str, as_json: bool) -> None:
    """Take your own REQUEST back, or give your grant up."""
    _turn(settings, request, "cancel", as_json)


def _turn(settings: Settings, request: str, verb: str, as_json: bool, body: Decision | None = None) -> None:
    with settings.api() as client:
        _tell(client.post(path("requests", request, verb), AccessRequest, body), as_json)


def _tell(request: AccessRequest, as_json: bool) -> None:
    if as_json:
        print_json(request)
        return
    print_facts(
        [
            ("request", request.id),
            ("status", request.status.value),
            ("who", request.user),
            ("account", f"{request.account} on {request.resource}"),
            ("duration", f"{request.duration}, within {request.window} of the approval"),
            ("reason", request.reason),
            ("asked", exact(request.created_at)),
            ("decided", f"{exact(request.decided_at)} by {request.decided_by}" if request.decided_at else None),
            ("note", request.note or None),
            ("good until", exact(request.until) if request.status is RequestStatus.APPROVED else None),
        ]
    )
