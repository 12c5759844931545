"""first schema"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import wardgate.control.db.base

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this version."""
    op.create_table(
        "audit_events",
        sa.Column("seq", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("event", sa.String(), nullable=False),
        sa.Column("actor_id", sa.String(), nullable=True),
        sa.Column("actor", sa.String(), nullable=False),
        sa.Column("address", sa.String(), nullable=True),
        sa.Column("request_id", sa.String(), nullable=True),
        sa.Column("target", sa.String(), nullable=True),
        sa.Column("project_id", sa.String(), nullable=True),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("previous", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit_events")),
    )
    with op.batch_alter_table("audit_events", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_audit_events_actor_id"), ["actor_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_audit_events_at"), ["at"], unique=False)
        batch_op.create_index(batch_op.f("ix_audit_events_project_id"), ["project_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_audit_events_target"), ["target"], unique=False)

    op.create_table(
        "audit_keys",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("certificate", sa.LargeBinary(), nullable=True),
        sa.Column("sealed_key", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("retired_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_keys")),
    )
    op.create_table(
        "authorities",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("certificate", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_key", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_authorities")),
    )
    op.create_table(
        "enrolment_tokens",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("machine_id", sa.String(), nullable=False),
        sa.Column("sealed_secret", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("used_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_enrolment_tokens")),
    )
    op.create_table(
        "projects",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("created_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
        sa.UniqueConstraint("name", name=op.f("uq_projects_name")),
    )
    op.create_table(
        "record_batches",
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("stored_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("session_id", "epoch", "first_seq", name=op.f("pk_record_batches")),
    )
    op.create_table(
        "record_epochs",
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("gateway_id", sa.String(), nullable=False),
        sa.Column("audit_key_id", sa.String(), nullable=False),
        sa.Column("sealed_key", sa.LargeBinary(), nullable=False),
        sa.Column("head_hash", sa.LargeBinary(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("closed", sa.Boolean(), nullable=False),
        sa.Column("sealed_seq", sa.BigInteger(), nullable=False),
        sa.Column("sealed_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("alarm", sa.String(), nullable=True),
        sa.Column("alarm_seq", sa.BigInteger(), nullable=True),
        sa.Column("alarm_detail", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("session_id", "epoch", name=op.f("pk_record_epochs")),
    )
    op.create_table(
        "record_seals",
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("final", sa.Boolean(), nullable=False),
        sa.Column("statement", sa.LargeBinary(), nullable=False),
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
        sa.Column("sealed_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("session_id", "number", name=op.f("pk_record_seals")),
    )
    op.create_table(
        "records",
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("connection", sa.BigInteger(), nullable=True),
        sa.Column("database", sa.String(), nullable=True),
        sa.Column("collection", sa.String(), nullable=True),
        sa.Column("command", sa.String(), nullable=True),
        sa.Column("effect", sa.String(), nullable=True),
        sa.Column("ok", sa.Double(), nullable=True),
        sa.Column("code", sa.BigInteger(), nullable=True),
        sa.Column("rule", sa.String(), nullable=True),
        sa.Column("documents", sa.BigInteger(), nullable=True),
        sa.Column("bytes_in", sa.BigInteger(), nullable=True),
        sa.Column("bytes_out", sa.BigInteger(), nullable=True),
        sa.Column("duration_us", sa.BigInteger(), nullable=True),
        sa.Column("client_app", sa.String(), nullable=True),
        sa.Column("unacknowledged", sa.Boolean(), nullable=True),
        sa.Column("error", sa.String(), nullable=True),
        sa.Column("event", sa.String(), nullable=True),
        sa.Column("details", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("session_id", "epoch", "seq", name=op.f("pk_records")),
    )
    with op.batch_alter_table("records", schema=None) as batch_op:
        batch_op.create_index("ix_records_database_collection_at", ["database", "collection", "at"], unique=False)

    op.create_table(
        "relays",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("embedded", sa.Boolean(), nullable=False),
        sa.Column("address", sa.String(), nullable=True),
        sa.Column("sealed_key", sa.LargeBinary(), nullable=True),
        sa.Column("connected", sa.JSON(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("created_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=True),
        sa.Column("enrolled_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("certificate_expires_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("last_seen_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("version", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_relays")),
    )
    with op.batch_alter_table("relays", schema=None) as batch_op:
        batch_op.create_index(
            "uq_relays_in_use",
            ["name"],
            unique=True,
            sqlite_where=sa.text("revoked_at IS NULL"),
            postgresql_where=sa.text("revoked_at IS NULL"),
        )

    op.create_table(
        "users",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("email", sa.String(), nullable=False),
        sa.Column("password_hash", sa.String(), nullable=True),
        sa.Column("created_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("disabled_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("email", name=op.f("uq_users_email")),
    )
    op.create_table(
        "vault_keys",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("master_key_id", sa.String(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("retired_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_vault_keys")),
    )
    with op.batch_alter_table("vault_keys", schema=None) as batch_op:
        batch_op.create_index(
            "uq_vault_keys_in_use",
            ["scope"],
            unique=True,
            sqlite_where=sa.text("retired_at IS NULL"),
            postgresql_where=sa.text("retired_at IS NULL"),
        )

    op.create_table(
        "gateways",
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("advertise", sa.String(), nullable=True),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("created_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=True),
        sa.Column("enrolled_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("certificate_expires_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("last_seen_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("version", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_gateways_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gateways")),
    )
    with op.batch_alter_table("gateways", schema=None) as batch_op:
        batch_op.create_index(
            "uq_gateways_in_use",
            ["project_id", "name"],
            unique=True,
            sqlite_where=sa.text("revoked_at IS NULL"),
            postgresql_where=sa.text("revoked_at IS NULL"),
        )

    op.create_table(
        "role_bindings",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column(
            "role", sa.Enum("admin", "auditor", "connector", name="role", native_enum=False, length=64), nullable=False
        ),
        sa.Column("project_id", sa.String(), nullable=True),
        sa.Column("resource_id", sa.String(), nullable=True),
        sa.Column("account_id", sa.String(), nullable=True),
        sa.Column("created_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(), nullable=True),
        sa.Column("expires_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_role_bindings_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_role_bindings")),
    )
    with op.batch_alter_table("role_bindings", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_role_bindings_project_id_resource_id_account_id"),
            ["project_id", "resource_id", "account_id"],
            unique=False,
        )
        batch_op.create_index(batch_op.f("ix_role_bindings_user_id"), ["user_id"], unique=False)

    op.create_table(
        "sessions",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("resource_id", sa.String(), nullable=False),
        sa.Column("resource", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("user", sa.String(), nullable=False),
        sa.Column("gateway_id", sa.String(), nullable=False),
        sa.Column("gateway", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=True),
        sa.Column("client", sa.JSON(), nullable=False),
        sa.Column("created_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("expires_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column(
            "status",
            sa.Enum("starting", "active", "ended", name="sessionstatus", native_enum=False, length=64),
            nullable=False,
        ),
        sa.Column("started_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("ended_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column(
            "end_reason",
            sa.Enum(
                "client_closed",
                "expired",
                "terminated",
                "idle",
                "client_lost",
                "gateway_lost",
                "rights_lost",
                "audit_failed",
                "failed_to_start",
                name="endreason",
                native_enum=False,
                length=64,
            ),
            nullable=True,
        ),
        sa.Column("end_message", sa.String(), nullable=True),
        sa.Column(
            "wanted_end",
            sa.Enum(
                "client_closed",
                "expired",
                "terminated",
                "idle",
                "client_lost",
                "gateway_lost",
                "rights_lost",
                "audit_failed",
                "failed_to_start",
                name="endreason",
                native_enum=False,
                length=64,
            ),
            nullable=True,
        ),
        sa.Column("wanted_message", sa.String(), nullable=True),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("renew_by", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("linked", sa.Boolean(), nullable=False),
        sa.Column("commands", sa.Integer(), nullable=False),
        sa.Column("errors", sa.Integer(), nullable=False),
        sa.Column(
            "verification",
            sa.Enum(
                "verified", "open", "incomplete", "tampered", name="verificationstate", native_enum=False, length=64
            ),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_sessions_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
    )
    with op.batch_alter_table("sessions", schema=None) as batch_op:
        batch_op.create_index("ix_sessions_gateway_id_status", ["gateway_id", "status"], unique=False)
        batch_op.create_index("ix_sessions_project_id_id", ["project_id", "id"], unique=False)
        batch_op.create_index("ix_sessions_status", ["status"], unique=False)

    op.create_table(
        "sign_ins",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("created_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("refreshed_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("address", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_sign_ins_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sign_ins")),
    )
    with op.batch_alter_table("sign_ins", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_sign_ins_user_id"), ["user_id"], unique=False)

    op.create_table(
        "resources",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("gateway_id", sa.String(), nullable=False),
        sa.Column("connection_string", sa.String(), nullable=False),
        sa.Column("database", sa.String(), nullable=False),
        sa.Column("ssl", sa.Boolean(), nullable=False),
        sa.Column("reject_unauthorized", sa.Boolean(), nullable=False),
        sa.Column("ca_certificate", sa.String(), nullable=True),
        sa.Column("created_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("updated_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("tested_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("test", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(["gateway_id"], ["gateways.id"], name=op.f("fk_resources_gateway_id")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_resources_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_resources")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_resources_project_id_name")),
    )
    with op.batch_alter_table("resources", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_resources_gateway_id"), ["gateway_id"], unique=False)

    op.create_table(
        "session_epochs",
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("gateway_id", sa.String(), nullable=False),
        sa.Column("leased_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name=op.f("fk_session_epochs_session_id")),
        sa.PrimaryKeyConstraint("session_id", "epoch", name=op.f("pk_session_epochs")),
    )
    op.create_table(
        "session_transitions",
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column(
            "status",
            sa.Enum("starting", "active", "ended", name="sessionstatus", native_enum=False, length=64),
            nullable=False,
        ),
        sa.Column(
            "end_reason",
            sa.Enum(
                "client_closed",
                "expired",
                "terminated",
                "idle",
                "client_lost",
                "gateway_lost",
                "rights_lost",
                "audit_failed",
                "failed_to_start",
                name="endreason",
                native_enum=False,
                length=64,
            ),
            nullable=True,
        ),
        sa.Column("message", sa.String(), nullable=True),
        sa.Column("actor", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["session_id"], ["sessions.id"], name=op.f("fk_session_transitions_session_id")),
        sa.PrimaryKeyConstraint("session_id", "number", name=op.f("pk_session_transitions")),
    )
    op.create_table(
        "tokens",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("kind", sa.Enum("access", "refresh", name="tokenkind", native_enum=False, length=64), nullable=False),
        sa.Column("sign_in_id", sa.String(), nullable=False),
        sa.Column("created_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("expires_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("used_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["sign_in_id"], ["sign_ins.id"], name=op.f("fk_tokens_sign_in_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_tokens")),
    )
    with op.batch_alter_table("tokens", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_tokens_expires_at"), ["expires_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_tokens_sign_in_id"), ["sign_in_id"], unique=False)

    op.create_table(
        "accounts",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("resource_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("username", sa.String(), nullable=False),
        sa.Column("sealed_password", sa.LargeBinary(), nullable=True),
        sa.Column("require_mfa", sa.Boolean(), nullable=False),
        sa.Column("require_reason", sa.Boolean(), nullable=False),
        sa.Column("allow_admin", sa.Boolean(), nullable=False),
        sa.Column("max_duration_s", sa.Integer(), nullable=True),
        sa.Column("created_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("updated_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("tested_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("test", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_accounts_project_id")),
        sa.ForeignKeyConstraint(
            ["resource_id"], ["resources.id"], name=op.f("fk_accounts_resource_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
        sa.UniqueConstraint("resource_id", "name", name=op.f("uq_accounts_resource_id_name")),
    )


def downgrade() -> None:
    """To the version before."""
    op.drop_table("accounts")
    with op.batch_alter_table("tokens", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_tokens_sign_in_id"))
        batch_op.drop_index(batch_op.f("ix_tokens_expires_at"))

    op.drop_table("tokens")
    op.drop_table("session_transitions")
    op.drop_table("session_epochs")
    with op.batch_alter_table("resources", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_resources_gateway_id"))

    op.drop_table("resources")
    with op.batch_alter_table("sign_ins", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_sign_ins_user_id"))

    op.drop_table("sign_ins")
    with op.batch_alter_table("sessions", schema=None) as batch_op:
        batch_op.drop_index("ix_sessions_status")
        batch_op.drop_index("ix_sessions_project_id_id")
        batch_op.drop_index("ix_sessions_gateway_id_status")

    op.drop_table("sessions")
    with op.batch_alter_table("role_bindings", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_role_bindings_user_id"))
        batch_op.drop_index(batch_op.f("ix_role_bindings_project_id_resource_id_account_id"))

    op.drop_table("role_bindings")
    op.drop_table("gateways")
    with op.batch_alter_table("vault_keys", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_vault_keys_in_use",
            sqlite_where=sa.text("retired_at IS NULL"),
            postgresql_where=sa.text("retired_at IS NULL"),
        )

    op.drop_table("vault_keys")
    op.drop_table("users")
    op.drop_table("relays")
    with op.batch_alter_table("records", schema=None) as batch_op:
        batch_op.drop_index("ix_records_database_collection_at")

    op.drop_table("records")
    op.drop_table("record_seals")
    op.drop_table("record_epochs")
    op.drop_table("record_batches")
    op.drop_table("projects")
    op.drop_table("enrolment_tokens")
    op.drop_table("authorities")
    op.drop_table("audit_keys")
    with op.batch_alter_table("audit_events", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_audit_events_target"))
        batch_op.drop_index(batch_op.f("ix_audit_events_project_id"))
        batch_op.drop_index(batch_op.f("ix_audit_events_at"))
        batch_op.drop_index(batch_op.f("ix_audit_events_actor_id"))

    op.drop_table("audit_events")
