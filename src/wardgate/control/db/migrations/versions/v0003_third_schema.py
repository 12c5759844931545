"""third schema"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

import wardgate.control.db.base

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this version."""
    with op.batch_alter_table("sign_ins", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column(
                "kind",
                sa.Enum("browser", "command_line", name="devicekind", native_enum=False, length=64),
                server_default="command_line",
                nullable=False,
            )
        )
        batch_op.add_column(sa.Column("name", sa.String(), server_default="", nullable=False))
        batch_op.add_column(
            sa.Column(
                "method",
                sa.Enum("passkey", "password", "sso", name="method", native_enum=False, length=64),
                server_default="password",
                nullable=False,
            )
        )
        batch_op.add_column(sa.Column("second_factor", sa.Boolean(), server_default=sa.false(), nullable=False))
        batch_op.add_column(sa.Column("approved_by", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("used_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True))
        batch_op.add_column(sa.Column("used_address", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("ends_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """To the version before."""
    with op.batch_alter_table("sign_ins", schema=None) as batch_op:
        batch_op.drop_column("ends_at")
        batch_op.drop_column("used_address")
        batch_op.drop_column("used_at")
        batch_op.drop_column("approved_by")
        batch_op.drop_column("second_factor")
        batch_op.drop_column("method")
        batch_op.drop_column("name")
        batch_op.drop_column("kind")
