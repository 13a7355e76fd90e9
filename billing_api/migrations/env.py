"""Alembic's entry: runs the migrations on the connection that `billing_api.migrate` gives."""

from alembic import context

from billing_api.db import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
with context.begin_transaction():
    context.run_migrations()
