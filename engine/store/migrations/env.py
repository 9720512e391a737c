"""Run the migrations on the connection that `engine.store.migrate` opened and will commit.

Everything happens in that one transaction, schema changes included, so a failure leaves the old store as it was.
"""

from __future__ import annotations

from alembic import context

from engine.store.tables import Base

if context.is_offline_mode():
    context.configure(
        dialect_name=context.config.attributes["dialect_name"], target_metadata=Base.metadata, literal_binds=True
    )
    context.run_migrations()
else:
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=Base.metadata,
        transactional_ddl=True,
        transaction_per_migration=False,
    )
    context.run_migrations()
