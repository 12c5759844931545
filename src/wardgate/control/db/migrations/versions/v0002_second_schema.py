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

    moves.gateways_get_instances()
    with op.batch_alter_table("gateways", schema=None) as batch_op:
        batch_op.drop_column("version")
        batch_op.drop_column("certificate_expires_at")
        batch_op.drop_column("public_key")
        batch_op.drop_column("last_seen_at")
        batch_op.drop_column("enrolled_at")
        batch_op.drop_column("advertise")

    with op.batch_alter_table("session_epochs", schema=None) as batch_op:
        batch_op.add_column(sa.Column("instance_id", sa.String(), nullable=True))

    with op.batch_alter_table("sessions", schema=None) as batch_op:
        batch_op.add_column(sa.Column("mfa", sa.Boolean(), server_default=sa.false(), nullable=False))
        batch_op.add_column(sa.Column("instance_id", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("local_auth", sa.Boolean(), server_default=sa.false(), nullable=False))
        batch_op.add_column(sa.Column("sealed_local_password", sa.LargeBinary(), nullable=True))


def downgrade() -> None:
    """To the version before."""
    with op.batch_alter_table("sessions", schema=None) as batch_op:
        batch_op.drop_column("sealed_local_password")
        batch_op.drop_column("local_auth")
        batch_op.drop_column("instance_id")
        batch_op.drop_column("mfa")

    with op.batch_alter_table("session_epochs", schema=None) as batch_op:
        batch_op.drop_column("instance_id")

    with op.batch_alter_table("gateways", schema=None) as batch_op:
        batch_op.add_column(sa.Column("advertise", sa.VARCHAR(), nullable=True))
        batch_op.add_column(sa.Column("enrolled_at", sa.DATETIME(), nullable=True))
        batch_op.add_column(sa.Column("last_seen_at", sa.DATETIME(), nullable=True))
        batch_op.add_column(sa.Column("public_key", sa.BLOB(), nullable=True))
        batch_op.add_column(sa.Column("certificate_expires_at", sa.DATETIME(), nullable=True))
        batch_op.add_column(sa.Column("version", sa.VARCHAR(), nullable=True))

    with op.batch_alter_table("accounts", schema=None) as batch_op:
        batch_op.drop_column("certificate_expires_at")
        batch_op.drop_column("sealed_client_certificate")
        batch_op.drop_column("mechanism")

    with op.batch_alter_table("gateway_instances", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_gateway_instances_gateway_id"))

    op.drop_table("gateway_instances")
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
    op.drop_table("mfa_policy")
