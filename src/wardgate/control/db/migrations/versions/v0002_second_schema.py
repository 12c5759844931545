"""second schema"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import wardgate.control.db.base
from wardgate.control.db.migrations import moves

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this version."""
    op.create_table(
        "mfa_policy",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("enforced", sa.Enum("email", "totp", name="mfakind", native_enum=False, length=64), nullable=True),
        sa.Column("at_sign_in", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mfa_policy")),
    )
    op.create_table(
        "record_places",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("project", sa.Integer(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("resource_id", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("resource", sa.String(), nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("user", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_record_places")),
        sa.UniqueConstraint(
            "project_id",
            "resource_id",
            "account_id",
            "user_id",
            name=op.f("uq_record_places_project_id_resource_id_account_id_user_id"),
        ),
    )
    op.create_table(
        "access_requests",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("resource_id", sa.String(), nullable=False),
        sa.Column("resource", sa.String(), nullable=False),
        sa.Column("account_id", sa.String(), nullable=False),
        sa.Column("account", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("user", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("duration_s", sa.Integer(), nullable=False),
        sa.Column("window_s", sa.Integer(), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "pending",
                "approved",
                "denied",
                "cancelled",
                "expired",
                "revoked",
                name="requeststatus",
                native_enum=False,
                length=64,
            ),
            nullable=False,
        ),
        sa.Column("created_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("expires_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("decided_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("decided_by", sa.String(), nullable=True),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("until", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_access_requests_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_access_requests")),
    )
    with op.batch_alter_table("access_requests", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_access_requests_project_id_id"), ["project_id", "id"], unique=False)
        batch_op.create_index(
            batch_op.f("ix_access_requests_user_id_account_id_status"),
            ["user_id", "account_id", "status"],
            unique=False,
        )

    op.create_table(
        "mfa_challenges",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("sign_in_id", sa.String(), nullable=True),
        sa.Column("kind", sa.Enum("email", "totp", name="mfakind", native_enum=False, length=64), nullable=False),
        sa.Column("binding", sa.LargeBinary(), nullable=False),
        sa.Column("code_hash", sa.LargeBinary(), nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("created_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("expires_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("verified_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("used_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_mfa_challenges_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mfa_challenges")),
    )
    with op.batch_alter_table("mfa_challenges", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_mfa_challenges_expires_at"), ["expires_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_mfa_challenges_user_id"), ["user_id"], unique=False)

    op.create_table(
        "mfa_methods",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("kind", sa.Enum("email", "totp", name="mfakind", native_enum=False, length=64), nullable=False),
        sa.Column("sealed_secret", sa.LargeBinary(), nullable=False),
        sa.Column("last_step", sa.Integer(), nullable=False),
        sa.Column("created_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("confirmed_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_mfa_methods_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mfa_methods")),
    )
    with op.batch_alter_table("mfa_methods", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_mfa_methods_user_id"), ["user_id"], unique=False)

    op.create_table(
        "mfa_recovery_codes",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("created_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("used_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_mfa_recovery_codes_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_mfa_recovery_codes")),
    )
    with op.batch_alter_table("mfa_recovery_codes", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_mfa_recovery_codes_user_id"), ["user_id"], unique=False)

    op.create_table(
        "project_records",
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("durability", sa.String(), nullable=False),
        sa.Column("retention_days", sa.Integer(), nullable=True),
        sa.Column("legal_hold", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_project_records_project_id")),
        sa.PrimaryKeyConstraint("project_id", name=op.f("pk_project_records")),
    )
    op.create_table(
        "gateway_instances",
        sa.Column("gateway_id", sa.String(), nullable=False),
        sa.Column("advertise", sa.String(), nullable=True),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("created_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=True),
        sa.Column("enrolled_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("certificate_expires_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("last_seen_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("version", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["gateway_id"], ["gateways.id"], name=op.f("fk_gateway_instances_gateway_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gateway_instances")),
    )
    with op.batch_alter_table("gateway_instances", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_gateway_instances_gateway_id"), ["gateway_id"], unique=False)

    with op.batch_alter_table("accounts", schema=None) as batch_op:
        batch_op.add_column(sa.Column("mechanism", sa.String(), server_default="auto", nullable=False))
        batch_op.add_column(sa.Column("sealed_client_certificate", sa.LargeBinary(), nullable=True))
        batch_op.add_column(
            sa.Column("certificate_expires_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True)
        )
        batch_op.add_column(sa.Column("require_approval", sa.Boolean(), server_default=sa.false(), nullable=False))
        batch_op.add_column(sa.Column("idle_timeout_s", sa.Integer(), server_default=sa.text("(1800)"), nullable=True))
        batch_op.add_column(sa.Column("max_sessions", sa.Integer(), nullable=True))

    moves.gateways_get_instances()
    with op.batch_alter_table("gateways", schema=None) as batch_op:
        batch_op.drop_column("version")
        batch_op.drop_column("public_key")
        batch_op.drop_column("advertise")
        batch_op.drop_column("certificate_expires_at")
        batch_op.drop_column("last_seen_at")
        batch_op.drop_column("enrolled_at")

    with op.batch_alter_table("record_epochs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("deleted_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("deleting", sa.Boolean(), server_default=sa.false(), nullable=False))
        batch_op.create_index(
            "ix_record_epochs_deleting",
            ["deleting"],
            unique=False,
            sqlite_where=sa.text("deleting"),
            postgresql_where=sa.text("deleting"),
        )

    with op.batch_alter_table("records", schema=None) as batch_op:
        batch_op.add_column(sa.Column("place", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("project", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("continues", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("modified", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("upserted", sa.BigInteger(), nullable=True))
        batch_op.add_column(sa.Column("write_errors", sa.Integer(), nullable=True))
        batch_op.drop_index(batch_op.f("ix_records_database_collection_at"))
        batch_op.create_index("ix_records_command", ["project", "command", "at"], unique=False)
        batch_op.create_index(
            "ix_records_continues",
            ["session_id", "epoch", "continues"],
            unique=False,
            sqlite_where=sa.text("continues IS NOT NULL"),
            postgresql_where=sa.text("continues IS NOT NULL"),
        )
        batch_op.create_index("ix_records_effect", ["project", "effect", "at"], unique=False)
        batch_op.create_index(
            "ix_records_failed",
            ["project", "at"],
            unique=False,
            sqlite_where=sa.text("ok = 0"),
            postgresql_where=sa.text("ok = 0"),
        )
        batch_op.create_index(
            "ix_records_many",
            ["project", "at"],
            unique=False,
            sqlite_where=sa.text("documents >= 1000"),
            postgresql_where=sa.text("documents >= 1000"),
        )
        batch_op.create_index("ix_records_namespace", ["project", "database", "collection", "at"], unique=False)
        batch_op.create_index("ix_records_place", ["place", "at"], unique=False)
        batch_op.create_index("ix_records_project", ["project", "at"], unique=False)
        batch_op.create_index(
            "ix_records_slow",
            ["project", "at"],
            unique=False,
            sqlite_where=sa.text("duration_us >= 1000000"),
            postgresql_where=sa.text("duration_us >= 1000000"),
        )

    with op.batch_alter_table("session_epochs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("instance_id", sa.String(), nullable=True))

    with op.batch_alter_table("sessions", schema=None) as batch_op:
        batch_op.add_column(sa.Column("grant_id", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("mfa", sa.Boolean(), server_default=sa.false(), nullable=False))
        batch_op.add_column(sa.Column("instance_id", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("local_auth", sa.Boolean(), server_default=sa.false(), nullable=False))
        batch_op.add_column(sa.Column("sealed_local_password", sa.LargeBinary(), nullable=True))
    moves.records_get_places()


def downgrade() -> None:
    """To the version before."""
    with op.batch_alter_table("sessions", schema=None) as batch_op:
        batch_op.drop_column("sealed_local_password")
        batch_op.drop_column("local_auth")
        batch_op.drop_column("instance_id")
        batch_op.drop_column("mfa")
        batch_op.drop_column("grant_id")

    with op.batch_alter_table("session_epochs", schema=None) as batch_op:
        batch_op.drop_column("instance_id")

    with op.batch_alter_table("records", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_records_slow",
            sqlite_where=sa.text("duration_us >= 1000000"),
            postgresql_where=sa.text("duration_us >= 1000000"),
        )
        batch_op.drop_index("ix_records_project")
        batch_op.drop_index("ix_records_place")
        batch_op.drop_index("ix_records_namespace")
        batch_op.drop_index(
            "ix_records_many", sqlite_where=sa.text("documents >= 1000"), postgresql_where=sa.text("documents >= 1000")
        )
        batch_op.drop_index("ix_records_failed", sqlite_where=sa.text("ok = 0"), postgresql_where=sa.text("ok = 0"))
        batch_op.drop_index("ix_records_effect")
        batch_op.drop_index(
            "ix_records_continues",
            sqlite_where=sa.text("continues IS NOT NULL"),
            postgresql_where=sa.text("continues IS NOT NULL"),
        )
        batch_op.drop_index("ix_records_command")
        batch_op.create_index(
            batch_op.f("ix_records_database_collection_at"), ["database", "collection", "at"], unique=False
        )
        batch_op.drop_column("write_errors")
        batch_op.drop_column("upserted")
        batch_op.drop_column("modified")
        batch_op.drop_column("continues")
        batch_op.drop_column("project")
        batch_op.drop_column("place")

    with op.batch_alter_table("record_epochs", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_record_epochs_deleting", sqlite_where=sa.text("deleting"), postgresql_where=sa.text("deleting")
        )
        batch_op.drop_column("deleting")
        batch_op.drop_column("deleted_at")

    with op.batch_alter_table("gateways", schema=None) as batch_op:
        batch_op.add_column(sa.Column("enrolled_at", sa.DATETIME(), nullable=True))
        batch_op.add_column(sa.Column("last_seen_at", sa.DATETIME(), nullable=True))
        batch_op.add_column(sa.Column("certificate_expires_at", sa.DATETIME(), nullable=True))
        batch_op.add_column(sa.Column("advertise", sa.VARCHAR(), nullable=True))
        batch_op.add_column(sa.Column("public_key", sa.BLOB(), nullable=True))
        batch_op.add_column(sa.Column("version", sa.VARCHAR(), nullable=True))

    with op.batch_alter_table("accounts", schema=None) as batch_op:
        batch_op.drop_column("max_sessions")
        batch_op.drop_column("idle_timeout_s")
        batch_op.drop_column("require_approval")
        batch_op.drop_column("certificate_expires_at")
        batch_op.drop_column("sealed_client_certificate")
        batch_op.drop_column("mechanism")

    with op.batch_alter_table("gateway_instances", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_gateway_instances_gateway_id"))

    op.drop_table("gateway_instances")
    op.drop_table("project_records")
    with op.batch_alter_table("mfa_recovery_codes", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_mfa_recovery_codes_user_id"))

    op.drop_table("mfa_recovery_codes")
    with op.batch_alter_table("mfa_methods", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_mfa_methods_user_id"))

    op.drop_table("mfa_methods")
    with op.batch_alter_table("mfa_challenges", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_mfa_challenges_user_id"))
        batch_op.drop_index(batch_op.f("ix_mfa_challenges_expires_at"))

    op.drop_table("mfa_challenges")
    with op.batch_alter_table("access_requests", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_access_requests_user_id_account_id_status"))
        batch_op.drop_index(batch_op.f("ix_access_requests_project_id_id"))

    op.drop_table("access_requests")
    op.drop_table("record_places")
    op.drop_table("mfa_policy")
