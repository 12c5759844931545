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
    op.create_table(
        "connection_tests",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("gateway_id", sa.String(), nullable=False),
        sa.Column("instance_id", sa.String(), nullable=True),
        sa.Column("order", sa.JSON(), nullable=False),
        sa.Column("sealed_credentials", sa.LargeBinary(), nullable=True),
        sa.Column("handed", sa.JSON(), nullable=False),
        sa.Column("result", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("expires_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_connection_tests")),
    )
    with op.batch_alter_table("connection_tests", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_connection_tests_gateway_id"), ["gateway_id"], unique=False)

    op.create_table(
        "device_requests",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("flow", sa.Enum("browser", "code", name="flow", native_enum=False, length=64), nullable=False),
        sa.Column(
            "status",
            sa.Enum("waiting", "approved", "denied", "used", "burnt", name="status", native_enum=False, length=64),
            nullable=False,
        ),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=True),
        sa.Column("user_code", sa.String(), nullable=True),
        sa.Column("challenge", sa.String(), nullable=True),
        sa.Column("redirect_uri", sa.String(), nullable=True),
        sa.Column("state", sa.String(), nullable=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("address", sa.String(), nullable=True),
        sa.Column("created_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("expires_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("interval_s", sa.Integer(), nullable=False),
        sa.Column("polled_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("decided_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("user_id", sa.String(), nullable=True),
        sa.Column("approved_by", sa.String(), nullable=True),
        sa.Column("sign_in_id", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device_requests")),
        sa.UniqueConstraint("secret_hash", name=op.f("uq_device_requests_secret_hash")),
        sa.UniqueConstraint("user_code", name=op.f("uq_device_requests_user_code")),
    )
    with op.batch_alter_table("device_requests", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_device_requests_expires_at"), ["expires_at"], unique=False)

    op.create_table(
        "groups",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("created_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_groups")),
        sa.UniqueConstraint("name", name=op.f("uq_groups_name")),
    )
    op.create_table(
        "job_leases",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("node", sa.String(), nullable=False),
        sa.Column("until", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_job_leases")),
    )
    op.create_table(
        "master_keys",
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("key_id", sa.String(), nullable=False),
        sa.Column("begun_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("finished_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_master_keys")),
    )
    op.create_table(
        "node_signals",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("node", sa.String(), nullable=False),
        sa.Column("topic", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("sent_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_node_signals")),
    )
    with op.batch_alter_table("node_signals", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_node_signals_sent_at"), ["sent_at"], unique=False)

    op.create_table(
        "nodes",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("host", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("master_keys", sa.JSON(), nullable=False),
        sa.Column("started_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("seen_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_nodes")),
    )
    op.create_table(
        "service_spent_tokens",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_service_spent_tokens")),
    )
    with op.batch_alter_table("service_spent_tokens", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_service_spent_tokens_expires_at"), ["expires_at"], unique=False)

    op.create_table(
        "services",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("scopes", sa.String(), nullable=False),
        sa.Column("networks", sa.String(), nullable=False),
        sa.Column("created_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(), nullable=True),
        sa.Column("expires_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("disabled_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_services")),
        sa.UniqueConstraint("name", name=op.f("uq_services_name")),
    )
    op.create_table(
        "sso_policy",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("passwords_off", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sso_policy")),
    )
    op.create_table(
        "sso_providers",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("label", sa.String(), nullable=False),
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("client_id", sa.String(), nullable=False),
        sa.Column("sealed_client_secret", sa.LargeBinary(), nullable=True),
        sa.Column("scopes", sa.String(), nullable=False),
        sa.Column("groups_claim", sa.String(), nullable=False),
        sa.Column("create_users", sa.Boolean(), nullable=False),
        sa.Column("trust_mfa", sa.Boolean(), nullable=False),
        sa.Column("lifetime_s", sa.Integer(), nullable=True),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("created_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sso_providers")),
        sa.UniqueConstraint("name", name=op.f("uq_sso_providers_name")),
    )
    op.create_table(
        "used_assertions",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("until", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_used_assertions")),
    )
    with op.batch_alter_table("used_assertions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_used_assertions_until"), ["until"], unique=False)

    op.create_table(
        "group_members",
        sa.Column("group_id", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("added_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("added_by", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ["group_id"], ["groups.id"], name=op.f("fk_group_members_group_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_group_members_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("group_id", "user_id", "source", name=op.f("pk_group_members")),
    )
    with op.batch_alter_table("group_members", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_group_members_user_id"), ["user_id"], unique=False)

    op.create_table(
        "mail_links",
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column(
            "kind", sa.Enum("invitation", "password", name="linkkind", native_enum=False, length=64), nullable=False
        ),
        sa.Column("stands_on", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(), nullable=True),
        sa.Column("expires_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_mail_links_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_mail_links")),
        sa.UniqueConstraint("hash", name=op.f("uq_mail_links_hash")),
    )
    op.create_table(
        "masking_rules",
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("expression", sa.String(), nullable=False),
        sa.Column("description", sa.String(), nullable=False),
        sa.Column("created_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_masking_rules_project_id")),
        sa.PrimaryKeyConstraint("project_id", "name", name=op.f("pk_masking_rules")),
    )
    op.create_table(
        "passkey_questions",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=True),
        sa.Column("sign_in_id", sa.String(), nullable=True),
        sa.Column("expires_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_passkey_questions_user_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_passkey_questions")),
    )
    with op.batch_alter_table("passkey_questions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_passkey_questions_expires_at"), ["expires_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_passkey_questions_user_id"), ["user_id"], unique=False)

    op.create_table(
        "passkeys",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("rp_id", sa.String(), nullable=False),
        sa.Column("credential_id", sa.LargeBinary(), nullable=False),
        sa.Column("credential", sa.LargeBinary(), nullable=False),
        sa.Column("counter", sa.BigInteger(), nullable=False),
        sa.Column("synced", sa.Boolean(), nullable=False),
        sa.Column("transports", sa.JSON(), nullable=False),
        sa.Column("created_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("last_used_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("clone_suspected_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_passkeys_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_passkeys")),
        sa.UniqueConstraint("credential_id", name=op.f("uq_passkeys_credential_id")),
        sa.UniqueConstraint("user_id", "name", name=op.f("uq_passkeys_user_id_name")),
    )
    with op.batch_alter_table("passkeys", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_passkeys_user_id"), ["user_id"], unique=False)

    op.create_table(
        "service_secrets",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("service_id", sa.String(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(), nullable=True),
        sa.Column("expires_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("used_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["service_id"], ["services.id"], name=op.f("fk_service_secrets_service_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_service_secrets")),
        sa.UniqueConstraint("hash", name=op.f("uq_service_secrets_hash")),
    )
    with op.batch_alter_table("service_secrets", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_service_secrets_service_id"), ["service_id"], unique=False)

    op.create_table(
        "service_trusts",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("service_id", sa.String(), nullable=False),
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("audience", sa.String(), nullable=False),
        sa.Column("created_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(), nullable=True),
        sa.Column("used_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["service_id"], ["services.id"], name=op.f("fk_service_trusts_service_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_service_trusts")),
    )
    with op.batch_alter_table("service_trusts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_service_trusts_service_id"), ["service_id"], unique=False)

    op.create_table(
        "sso_attempts",
        sa.Column("state_hash", sa.LargeBinary(), nullable=False),
        sa.Column("cookie_hash", sa.LargeBinary(), nullable=False),
        sa.Column("provider_id", sa.String(), nullable=False),
        sa.Column("wanted", sa.String(), nullable=False),
        sa.Column("anew", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("created_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("expires_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("used_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["provider_id"], ["sso_providers.id"], name=op.f("fk_sso_attempts_provider_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("state_hash", name=op.f("pk_sso_attempts")),
    )
    with op.batch_alter_table("sso_attempts", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_sso_attempts_expires_at"), ["expires_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_sso_attempts_provider_id"), ["provider_id"], unique=False)

    op.create_table(
        "sso_domains",
        sa.Column("domain", sa.String(), nullable=False),
        sa.Column("provider_id", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["provider_id"], ["sso_providers.id"], name=op.f("fk_sso_domains_provider_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("domain", name=op.f("pk_sso_domains")),
    )
    with op.batch_alter_table("sso_domains", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_sso_domains_provider_id"), ["provider_id"], unique=False)

    op.create_table(
        "sso_identities",
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("created_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("used_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_sso_identities_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("issuer", "subject", name=op.f("pk_sso_identities")),
    )
    with op.batch_alter_table("sso_identities", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_sso_identities_user_id"), ["user_id"], unique=False)

    op.create_table(
        "sso_mappings",
        sa.Column("provider_id", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.Column("group_id", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["provider_id"], ["sso_providers.id"], name=op.f("fk_sso_mappings_provider_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("provider_id", "value", "group_id", name=op.f("pk_sso_mappings")),
    )
    op.create_table(
        "streams",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=True),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum("otlp", "syslog", "webhook", name="streamkind", native_enum=False, length=64),
            nullable=False,
        ),
        sa.Column("url", sa.String(), nullable=False),
        sa.Column("commands", sa.Boolean(), nullable=False),
        sa.Column("events", sa.Boolean(), nullable=False),
        sa.Column("bodies", sa.Boolean(), nullable=False),
        sa.Column("paused", sa.Boolean(), nullable=False),
        sa.Column("ca_certificate", sa.String(), nullable=True),
        sa.Column("header_names", sa.JSON(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("created_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("event_seq", sa.BigInteger(), nullable=False),
        sa.Column("sent", sa.BigInteger(), nullable=False),
        sa.Column("sent_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("failing_since", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.String(), nullable=True),
        sa.Column("last_error_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("next_try_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.Column("holder", sa.String(), nullable=True),
        sa.Column("held_until", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_streams_project_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_streams")),
        sa.UniqueConstraint("scope", "name", name=op.f("uq_streams_scope_name")),
    )
    op.create_table(
        "service_tokens",
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("service_id", sa.String(), nullable=False),
        sa.Column("secret_id", sa.String(), nullable=True),
        sa.Column("trust_id", sa.String(), nullable=True),
        sa.Column("scopes", sa.String(), nullable=False),
        sa.Column("address", sa.String(), nullable=True),
        sa.Column("created_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.Column("expires_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["secret_id"], ["service_secrets.id"], name=op.f("fk_service_tokens_secret_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["service_id"], ["services.id"], name=op.f("fk_service_tokens_service_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["trust_id"], ["service_trusts.id"], name=op.f("fk_service_tokens_trust_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_service_tokens")),
    )
    with op.batch_alter_table("service_tokens", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_service_tokens_expires_at"), ["expires_at"], unique=False)
        batch_op.create_index(batch_op.f("ix_service_tokens_secret_id"), ["secret_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_service_tokens_service_id"), ["service_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_service_tokens_trust_id"), ["trust_id"], unique=False)

    op.create_table(
        "service_trust_conditions",
        sa.Column("trust_id", sa.String(), nullable=False),
        sa.Column("claim", sa.String(), nullable=False),
        sa.Column("pattern", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(
            ["trust_id"], ["service_trusts.id"], name=op.f("fk_service_trust_conditions_trust_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("trust_id", "claim", name=op.f("pk_service_trust_conditions")),
    )
    op.create_table(
        "stream_positions",
        sa.Column("stream_id", sa.String(), nullable=False),
        sa.Column("session_id", sa.String(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("pending", sa.String(), nullable=False),
        sa.Column("waiting", sa.Boolean(), nullable=False),
        sa.Column("since", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["stream_id"], ["streams.id"], name=op.f("fk_stream_positions_stream_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("stream_id", "session_id", "epoch", name=op.f("pk_stream_positions")),
    )
    with op.batch_alter_table("stream_positions", schema=None) as batch_op:
        batch_op.create_index("ix_stream_positions_waiting", ["stream_id", "waiting", "since"], unique=False)

    with op.batch_alter_table("audit_events", schema=None) as batch_op:
        batch_op.add_column(sa.Column("client", sa.String(), nullable=True))

    with op.batch_alter_table("gateway_instances", schema=None) as batch_op:
        batch_op.add_column(sa.Column("carried", sa.Integer(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("link_node", sa.String(), nullable=True))
        batch_op.add_column(
            sa.Column("linked_until", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True)
        )

    with op.batch_alter_table("mfa_challenges", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column(
                "purpose",
                sa.Enum("access", "change", "sign_in", name="purpose", native_enum=False, length=64),
                server_default="access",
                nullable=False,
            )
        )
        batch_op.add_column(sa.Column("what", sa.String(), server_default=sa.text("('')"), nullable=False))
        batch_op.add_column(sa.Column("shown", sa.JSON(), nullable=True))
        batch_op.add_column(sa.Column("refused_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True))

    with op.batch_alter_table("mfa_policy", schema=None) as batch_op:
        batch_op.add_column(sa.Column("user_verification", sa.Boolean(), server_default=sa.false(), nullable=False))

    with op.batch_alter_table("role_bindings", schema=None) as batch_op:
        batch_op.add_column(sa.Column("group_id", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("service_id", sa.String(), nullable=True))
        batch_op.alter_column("user_id", existing_type=sa.VARCHAR(), nullable=True)
        batch_op.create_index(batch_op.f("ix_role_bindings_group_id"), ["group_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_role_bindings_service_id"), ["service_id"], unique=False)
        batch_op.create_foreign_key(
            batch_op.f("fk_role_bindings_group_id"), "groups", ["group_id"], ["id"], ondelete="CASCADE"
        )
        batch_op.create_foreign_key(
            batch_op.f("fk_role_bindings_service_id"), "services", ["service_id"], ["id"], ondelete="CASCADE"
        )

    with op.batch_alter_table("sessions", schema=None) as batch_op:
        batch_op.add_column(sa.Column("address", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("sign_in_id", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("documents_read", sa.BigInteger(), server_default="0", nullable=False))
        batch_op.add_column(sa.Column("documents_changed", sa.BigInteger(), server_default="0", nullable=False))
        batch_op.create_index("ix_sessions_project_id_created_at", ["project_id", "created_at"], unique=False)

    with op.batch_alter_table("sign_ins", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column(
                "kind",
                sa.Enum("browser", "command_line", name="devicekind", native_enum=False, length=64),
                server_default="command_line",
                nullable=False,
            )
        )
        batch_op.add_column(sa.Column("name", sa.String(), server_default=sa.text("('')"), nullable=False))
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
        batch_op.add_column(
            sa.Column("proof_ends_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True)
        )
        batch_op.add_column(sa.Column("ends_at", wardgate.control.db.base.UtcDateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """To the version before."""
    with op.batch_alter_table("sign_ins", schema=None) as batch_op:
        batch_op.drop_column("ends_at")
        batch_op.drop_column("proof_ends_at")
        batch_op.drop_column("used_address")
        batch_op.drop_column("used_at")
        batch_op.drop_column("approved_by")
        batch_op.drop_column("second_factor")
        batch_op.drop_column("method")
        batch_op.drop_column("name")
        batch_op.drop_column("kind")

    with op.batch_alter_table("sessions", schema=None) as batch_op:
        batch_op.drop_index("ix_sessions_project_id_created_at")
        batch_op.drop_column("documents_changed")
        batch_op.drop_column("documents_read")
        batch_op.drop_column("sign_in_id")
        batch_op.drop_column("address")

    with op.batch_alter_table("role_bindings", schema=None) as batch_op:
        batch_op.drop_constraint(batch_op.f("fk_role_bindings_service_id"), type_="foreignkey")
        batch_op.drop_constraint(batch_op.f("fk_role_bindings_group_id"), type_="foreignkey")
        batch_op.drop_index(batch_op.f("ix_role_bindings_service_id"))
        batch_op.drop_index(batch_op.f("ix_role_bindings_group_id"))
        batch_op.alter_column("user_id", existing_type=sa.VARCHAR(), nullable=False)
        batch_op.drop_column("service_id")
        batch_op.drop_column("group_id")

    with op.batch_alter_table("mfa_policy", schema=None) as batch_op:
        batch_op.drop_column("user_verification")

    with op.batch_alter_table("mfa_challenges", schema=None) as batch_op:
        batch_op.drop_column("refused_at")
        batch_op.drop_column("shown")
        batch_op.drop_column("what")
        batch_op.drop_column("purpose")

    with op.batch_alter_table("gateway_instances", schema=None) as batch_op:
        batch_op.drop_column("linked_until")
        batch_op.drop_column("link_node")
        batch_op.drop_column("carried")

    with op.batch_alter_table("audit_events", schema=None) as batch_op:
        batch_op.drop_column("client")

    with op.batch_alter_table("stream_positions", schema=None) as batch_op:
        batch_op.drop_index("ix_stream_positions_waiting")

    op.drop_table("stream_positions")
    op.drop_table("service_trust_conditions")
    with op.batch_alter_table("service_tokens", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_service_tokens_trust_id"))
        batch_op.drop_index(batch_op.f("ix_service_tokens_service_id"))
        batch_op.drop_index(batch_op.f("ix_service_tokens_secret_id"))
        batch_op.drop_index(batch_op.f("ix_service_tokens_expires_at"))

    op.drop_table("service_tokens")
    op.drop_table("streams")
    op.drop_table("sso_mappings")
    with op.batch_alter_table("sso_identities", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_sso_identities_user_id"))

    op.drop_table("sso_identities")
    with op.batch_alter_table("sso_domains", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_sso_domains_provider_id"))

    op.drop_table("sso_domains")
    with op.batch_alter_table("sso_attempts", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_sso_attempts_provider_id"))
        batch_op.drop_index(batch_op.f("ix_sso_attempts_expires_at"))

    op.drop_table("sso_attempts")
    with op.batch_alter_table("service_trusts", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_service_trusts_service_id"))

    op.drop_table("service_trusts")
    with op.batch_alter_table("service_secrets", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_service_secrets_service_id"))

    op.drop_table("service_secrets")
    with op.batch_alter_table("passkeys", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_passkeys_user_id"))

    op.drop_table("passkeys")
    with op.batch_alter_table("passkey_questions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_passkey_questions_user_id"))
        batch_op.drop_index(batch_op.f("ix_passkey_questions_expires_at"))

    op.drop_table("passkey_questions")
    op.drop_table("masking_rules")
    op.drop_table("mail_links")
    with op.batch_alter_table("group_members", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_group_members_user_id"))

    op.drop_table("group_members")
    with op.batch_alter_table("used_assertions", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_used_assertions_until"))

    op.drop_table("used_assertions")
    op.drop_table("sso_providers")
    op.drop_table("sso_policy")
    op.drop_table("services")
    with op.batch_alter_table("service_spent_tokens", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_service_spent_tokens_expires_at"))

    op.drop_table("service_spent_tokens")
    op.drop_table("nodes")
    with op.batch_alter_table("node_signals", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_node_signals_sent_at"))

    op.drop_table("node_signals")
    op.drop_table("master_keys")
    op.drop_table("job_leases")
    op.drop_table("groups")
    with op.batch_alter_table("device_requests", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_device_requests_expires_at"))

    op.drop_table("device_requests")
    with op.batch_alter_table("connection_tests", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_connection_tests_gateway_id"))

    op.drop_table("connection_tests")
