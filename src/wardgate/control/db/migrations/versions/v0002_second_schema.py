"""second schema"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """To this version."""
    with op.batch_alter_table("sessions", schema=None) as batch_op:
        batch_op.add_column(sa.Column("local_auth", sa.Boolean(), server_default=sa.false(), nullable=False))
        batch_op.add_column(sa.Column("sealed_local_password", sa.LargeBinary(), nullable=True))


def downgrade() -> None:
    """To the version before."""
    with op.batch_alter_table("sessions", schema=None) as batch_op:
        batch_op.drop_column("sealed_local_password")
        batch_op.drop_column("local_auth")
