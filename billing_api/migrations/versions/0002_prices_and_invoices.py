"""Price books and invoices."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "invoice_numbers",
        sa.Column("year", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("year", name="pk_invoice_numbers"),
    )
    op.create_table(
        "invoices",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("number", sa.String(), nullable=True),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("period_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("period_to", sa.DateTime(timezone=True), nullable=False),
        sa.Column("covers", sa.String(), nullable=True),
        sa.Column("as_of", sa.DateTime(timezone=True), nullable=False),
        sa.Column("total", sa.String(64), nullable=False),
        sa.Column("unpriced", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finalized_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("voided_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_invoices_tenant"),
        sa.PrimaryKeyConstraint("id", name="pk_invoices"),
        sa.UniqueConstraint("covers", name="uq_invoices_covers"),
        sa.UniqueConstraint("number", name="uq_invoices_number"),
    )
    op.create_index("ix_invoices_tenant", "invoices", ["tenant"])
    op.create_table(
        "price_books",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("tenant", sa.String(), nullable=True),
        sa.Column("scope", sa.String(), nullable=False),
        sa.Column("effective_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("effective_to", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.id"], name="fk_price_books_tenant"),
        sa.PrimaryKeyConstraint("id", name="pk_price_books"),
        sa.UniqueConstraint("scope", "currency", "effective_from", name="uq_price_books_scope_currency_effective_from"),
    )
    op.create_index("ix_price_books_tenant", "price_books", ["tenant"])
    op.create_table(
        "prices",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("book", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("meter", sa.String(), nullable=False),
        sa.Column("per", sa.BigInteger(), nullable=False),
        sa.Column("price", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(["book"], ["price_books.id"], name="fk_prices_book"),
        sa.PrimaryKeyConstraint("id", name="pk_prices"),
        sa.UniqueConstraint("book", "model", "meter", name="uq_prices_book_model_meter"),
    )
    op.create_index("ix_prices_book", "prices", ["book"])
    op.create_table(
        "invoice_lines",
        sa.Column("invoice", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("meter", sa.String(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("price_id", sa.String(), nullable=False),
        sa.Column("price", sa.String(64), nullable=False),
        sa.Column("per", sa.BigInteger(), nullable=False),
        sa.Column("precise", sa.String(64), nullable=False),
        sa.Column("amount", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(["invoice"], ["invoices.id"], name="fk_invoice_lines_invoice"),
        sa.ForeignKeyConstraint(["price_id"], ["prices.id"], name="fk_invoice_lines_price_id"),
        sa.PrimaryKeyConstraint("invoice", "position", name="pk_invoice_lines"),
    )
    op.create_index("ix_invoice_lines_price_id", "invoice_lines", ["price_id"])


def downgrade() -> None:
    for table in ("invoice_lines", "invoices", "invoice_numbers", "prices", "price_books"):
        op.drop_table(table)
