"""Everything that can be permitted, and which role permits it.

A permission is `scope:resource:action`. The enum is alphabetical and append-only, the table below it is the whole
truth about roles: no code asks for a role, it asks for a permission.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Permission(StrEnum):
    """`ACCOUNT_…` are checked at one account, `RESOURCE_…` at one resource, and so on; `SELF_…` need a login only (of a
    person, but for `SERVICE_SELF`), `MACHINE_…` the signed assertion of a gateway or relay."""

    ACCOUNT_BINDING_CREATE = "account:binding:create"
    ACCOUNT_BINDING_DELETE = "account:binding:delete"
    ACCOUNT_BINDING_READ = "account:binding:read"
    ACCOUNT_DETAILS_DELETE = "account:details:delete"
    ACCOUNT_DETAILS_READ = "account:details:read"
    ACCOUNT_DETAILS_TEST = "account:details:test"
    ACCOUNT_DETAILS_UPDATE = "account:details:update"
    ACCOUNT_OWN_SESSION_CREATE = "account:own-session:create"
    ACCOUNT_OWN_SESSION_READ = "account:own-session:read"
    ACCOUNT_OWN_SESSION_TERMINATE = "account:own-session:terminate"
    ACCOUNT_RECORD_READ = "account:record:read"
    ACCOUNT_REQUEST_DECIDE = "account:request:decide"
    ACCOUNT_REQUEST_READ = "account:request:read"
    ACCOUNT_SESSION_READ = "account:session:read"
    ACCOUNT_SESSION_TERMINATE = "account:session:terminate"
    MACHINE_GATEWAY_OPERATE = "machine:gateway:operate"
    MACHINE_RELAY_OPERATE = "machine:relay:operate"
    ORGANISATION_AUDIT_VERIFY = "organisation:audit:verify"
    ORGANISATION_GROUP_CREATE = "organisation:group:create"
    ORGANISATION_GROUP_DELETE = "organisation:group:delete"
    ORGANISATION_GROUP_READ = "organisation:group:read"
    ORGANISATION_GROUP_UPDATE = "organisation:group:update"
    ORGANISATION_PROJECT_CREATE = "organisation:project:create"
    ORGANISATION_RELAY_CREATE = "organisation:relay:create"
    ORGANISATION_RELAY_READ = "organisation:relay:read"
    ORGANISATION_RELAY_REVOKE = "organisation:relay:revoke"
    ORGANISATION_SERVICE_CREATE = "organisation:service:create"
    ORGANISATION_SERVICE_DELETE = "organisation:service:delete"
    ORGANISATION_SERVICE_READ = "organisation:service:read"
    ORGANISATION_SERVICE_UPDATE = "organisation:service:update"
    ORGANISATION_SETTINGS_READ = "organisation:settings:read"
    ORGANISATION_SETTINGS_UPDATE = "organisation:settings:update"
    ORGANISATION_STREAM_READ = "organisation:stream:read"
    ORGANISATION_STREAM_UPDATE = "organisation:stream:update"
    ORGANISATION_USER_CREATE = "organisation:user:create"
    ORGANISATION_USER_DELETE = "organisation:user:delete"
    ORGANISATION_USER_READ = "organisation:user:read"
    ORGANISATION_USER_UPDATE = "organisation:user:update"
    ORGANISATION_VAULT_READ = "organisation:vault:read"
    ORGANISATION_VAULT_ROTATE = "organisation:vault:rotate"
    PROJECT_AUDIT_READ = "project:audit:read"
    PROJECT_DETAILS_READ = "project:details:read"
    PROJECT_GATEWAY_CREATE = "project:gateway:create"
    PROJECT_GATEWAY_READ = "project:gateway:read"
    PROJECT_GATEWAY_REVOKE = "project:gateway:revoke"
    PROJECT_MASKING_READ = "project:masking:read"
    PROJECT_MASKING_UPDATE = "project:masking:update"
    PROJECT_RECORDS_READ = "project:records:read"
    PROJECT_RECORDS_UPDATE = "project:records:update"
    PROJECT_RESOURCE_CREATE = "project:resource:create"
    PROJECT_STREAM_READ = "project:stream:read"
    PROJECT_STREAM_UPDATE = "project:stream:update"
    RESOURCE_ACCOUNT_CREATE = "resource:account:create"
    RESOURCE_DETAILS_DELETE = "resource:details:delete"
    RESOURCE_DETAILS_READ = "resource:details:read"
    RESOURCE_DETAILS_TEST = "resource:details:test"
    RESOURCE_DETAILS_UPDATE = "resource:details:update"
    SELF_DEVICE_APPROVE = "self:device:approve"
    SELF_IDENTITY_READ = "self:identity:read"
    SELF_MFA_UPDATE = "self:mfa:update"
    SELF_PASSWORD_UPDATE = "self:password:update"  # noqa: S105 - the name of a permission
    SELF_SIGN_IN_END = "self:sign-in:end"


class ServiceScope(StrEnum):
    """What the tokens of a service may be used for, whatever roles it holds: the permissions of one role each."""

    ADMINISTER = "administer"
    AUDIT = "audit"
    CONNECT = "connect"


class Role(StrEnum):
    """What can be bound to an identity at a place."""

    ADMIN = "admin"
    AUDITOR = "auditor"
    CONNECTOR = "connector"


SELF: Final = frozenset(p for p in Permission if p.value.startswith("self:"))
SERVICE_SELF: Final = frozenset({Permission.SELF_IDENTITY_READ})
MACHINE: Final = frozenset(p for p in Permission if p.value.startswith("machine:"))

ROLE_PERMISSIONS: Final[dict[Role, frozenset[Permission]]] = {
    # Everything at and below the place it is bound to, connecting included: what an administrator could grant to
    # themselves a minute later is not protected by leaving it out, and every session is recorded.
    Role.ADMIN: frozenset(Permission) - SELF - MACHINE,
    Role.AUDITOR: frozenset(
        {
            Permission.ACCOUNT_BINDING_READ,
            Permission.ACCOUNT_DETAILS_READ,
            Permission.ACCOUNT_OWN_SESSION_READ,
            Permission.ACCOUNT_RECORD_READ,
            Permission.ACCOUNT_REQUEST_READ,
            Permission.ACCOUNT_SESSION_READ,
            Permission.ORGANISATION_AUDIT_VERIFY,
            Permission.ORGANISATION_STREAM_READ,
            Permission.PROJECT_AUDIT_READ,
            Permission.PROJECT_MASKING_READ,
            Permission.PROJECT_RECORDS_READ,
            Permission.PROJECT_DETAILS_READ,
            Permission.PROJECT_GATEWAY_READ,
            Permission.PROJECT_STREAM_READ,
            Permission.RESOURCE_DETAILS_READ,
        }
    ),
    Role.CONNECTOR: frozenset(
        {
            Permission.ACCOUNT_DETAILS_READ,
            Permission.ACCOUNT_OWN_SESSION_CREATE,
            Permission.ACCOUNT_OWN_SESSION_READ,
            Permission.ACCOUNT_OWN_SESSION_TERMINATE,
            Permission.PROJECT_DETAILS_READ,
            Permission.RESOURCE_DETAILS_READ,
        }
    ),
}

_SCOPE_ROLES: Final = {
    ServiceScope.ADMINISTER: Role.ADMIN,
    ServiceScope.AUDIT: Role.AUDITOR,
    ServiceScope.CONNECT: Role.CONNECTOR,
}


def within(scopes: frozenset[ServiceScope]) -> frozenset[Permission]:
    """The permissions that a token with those scopes can be used for, where a role gives them."""
    return frozenset(permission for scope in scopes for permission in ROLE_PERMISSIONS[_SCOPE_ROLES[scope]])
