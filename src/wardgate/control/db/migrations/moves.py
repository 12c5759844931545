"""What migrations do to rows, beside what they do to tables; `tools/write_migration.py` puts the calls in.

Law: plain SQL that both databases speak, on names as they were at that version; nothing here imports a model.
"""

from __future__ import annotations

from alembic import op


def gateways_get_instances() -> None:
    """0002: a gateway that has enrolled is its own first instance, by its own id, which its data folder knows."""
    op.execute(
        "INSERT INTO gateway_instances (id, gateway_id, host, advertise, created_at, public_key, enrolled_at, "
        "certificate_expires_at, last_seen_at, version) "
        "SELECT id, id, '', advertise, created_at, public_key, enrolled_at, certificate_expires_at, last_seen_at, "
        "version FROM gateways WHERE public_key IS NOT NULL"
    )
