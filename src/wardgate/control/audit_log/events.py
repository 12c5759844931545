"""What can happen, by name."""

from __future__ import annotations

from enum import StrEnum


class Event(StrEnum):
    """Every kind of event; alphabetical, append-only: an old log must stay readable."""

    ACCOUNT_CREATED = "account.created"
    ACCOUNT_DELETED = "account.deleted"
    ACCOUNT_UPDATED = "account.updated"
    GATEWAY_CREATED = "gateway.created"
    GATEWAY_ENROLLED = "gateway.enrolled"
    GATEWAY_INSTANCE_REVOKED = "gateway.instance_revoked"
    GATEWAY_RENEWED = "gateway.renewed"
    GATEWAY_REVOKED = "gateway.revoked"
    GATEWAY_TOKEN_CREATED = "gateway.token_created"  # noqa: S105 - the name of an event
    MFA_FAILED = "mfa.failed"
    MFA_METHOD_ADDED = "mfa.method_added"
    MFA_METHOD_REMOVED = "mfa.method_removed"
    MFA_POLICY_CHANGED = "mfa.policy_changed"
    MFA_RECOVERY_CODES_MADE = "mfa.recovery_codes_made"
    MFA_RESET = "mfa.reset"
    MFA_VERIFIED = "mfa.verified"
    ORGANISATION_CREATED = "organisation.created"
    PROJECT_CREATED = "project.created"
    RECORDS_ALARM = "records.alarm"
    RECORDS_EXPORTED = "records.exported"
    RECORDS_READ = "records.read"
    RELAY_CREATED = "relay.created"
    RELAY_ENROLLED = "relay.enrolled"
    RELAY_RENEWED = "relay.renewed"
    RELAY_REVOKED = "relay.revoked"
    RESOURCE_CREATED = "resource.created"
    RESOURCE_DELETED = "resource.deleted"
    RESOURCE_UPDATED = "resource.updated"
    ROLE_GRANTED = "role.granted"
    ROLE_REVOKED = "role.revoked"
    SESSION_CREATED = "session.created"
    SESSION_ENDED = "session.ended"
    SESSION_REFUSED = "session.refused"
    SESSION_SEALED = "session.sealed"
    SESSION_STARTED = "session.started"
    SESSION_TERMINATED = "session.terminated"
    USER_CREATED = "user.created"
    USER_DELETED = "user.deleted"
    USER_DISABLED = "user.disabled"
    USER_ENABLED = "user.enabled"
    USER_LOGGED_IN = "user.logged_in"
    USER_LOGGED_OUT = "user.logged_out"
    USER_LOGIN_FAILED = "user.login_failed"
    USER_PASSWORD_CHANGED = "user.password_changed"  # noqa: S105 - the name of an event
    USER_TOKEN_REUSED = "user.token_reused"  # noqa: S105 - the name of an event
