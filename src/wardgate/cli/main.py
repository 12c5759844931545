"""`wardgate`: the table of commands, and the one place where an error becomes a sentence and an exit code."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from .. import __version__
from ..errors import WardgateError
from .exits import Exit, exit_code_of
from .lazy import LazyGroup, Place

_HERE = "wardgate.cli.commands"

_GATEWAY = {
    "create": Place(f"{_HERE}.fleet:gateway_create", "Make a gateway and its enrolment token."),
    "list": Place(f"{_HERE}.fleet:gateway_list", "List a project's gateways."),
    "token": Place(f"{_HERE}.fleet:gateway_token", "Make an enrolment token for a further instance of a gateway."),
    "revoke": Place(f"{_HERE}.fleet:gateway_revoke", "Cut a gateway, or one instance of it, off for good."),
    "run": Place("wardgate.gateway.command:cli#run", "Run a gateway on this machine.", "gateway"),
}
_RELAY = {
    "create": Place(f"{_HERE}.fleet:relay_create", "Make a relay and its enrolment token."),
    "list": Place(f"{_HERE}.fleet:relay_list", "List the relays."),
    "revoke": Place(f"{_HERE}.fleet:relay_revoke", "Cut a relay off, at once and for good."),
    "run": Place("wardgate.relay.command:cli#run", "Run a relay on this machine.", "relay"),
}
_PROJECT = {
    "create": Place(f"{_HERE}.project:create", "Make a project."),
    "list": Place(f"{_HERE}.project:list_", "List the projects that you can see."),
    "records": Place(f"{_HERE}.project:records", "How a project's records are made, and how long they are kept."),
    "masking": Place("wardgate.cli.main:masking", "What a project's records do not show."),
}
_MASKING = {
    "list": Place(f"{_HERE}.masking:list_", "List a project's masking rules."),
    "add": Place(f"{_HERE}.masking:add", "Mask a field, or texts of a form, in what is recorded from now on."),
    "remove": Place(f"{_HERE}.masking:remove", "Mask by a rule no longer."),
    "test": Place(f"{_HERE}.masking:test", "Show what a rule would have masked in past records."),
}
_USER = {
    "create": Place(f"{_HERE}.user:create", "Make a user, who has no role yet."),
    "invite": Place(f"{_HERE}.user:invite", "Invite somebody by mail; they choose their password."),
    "list": Place(f"{_HERE}.user:list_", "List the users and their roles."),
    "show": Place(f"{_HERE}.user:show", "Show one user."),
    "password": Place(f"{_HERE}.user:password", "Change your password, or give somebody a new one."),
    "send-password-link": Place(f"{_HERE}.user:send_password_link", "Mail somebody a link to set a new password."),
    "reset-mfa": Place(f"{_HERE}.mfa:reset", "Take a user's second factors away."),
    "disable": Place(f"{_HERE}.user:disable", "Keep a user out; their sign-ins and sessions end."),
    "enable": Place(f"{_HERE}.user:enable", "Let a disabled user in again."),
    "remove": Place(f"{_HERE}.user:remove", "Remove a user; their sessions end, their records stay."),
}
_GROUP = {
    "create": Place(f"{_HERE}.group:create", "Make a group of users."),
    "list": Place(f"{_HERE}.group:list_", "List the groups and their roles."),
    "show": Place(f"{_HERE}.group:show", "Show one group and who is in it."),
    "add": Place(f"{_HERE}.group:add", "Put users in: they hold the group's roles."),
    "drop": Place(f"{_HERE}.group:drop", "Take users out; sessions that stood on the group's roles end."),
    "rename": Place(f"{_HERE}.group:rename", "Call a group something else."),
    "remove": Place(f"{_HERE}.group:remove", "Remove a group; sessions that stood on its roles end."),
}
_SERVICE = {
    "create": Place(f"{_HERE}.service:create", "Make a service: a program that acts for itself."),
    "list": Place(f"{_HERE}.service:list_", "List the services and their roles."),
    "show": Place(f"{_HERE}.service:show", "Show one service and what it proves itself with."),
    "update": Place(f"{_HERE}.service:update", "Change a service's scopes, networks, end or name."),
    "disable": Place(f"{_HERE}.service:disable", "Keep a service out; its tokens and sessions end."),
    "enable": Place(f"{_HERE}.service:enable", "Let a disabled service in again."),
    "remove": Place(f"{_HERE}.service:remove", "Remove a service; its sessions end, their records stay."),
    "secret": Place("wardgate.cli.main:secret", "Its client secrets."),
    "trust": Place("wardgate.cli.main:trust", "Whose signed tokens are taken as its."),
    "token": Place(f"{_HERE}.service:token", "Get a short token for a service."),
}
_SECRET = {
    "create": Place(f"{_HERE}.service:secret_create", "Make a client secret; it is shown once."),
    "revoke": Place(f"{_HERE}.service:secret_revoke", "Take a client secret back; its sessions end."),
}
_TRUST = {
    "add": Place(f"{_HERE}.service:trust_add", "Take an issuer's signed tokens, under conditions."),
    "remove": Place(f"{_HERE}.service:trust_remove", "Take them no more; sessions that stood on them end."),
}
_PASSWORD = {
    "forgot": Place(f"{_HERE}.password:forgot", "Have a link sent to set a new password with."),
    "set": Place(f"{_HERE}.password:set_", "Set your password with the code of a mail."),
}
_VAULT = {
    "show": Place(f"{_HERE}.vault:show", "Show which master keys there are, and what each has sealed."),
    "rotate": Place(f"{_HERE}.vault:rotate", "Seal everything with the newest master key."),
}
_AUDIT = {
    "list": Place(f"{_HERE}.audit:list_", "List what was done in the control plane, newest first."),
    "verify": Place(f"{_HERE}.audit:verify", "Check that this log is whole and unaltered."),
}
_DEVICES = {
    "list": Place(f"{_HERE}.login:devices", "List the devices that are signed in as you."),
    "rename": Place(f"{_HERE}.login:rename_device", "Give a device another name."),
    "revoke": Place(f"{_HERE}.login:revoke_device", "Sign a device out."),
}
_PASSKEY = {
    "add": Place(f"{_HERE}.passkey:add", "Set a security key up, or open the page for passkeys."),
    "list": Place(f"{_HERE}.passkey:list_", "List your passkeys and security keys."),
    "rename": Place(f"{_HERE}.passkey:rename", "Call a passkey something else."),
    "remove": Place(f"{_HERE}.passkey:remove", "Take a passkey away."),
}
_MFA = {
    "status": Place(f"{_HERE}.mfa:status", "Show what you are asked for where a second factor is needed."),
    "passkey": Place("wardgate.cli.main:passkey", "Your passkeys and security keys."),
    "totp": Place(f"{_HERE}.mfa:totp", "Set an authenticator app up."),
    "recovery-codes": Place(f"{_HERE}.mfa:recovery_codes", "Make new recovery codes."),
    "remove": Place(f"{_HERE}.mfa:remove", "Take your authenticator app away."),
    "policy": Place(f"{_HERE}.mfa:policy", "Show or change the organisation's rule."),
}
_SSO = {
    "add": Place(f"{_HERE}.sso:add", "Add a provider; its issuer is asked first."),
    "list": Place(f"{_HERE}.sso:list_", "List the providers."),
    "show": Place(f"{_HERE}.sso:show", "Show one provider."),
    "update": Place(f"{_HERE}.sso:update", "Change a provider."),
    "remove": Place(f"{_HERE}.sso:remove", "Take a provider away; whoever signed in by it is signed out."),
    "test": Place(f"{_HERE}.sso:test", "Ask a provider what it is."),
    "policy": Place(f"{_HERE}.sso:policy", "Show or change the organisation's rule on passwords."),
}
_ROLE = {
    "grant": Place(f"{_HERE}.role:grant", "Give a user, group or service a role at a place."),
    "list": Place(f"{_HERE}.role:list_", "List who has which role where."),
    "revoke": Place(f"{_HERE}.role:revoke", "Take a role back; sessions that stood on it end."),
}
_RESOURCE = {
    "add": Place(f"{_HERE}.resource:add", "Add a MongoDB deployment; it is tested through its gateway first."),
    "list": Place(f"{_HERE}.resource:list_", "List a project's resources."),
    "show": Place(f"{_HERE}.resource:show", "Show one resource."),
    "update": Place(f"{_HERE}.resource:update", "Change a resource; it is tested first."),
    "remove": Place(f"{_HERE}.resource:remove", "Remove a resource and its accounts."),
    "test": Place(f"{_HERE}.resource:test", "Test every hop to a resource, and say which one fails."),
}
_ACCOUNT = {
    "add": Place(f"{_HERE}.account:add", "Add a MongoDB user of a resource; its login is tested first."),
    "list": Place(f"{_HERE}.account:list_", "List a resource's accounts."),
    "show": Place(f"{_HERE}.account:show", "Show one account."),
    "update": Place(f"{_HERE}.account:update", "Change an account."),
    "remove": Place(f"{_HERE}.account:remove", "Remove an account."),
}
_SESSION = {
    "list": Place(f"{_HERE}.session:list_", "List a project's sessions, newest first."),
    "show": Place(f"{_HERE}.session:show_", "Show who reached what, when, for how long, and why it ended."),
    "logs": Place(f"{_HERE}.session:logs", "Show every command of a session with its outcome."),
    "terminate": Place(f"{_HERE}.session:terminate", "End a session now."),
    "verify": Place(f"{_HERE}.session:verify", "Check that a session's record is whole and unaltered."),
    "export": Place(f"{_HERE}.session:export", "Write a session's record into a file."),
    "keys": Place(f"{_HERE}.session:keys", "Print the public keys that records are sealed with."),
}
_REQUEST = {
    "create": Place(f"{_HERE}.request:create", "Ask for access to an account that needs an approval."),
    "list": Place(f"{_HERE}.request:list_", "List access requests, newest first."),
    "show": Place(f"{_HERE}.request:show", "Show one access request."),
    "approve": Place(f"{_HERE}.request:approve", "Let somebody in; never yourself."),
    "deny": Place(f"{_HERE}.request:deny", "Refuse a request, or take a grant back."),
    "cancel": Place(f"{_HERE}.request:cancel", "Take your own request back."),
}
_PAM = {
    "resource": Place("wardgate.cli.main:resource", "Guarded MongoDB deployments."),
    "account": Place("wardgate.cli.main:account", "The MongoDB users behind them."),
    "db": Place("wardgate.cli.main:db", "Reach a database."),
    "request": Place("wardgate.cli.main:request", "Asking for access, and deciding on it."),
    "session": Place("wardgate.cli.main:session", "Who reached what, and every command."),
    "search": Place(f"{_HERE}.search:search", "Find what was done, over all sessions."),
}
_DB = {
    "access": Place(f"{_HERE}.access:access", "Open a session and listen for MongoDB clients on loopback."),
    "uri": Place(f"{_HERE}.uri:uri", "Print the URI of a session that is open on this machine."),
}
_STREAM = {
    "add": Place(f"{_HERE}.stream:add", "Send what happens from now on to a receiver."),
    "list": Place(f"{_HERE}.stream:list_", "List streams and how they go."),
    "show": Place(f"{_HERE}.stream:show", "Show how a stream is set and how far it has come."),
    "update": Place(f"{_HERE}.stream:update", "Change, pause or resume a stream."),
    "secret": Place(f"{_HERE}.stream:secret", "Make a new signing key for a webhook."),
    "test": Place(f"{_HERE}.stream:test", "Send a test line now."),
    "remove": Place(f"{_HERE}.stream:remove", "Forget a stream."),
}
_TOP = {
    "demo": Place("wardgate.demo.command:cli", "Everything on this machine, against a real MongoDB.", "all"),
    "login": Place(f"{_HERE}.login:login", "Log in to a control plane."),
    "logout": Place(f"{_HERE}.login:logout", "Forget and revoke this login."),
    "password": Place("wardgate.cli.main:password", "Set a forgotten password, or the first one."),
    "devices": Place("wardgate.cli.main:devices", "Where you are signed in."),
    "whoami": Place(f"{_HERE}.login:whoami", "Show who you are, and where."),
    "pam": Place("wardgate.cli.main:pam", "Resources, accounts, access and sessions."),
    "project": Place("wardgate.cli.main:project", "Projects."),
    "user": Place("wardgate.cli.main:user", "Users."),
    "group": Place("wardgate.cli.main:group", "Groups of users."),
    "service": Place("wardgate.cli.main:service", "Services: programs that act for themselves."),
    "mfa": Place("wardgate.cli.main:mfa", "Your second factor, and the organisation's rule."),
    "sso": Place("wardgate.cli.main:sso", "Single sign-on: providers of OpenID Connect."),
    "role": Place("wardgate.cli.main:role", "Who may do what, where, and until when."),
    "audit": Place("wardgate.cli.main:audit", "What was done in the control plane."),
    "vault": Place("wardgate.cli.main:vault", "The master key and its rotation."),
    "stream": Place("wardgate.cli.main:stream", "Sending the record to syslog, a webhook or OpenTelemetry."),
    "gateway": Place("wardgate.cli.main:gateway", "The programs beside the databases."),
    "relay": Place("wardgate.cli.main:relay", "The programs that join people and gateways."),
    "server": Place("wardgate.control.command:cli", "The control plane.", "server"),
}

gateway = LazyGroup("gateway", _GATEWAY, help="The programs beside the databases, which log in and record.")
relay = LazyGroup("relay", _RELAY, help="The programs that join people and gateways, and can read nothing.")
project = LazyGroup("project", _PROJECT, help="Projects: a team's space.")
masking = LazyGroup("masking", _MASKING, help="Masking rules: what a project's records do not show.")
user = LazyGroup("user", _USER, help="Users: the people who may log in.")
group = LazyGroup("group", _GROUP, help="Groups: users who hold roles together.")
secret = LazyGroup("secret", _SECRET, help="Client secrets of a service: each is shown once, several may be good.")
trust = LazyGroup("trust", _TRUST, help="Issuers whose signed tokens are taken as a service's.")
service = LazyGroup("service", _SERVICE, help="Services: programs that act for themselves, as in CI.")
password = LazyGroup("password", _PASSWORD, help="Your password, where you have none (any more).")
devices = LazyGroup("devices", _DEVICES, help="Where you are signed in.")
passkey = LazyGroup("passkey", _PASSKEY, help="Your passkeys and security keys.")
mfa = LazyGroup("mfa", _MFA, help="Second factors: your own, and the organisation's rule.")
vault = LazyGroup("vault", _VAULT, help="The master key that everything is sealed under: its state and its rotation.")
audit = LazyGroup("audit", _AUDIT, help="The control plane's own log: who did what to what.")
sso = LazyGroup("sso", _SSO, help="Single sign-on for people, by providers of OpenID Connect.")
stream = LazyGroup("stream", _STREAM, help="Streams: sending the record to syslog, a webhook or OpenTelemetry.")
role = LazyGroup("role", _ROLE, help="Roles: who may do what, where, and until when.")
resource = LazyGroup("resource", _RESOURCE, help="Resources: guarded MongoDB deployments.")
account = LazyGroup("account", _ACCOUNT, help="Accounts: the MongoDB users that people reach through wardgate.")
session = LazyGroup("session", _SESSION, help="Sessions: who reached what, and every command.")
request = LazyGroup("request", _REQUEST, help="Access requests: asking to be let in, and deciding on it.")
db = LazyGroup("db", _DB, help="Reach a database.")
pam = LazyGroup("pam", _PAM, help="Privileged access: resources, accounts, access and sessions.")
root = LazyGroup("wardgate", _TOP, help="Just-in-time, passwordless and fully recorded access to MongoDB.")
click.version_option(__version__, prog_name="wardgate", message="%(prog)s %(version)s")(root)


def main(argv: list[str] | None = None) -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:] if argv is None else argv))


def run(argv: list[str]) -> int:
    """Run one command and return its exit code; every failure has been told when it returns."""
    as_json = "--json" in (argv[: argv.index("--")] if "--" in argv else argv)
    try:
        result = root.main(args=argv, prog_name="wardgate", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except (click.Abort, KeyboardInterrupt):
        return int(Exit.INTERRUPTED)
    except click.ClickException as error:
        if as_json:
            _tell_json({"code": "usage", "title": "Wrong usage", "detail": error.format_message()})
        else:
            error.show()
        return error.exit_code
    except WardgateError as error:
        _tell(error, as_json)
        return exit_code_of(error)
    except BrokenPipeError:
        # The reader of our output went away: not worth a word, and nothing more can be said to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(Exit.FAILED)
    return result if isinstance(result, int) else int(Exit.OK)


def _tell(error: WardgateError, as_json: bool) -> None:
    from ..api.problems import ProblemError
    from .output import safe

    if as_json and isinstance(error, ProblemError):
        _tell_json(error.problem.model_dump(mode="json"))
        return
    if as_json:
        _tell_json({"code": error.code, "title": error.code.replace("_", " ").capitalize(), "detail": error.message})
        return
    sys.stderr.write(f"error: {safe(error.message)}\n")
    if isinstance(error, ProblemError):
        for field in error.problem.errors:
            sys.stderr.write(f"  {safe(field.field)}: {safe(field.message)}\n")
        from .hops import print_hops

        print_hops(error.problem.context)


def _tell_json(document: dict[str, Any]) -> None:
    from .output import to_json

    sys.stderr.write(to_json({"type": "about:blank", **document}) + "\n")
