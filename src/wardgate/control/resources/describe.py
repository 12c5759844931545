"""Rows as the API shows them, and what to warn of when they are saved."""

from __future__ import annotations

from datetime import timedelta

from ... import durations
from ...api.models import Account, Resource, TestResult
from .mechanisms import mechanism_of, must_be_entered_again
from .model import AccountRow, ResourceRow

UNTESTED = "Saved untested: nobody knows yet whether it can be reached."


def describe_resource(row: ResourceRow, gateway: str, warnings: list[str] | None = None) -> Resource:
    """A resource."""
    return Resource(
        id=row.id,
        project_id=row.project_id,
        name=row.name,
        gateway=gateway,
        connection_string=row.connection_string,
        database=row.database,
        ssl=row.ssl,
        reject_unauthorized=row.reject_unauthorized,
        ca_certificate=row.ca_certificate,
        created_at=row.created_at,
        updated_at=row.updated_at,
        tested_at=row.tested_at,
        test=_test(row),
        warnings=warnings or [],
    )


def describe_account(row: AccountRow, resource: str, warnings: list[str] | None = None) -> Account:
    """An account; password and private key are not in the shape at all."""
    return Account(
        id=row.id,
        project_id=row.project_id,
        resource=resource,
        name=row.name,
        description=row.description,
        mechanism=mechanism_of(row),
        username=row.username,
        certificate_expires_at=row.certificate_expires_at,
        require_mfa=row.require_mfa,
        require_reason=row.require_reason,
        require_approval=row.require_approval,
        allow_admin=row.allow_admin,
        max_duration=_span(row.max_duration_s),
        idle_timeout=_span(row.idle_timeout_s),
        max_sessions=row.max_sessions,
        needs_password=must_be_entered_again(row),
        created_at=row.created_at,
        updated_at=row.updated_at,
        tested_at=row.tested_at,
        test=_test(row),
        warnings=warnings or [],
    )


def _span(seconds: int | None) -> str | None:
    return None if seconds is None else durations.format(timedelta(seconds=seconds))


def security_warnings(row: ResourceRow) -> list[str]:
    """What is weaker than it could be."""
    if not row.ssl:
        return ["SSL is off: what the gateway and MongoDB say to each other can be read and changed on the way."]
    if not row.reject_unauthorized:
        return ["Any certificate is accepted: the gateway can't tell your MongoDB from an impostor."]
    return []


def _test(row: ResourceRow | AccountRow) -> TestResult | None:
    return None if row.test is None else TestResult.model_validate(row.test)
