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


def records_get_places() -> None:
    """0002: what was recorded before is found by a search too."""
    op.execute(
        "INSERT INTO record_places (id, project, project_id, resource_id, account_id, user_id, resource, account, "
        '"user") SELECT row_number() OVER (ORDER BY project_id, resource_id, account_id, user_id), 0, project_id, '
        'resource_id, account_id, user_id, min(resource), min(account), min("user") FROM sessions '
        "GROUP BY project_id, resource_id, account_id, user_id"
    )
    op.execute(
        "UPDATE record_places SET project = "
        "(SELECT min(other.id) FROM record_places AS other WHERE other.project_id = record_places.project_id)"
    )
    op.execute(
        "UPDATE records SET place = (SELECT p.id FROM sessions AS s JOIN record_places AS p ON p.project_id = "
        "s.project_id AND p.resource_id = s.resource_id AND p.account_id = s.account_id AND p.user_id = s.user_id "
        "WHERE s.id = records.session_id) WHERE EXISTS (SELECT 1 FROM sessions AS s WHERE s.id = records.session_id)"
    )
    op.execute(
        "UPDATE records SET project = (SELECT p.project FROM record_places AS p WHERE p.id = records.place) "
        "WHERE place <> 0"
    )
