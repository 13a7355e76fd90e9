"""Plans, limits, and who has which plan."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

HOLDERS = ("tenants", "teams", "users", "keys")


def upgrade() -> None:
    op.create_table(
        "plans",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("models", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("priority", sa.String(), nullable=False),
        sa.Column("weight", sa.Integer(), nullable=False),
        sa.Column("max_tokens", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_plans"),
    )
    op.create_index("ix_plans_revision", "plans", ["revision"])
    live = sa.text("status = 'active'")
    op.create_index("uq_plans_name", "plans", ["name"], unique=True, sqlite_where=live, postgresql_where=live)
    op.create_table(
        "limits",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("holder", sa.String(), nullable=False),
        sa.Column("tenant", sa.String(), nullable=True),
        sa.Column("place", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=True),
        sa.Column("meter", sa.String(), nullable=False),
        sa.Column("window", sa.String(), nullable=True),
        sa.Column("amount", sa.String(64), nullable=False),
        sa.Column("precision", sa.String(), nullable=False),
        sa.Column("mode", sa.String(), nullable=False),
        sa.Column("on_outage", sa.String(), nullable=False),
        sa.Column("notify_at", sa.JSON(), nullable=False),
        sa.Column("when_reached", sa.String(), nullable=False),
        sa.Column("degrade_to", sa.String(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_limits_tenant"),
        sa.PrimaryKeyConstraint("id", name="pk_limits"),
        sa.UniqueConstraint("holder", "place", name="uq_limits_holder_place"),
    )
    op.create_index("ix_limits_tenant", "limits", ["tenant"])
    for table in HOLDERS:  # written out, since SQLite adds a column and its reference in one statement only
        op.execute(f"ALTER TABLE {table} ADD COLUMN plan VARCHAR CONSTRAINT fk_{table}_plan REFERENCES plans (id)")
        op.create_index(f"ix_{table}_plan", table, ["plan"])


def downgrade() -> None:
    for table in HOLDERS:
        op.drop_index(f"ix_{table}_plan", table)
        op.drop_column(table, "plan")
    op.drop_table("limits")
    op.drop_table("plans")
