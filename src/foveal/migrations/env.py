"""Alembic's entry: runs the chain on the connection that `database.upgrade` hands over."""

from alembic import context

from foveal.database import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
